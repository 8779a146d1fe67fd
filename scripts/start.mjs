// `npm start [-- FLAGS]`: the set-up, then `eunomia serve FLAGS` in this very process, so that a signal to
// npm reaches the server and nothing else.
import { fileURLToPath } from 'node:url';
import { setUpOrExit } from './setup.mjs';

await setUpOrExit();
const main = new URL('../dist/main.js', import.meta.url);
process.argv.splice(1, 1, fileURLToPath(main), 'serve');
await import(main.href);
