// `npm test [-- VITEST ARGUMENTS]`: the set-up, lint (without arguments), all vitest projects, and a last line
// "N passed, N failed, N skipped", with the tests that failed named before it. Where CI=true, a skipped kernel or e2e test is a failure.
//   npm test -- --changed [COMMIT]   tests that import a file changed since the commit (uncommitted changes by default); none is no failure
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { lint } from './lint.mjs';
import { setUpOrExit } from './setup.mjs';
import { cache, root } from './setup/project.mjs';

const mustRun = /^test\/(kernel|e2e)\//;
const args = process.argv.slice(2);
const { values: asked, tokens } = parseArgs({
  args,
  options: { project: { type: 'string', multiple: true }, changed: { type: 'boolean' } },
  strict: false,
  tokens: true,
});
const resultFiles = [1, 2].map((n) => join(cache, `test-results-${n}.json`));

await setUpOrExit({ tests: true });
const linted = args.length > 0 || (await lint());
for (const file of resultFiles) rmSync(file, { force: true });
// One more than there are cores: tests that build, download or wait for a database leave theirs idle half of the time.
const atOnce = availableParallelism() + 1;
const workers = [
  '--fileParallelism',
  // As few as at most: vitest ends idle processes of a pool that may shrink twice, and fails by it where there are three or more.
  `--minWorkers=${atOnce}`,
  `--maxWorkers=${atOnce}`,
  // Processes are kept: what packages a file imports is loaded once. Our own modules are fresh for each file (vitest.config.ts).
  '--poolOptions.forks.isolate=false',
];
let interrupted = false;
const code = [
  await vitest(['unit', 'api', 'e2e-beside'], resultFiles[0], workers),
  await vitest(['kernel', 'e2e'], resultFiles[1]),
].find((one) => one !== 0);
const { passed, failed, skipped } = count();
const problems = [];
if (failed.length)
  problems.push(failed.map(({ file, name, message }) => `FAILED ${file}: ${name}\n${message}`).join('\n\n'));
if (!linted) problems.push('lint failed');
if (code !== undefined && failed.length === 0) problems.push(`vitest ended with ${code}, though no test failed`);
if (passed + failed.length === 0 && !asked.changed) problems.push('no test ran');
const missed = process.env.CI === 'true' ? skipped.filter(({ file }) => mustRun.test(file)) : [];
if (missed.length) problems.push(`${missed.length} kernel or e2e tests were skipped, and CI must run them all:`);
for (const problem of problems) process.stdout.write(`\n${problem}\n`);
for (const { file, name } of missed) process.stdout.write(`  ${file}: ${name}\n`);

const failures = failed.length + (linted ? 0 : 1) + (code !== undefined && failed.length === 0 ? 1 : 0);
process.exitCode = failures || problems.length ? 1 : 0;
process.stdout.write(`\n${passed} passed, ${failures} failed, ${skipped.length} skipped\n`);

/** Runs those of the projects that were asked for. Resolves to the exit code, or to why there is none. */
function vitest(projects, resultFile, options = []) {
  const wanted = projects.filter((name) => isAsked(name, asked.project ?? []));
  if (wanted.length === 0 || interrupted) return 0;
  const reporters = ['--reporter=default', `--reporter=${join(root, 'scripts/results.mjs')}`];
  const all = ['run', '--passWithNoTests', ...reporters, ...options, ...wanted.map((name) => `--project=${name}`)];
  const child = spawn(process.execPath, [join(root, 'node_modules/.bin/vitest'), ...all, ...withoutProjects()], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, EUNOMIA_TEST_RESULTS: resultFile },
    detached: true, // in a process group of its own
  });
  // The signal goes to vitest, to the processes in which it runs test files, and to what these started: the end of one ends no other.
  const kill = (signal) => {
    interrupted = true;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // all of them have ended
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, kill);
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (exitCode, signal) => resolve(exitCode ?? signal));
  }).finally(() => {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, kill);
  });
}

/** As vitest takes `--project`: some names, or all but those with a `!`. `e2e` means both of its projects. */
function isAsked(name, names) {
  const isMeant = (one) => name === one || name.startsWith(`${one}-`);
  const some = names.filter((one) => !one.startsWith('!'));
  const others = names.filter((one) => one.startsWith('!')).map((one) => one.slice(1));
  return !others.some(isMeant) && (some.length === 0 || some.some(isMeant));
}

function withoutProjects() {
  const left = new Set(
    tokens
      .filter((token) => token.kind === 'option' && token.name === 'project')
      .flatMap(({ index, inlineValue }) => (inlineValue ? [index] : [index, index + 1])),
  );
  return args.filter((_, i) => !left.has(i));
}

/** Of all parts that ran to their end. */
function count() {
  const parts = resultFiles.filter((file) => existsSync(file)).map((file) => JSON.parse(readFileSync(file, 'utf8')));
  return {
    passed: parts.reduce((sum, { passed }) => sum + passed, 0),
    failed: parts.flatMap(({ failed }) => failed),
    skipped: parts.flatMap(({ skipped }) => skipped),
  };
}
