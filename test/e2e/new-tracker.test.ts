import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

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

/**
 * What stands in the checkout, also uncommitted, as a repository of its own. What was built comes along, so that little
 * is left to build.
 */
async function makeCopy(): Promise<void> {
  const { stdout } = await call('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    maxBuffer: 1 << 24,
  });
  for (const file of stdout.split('\0').filter(Boolean)) {
    await mkdir(join(copy, dirname(file)), { recursive: true });
    await cp(join(root, file), join(copy, file));
  }
  for (const folder of ['build', 'dist', '.cache', 'src/generated'])
    await cp(join(root, folder), join(copy, folder), { recursive: true });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
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
