// `npm run lint`: types, style, layout and width of sources and tests, the layers of src/, the sections of
// bpf/, and what of schema.graphql breaks clients.
// The last line tells the verdict.
import { fileURLToPath } from 'node:url';
import { resolve } from 'node:path';
import { format } from './format.mjs';
import { checkLayers } from './layers.mjs';
import { setUpOrExit } from './setup.mjs';
import { runTool } from './setup/project.mjs';
import { checkSections } from './sections.mjs';
import { checkWidth } from './width.mjs';

/** True when there is nothing to complain about; prints what there is. */
export async function lint() {
  // Only now: it imports a package, which the set-up before has installed.
  const { checkContract } = await import('./contract.mjs');
  const results = (
    await Promise.all([
      runTool('tsc', ['-p', 'tsconfig.test.json']),
      runTool('tsc', ['-p', 'bench/tsconfig.json', '--noEmit']),
      runTool('oxlint', ['--deny-warnings']),
      format(false),
    ])
  ).flat();
  const failed = results.filter(({ ok }) => !ok);
  for (const { output } of failed) process.stdout.write(output);
  const problems = [...checkContract(), ...checkLayers(), ...checkSections(), ...checkWidth()];
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  const passed = failed.length === 0 && problems.length === 0;
  process.stdout.write(passed ? 'lint: passed\n' : 'lint: failed\n');
  return passed;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setUpOrExit({ quiet: true });
  process.exitCode = (await lint()) ? 0 : 1;
}
