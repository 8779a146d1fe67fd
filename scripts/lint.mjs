// `npm run lint`: the compiler's and oxlint's opinion of sources and tests. The last line tells the verdict.
import { fileURLToPath } from 'node:url';
import { resolve } from 'node:path';
import { setUpOrExit } from './setup.mjs';
import { runTool } from './setup/project.mjs';

/** True when there is nothing to complain about; prints what there is. */
export async function lint() {
  const results = await Promise.all([
    runTool('tsc', ['-p', 'tsconfig.test.json']),
    runTool('oxlint', ['--deny-warnings']),
  ]);
  const failed = results.filter(({ ok }) => !ok);
  for (const { output } of failed) process.stdout.write(output);
  process.stdout.write(failed.length ? 'lint: failed\n' : 'lint: passed\n');
  return failed.length === 0;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setUpOrExit({ quiet: true });
  process.exitCode = (await lint()) ? 0 : 1;
}
