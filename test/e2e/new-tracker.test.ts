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
      env: { ...process.env, CI: '', GIT_CONFIG_GLOBAL: '/dev/null' }, // as somebody who adds a tracker
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
  await inCopy('npm', 'run', '--silent', 'new-tracker', 'brand_new');
  const status = (await inCopy('git', 'status', '--short', '--untracked-files=all'))
    .split('\n')
    .filter((line) => line !== '')
    // The first addition after a release raises it.
    .filter((line) => line !== ' M src/base/api-version.ts');
  expect(status.sort()).toEqual([
    ' M README.md',
    ' M docs/trackers.md',
    ' M schema.graphql',
    '?? bpf/trackers/brand_new.bpf.c',
    '?? src/trackers/brand_new.graphql',
    '?? src/trackers/brand_new.ts',
    '?? test/kernel/brand-new.test.ts',
  ]);
  await inCopy('npm', 'run', '--silent', 'contract');
  await inCopy('npm', 'run', '--silent', 'samples');
  await inCopy(
    process.execPath,
    'node_modules/vitest/vitest.mjs',
    'run',
    'test/kernel/brand-new.test.ts',
    'test/kernel/trigger.test.ts',
    'src/catalog',
    'scripts/setup/tracker-docs.test.ts',
    'test/unit/docs.test.ts',
  );
});

it('refuses a name that is no name in C', async () => {
  await expect(call(process.execPath, ['scripts/new-tracker.mjs', 'net-flow'], { cwd: root })).rejects.toThrow(
    'digits and single underscores, as in net_flow',
  );
});
