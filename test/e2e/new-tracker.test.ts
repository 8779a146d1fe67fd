import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { copyCheckout } from '../support/checkout.js';

const call = promisify(execFile);
const copy = await mkdtemp(join(tmpdir(), 'eunomia-tracker-'));
afterAll(() => rm(copy, { recursive: true, force: true }));

const inCopy = async (program: string, ...args: string[]): Promise<string> =>
  (
    await call(program, args, {
      cwd: copy,
      maxBuffer: 1 << 24,
      env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null' },
    })
  ).stdout;

/** As a repository of its own. */
async function makeCopy(): Promise<void> {
  await copyCheckout(copy);
  await inCopy('git', 'init', '-q');
  await inCopy('git', 'add', '-A');
  await inCopy('git', '-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '-qm', 'all');
}

it('npm run new-tracker makes three files and a test, which build and pass; nothing else is written but what is generated', async () => {
  await makeCopy();
  await inCopy('npm', 'run', '--silent', 'new-tracker', 'made_up');
  const status = (await inCopy('git', 'status', '--short', '--untracked-files=all'))
    .split('\n')
    .filter((line) => line !== '');
  expect(status.sort()).toEqual([
    ' M docs/trackers.md',
    ' M schema.graphql',
    '?? bpf/trackers/made_up.bpf.c',
    '?? src/trackers/made_up.graphql',
    '?? src/trackers/made_up.ts',
    '?? test/kernel/made-up.test.ts',
  ]);
  await inCopy('npm', 'run', '--silent', 'samples');
  await inCopy(
    process.execPath,
    'node_modules/vitest/vitest.mjs',
    'run',
    'test/kernel/made-up.test.ts',
    'test/kernel/trigger.test.ts',
    'src/catalog/contract.test.ts',
    'scripts/setup/tracker-docs.test.ts',
  );
});

it('refuses a name that is no name in C', async () => {
  await expect(call(process.execPath, ['scripts/new-tracker.mjs', 'net-flow'], { cwd: root })).rejects.toThrow(
    'digits and single underscores, as in net_flow',
  );
});
