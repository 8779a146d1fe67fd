// `npm run package` (`npm pack` with scripts, which .npmrc turns off): builds for every architecture, so that the
// package needs no compiler, and adds the locked versions of the dependencies.
//   before   set-up, the manual page, and package-lock.json as npm-shrinkwrap.json, the only lock that npm takes from a package
//   after    removes it
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setUpOrExit } from './setup.mjs';
import { writeManPage } from './setup/man.mjs';
import { root } from './setup/project.mjs';

const shrinkwrap = join(root, 'npm-shrinkwrap.json');

if (process.argv[2] === 'after') {
  rmSync(shrinkwrap, { force: true });
} else {
  await setUpOrExit({ everyArchitecture: true });
  await writeManPage();
  copyFileSync(join(root, 'package-lock.json'), shrinkwrap);
}
