// `npm run package` (`npm pack` with scripts, which .npmrc turns off): builds for every architecture, so that the
// package needs no compiler, and adds the locked versions of the dependencies.
//   before   set-up, the manual page, package-lock.json as npm-shrinkwrap.json, the only lock that npm takes from a package, and pages
//            without links to what the package has not
//   after    removes the one, and puts the pages back
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setUpOrExit } from './setup.mjs';
import { writeManPage } from './setup/man.mjs';
import { root } from './setup/project.mjs';
import { restorePages, writeShippedPages } from './setup/shipped-pages.mjs';

const shrinkwrap = join(root, 'npm-shrinkwrap.json');

if (process.argv[2] === 'after') {
  restorePages();
  rmSync(shrinkwrap, { force: true });
} else {
  restorePages(); // of a run that was cut off
  await setUpOrExit({ everyArchitecture: true });
  await writeManPage();
  copyFileSync(join(root, 'package-lock.json'), shrinkwrap);
  writeShippedPages();
}
