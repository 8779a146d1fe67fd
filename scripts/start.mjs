// `npm start [-- FLAGS]`: the set-up, then `eunomia serve FLAGS` in this very process, so that a signal to
// npm reaches the server and nothing else.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setUpOrExit } from './setup.mjs';
import { root } from './setup/project.mjs';

await setUpOrExit();
const main = join(root, 'dist/main.js');
process.argv.splice(1, 1, main, 'serve');
await import(pathToFileURL(main).href);
