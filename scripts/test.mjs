// `npm test [-- VITEST ARGUMENTS]`: the set-up, lint (without arguments), all vitest projects, and a last line
// "N passed, N failed, N skipped". Where CI=true, a skipped kernel or e2e test is a failure.
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { lint } from './lint.mjs';
import { setUpOrExit } from './setup.mjs';
import { cache, root } from './setup/project.mjs';

const mustRun = /^test\/(kernel|e2e)\//;
const args = process.argv.slice(2);
const resultFile = join(cache, 'test-results.json');

await setUpOrExit({ tests: true });
const linted = args.length > 0 || (await lint());
rmSync(resultFile, { force: true });
const code = await vitest();
const { passed, failed, skipped } = count();
const problems = [];
if (!linted) problems.push('lint failed');
if (code !== 0 && failed === 0) problems.push(`vitest ended with ${code}, though no test failed`);
if (passed + failed === 0) problems.push('no test ran');
const missed = process.env.CI === 'true' ? skipped.filter(({ file }) => mustRun.test(file)) : [];
if (missed.length) problems.push(`${missed.length} kernel or e2e tests were skipped, and CI must run them all:`);
for (const problem of problems) process.stdout.write(`\n${problem}\n`);
for (const { file, name } of missed) process.stdout.write(`  ${file}: ${name}\n`);

const failures = failed + (linted ? 0 : 1) + (code !== 0 && failed === 0 ? 1 : 0);
process.exitCode = failures || problems.length ? 1 : 0;
process.stdout.write(`\n${passed} passed, ${failures} failed, ${skipped.length} skipped\n`);

function vitest() {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${resultFile}`];
  const child = spawn(process.execPath, [join(root, 'node_modules/.bin/vitest'), 'run', ...reporters, ...args], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (exitCode, signal) => resolve(exitCode ?? signal));
  });
}

/** A file that could not even be collected counts as one failed test. */
function count() {
  const counted = { passed: 0, failed: 0, skipped: [] };
  let results;
  try {
    results = JSON.parse(readFileSync(resultFile, 'utf8')).testResults;
  } catch {
    return counted;
  }
  for (const { name, status, assertionResults } of results) {
    const file = relative(root, name);
    if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) counted.failed++;
    for (const test of assertionResults) {
      if (test.status === 'passed') counted.passed++;
      else if (test.status === 'failed') counted.failed++;
      else counted.skipped.push({ file, name: test.fullName });
    }
  }
  return counted;
}
