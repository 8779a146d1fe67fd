// `npm run docs`: writes the pages of docs/ that come from tables in the source. A unit test fails when one is stale.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setUpOrExit } from './setup.mjs';
import { configurationPage } from './docs/configuration.mjs';
import { errorSchema, errorsPage } from './docs/errors.mjs';
import { root } from './setup/project.mjs';

await setUpOrExit({ quiet: true });
const { errorTable } = await import('../build/base/error-code.js');

const { settingGroups } = await import('../build/options/table.js');
const { defaultTextOf, variableOf } = await import('../build/options/setting.js');
// It reads YAML: the package is there once all is set up.
const { rulesPage } = await import('./docs/rules.mjs');

const pages = {
  'docs/errors.md': errorsPage(errorTable),
  'schema/error.graphql': errorSchema(errorTable),
  'docs/built-in-rules.md': rulesPage(),
  'docs/configuration.md': configurationPage({ settingGroups, variableOf, defaultTextOf }),
};
for (const [path, text] of Object.entries(pages)) {
  const file = join(root, path);
  if ((await readFile(file, 'utf8').catch(() => null)) === text) continue;
  await writeFile(file, text);
  process.stdout.write(`${path}: written\n`);
}
