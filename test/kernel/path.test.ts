import { mkdir, open as openFile, readFile, readlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTracker, type Seen } from '../support/session.js';
import { run, scratch, work, workloadPath } from '../support/workload.js';

const mine = { pids: [process.pid] };
const O_RDONLY = 0;

async function folder(name: string): Promise<string> {
  const path = join(scratch, name);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'file'), 'x');
  return path;
}

/** The descriptors that a case of workload-path.h printed; negative ones are errnos. */
async function path(
  what: string,
  argument: string,
): Promise<{ readonly pid: number; readonly results: readonly number[] }> {
  const { pid, stdout } = await work('path', what, argument);
  return { pid, results: stdout.split('\n').map(Number) };
}

/** The event of the open whose descriptor the case printed. */
async function opened(what: string, argument: string): Promise<Seen> {
  const open = await startTracker('open', mine);
  const { pid, results } = await path(what, argument);
  expect(results[0]).toBeGreaterThanOrEqual(0);
  return open.next((e) => e.process.pid === pid && e['fd'] === results[0] && /file|fd\//.test(String(e['path'])));
}

/** The event of the program that a case became. */
async function executed(what: string, argument: string): Promise<Seen> {
  const exec = await startTracker('exec', mine);
  const { pid, stdout } = await work('path', what, argument);
  expect(stdout).toBe('');
  return exec.next((e) => e.process.pid === pid && (e['args'] as string[])[1] !== 'path'); // not the workload itself
}

describe('a path', () => {
  it('is whole and rooted where it hangs below the root of the mount namespace', async () => {
    const file = join(await folder('rooted'), 'file');
    const open = await startTracker('open', mine);
    await readFile(file);
    expect(await open.next((e) => e['path'] === file)).toMatchObject({
      resolved: file,
      resolvedState: 'ROOTED',
      deleted: false,
      directory: null,
    });
  });

  it('through a detached clone of a mount does not look absolute', async () => {
    const directory = await folder('detached');
    expect(await opened('detached', directory)).toMatchObject({
      path: 'file',
      resolved: '(unreachable)/file',
      resolvedState: 'DETACHED',
      deleted: false,
    });
  });

  it('on a new mount that is mounted nowhere does not look absolute', async () => {
    expect(await opened('fsmount', 'file')).toMatchObject({
      resolved: '(unreachable)/file',
      resolvedState: 'DETACHED',
    });
  });

  it('on a mount that was unmounted lazily does not look absolute', async () => {
    expect(await opened('unmounted', await folder('unmounted'))).toMatchObject({
      resolved: '(unreachable)/file',
      resolvedState: 'DETACHED',
    });
  });

  it('of what was moved out of a bind mount does not look absolute', async () => {
    const seen = await opened('escaped', await folder('escaped'));
    expect(seen).toMatchObject({ resolvedState: 'DETACHED' });
    expect(seen['resolved']).toMatch(/^\(unreachable\)\/.*outside\/file$/);
  });

  it('in another mount namespace says so', async () => {
    const file = join(await folder('other'), 'file');
    expect(await opened('other-namespace', file)).toMatchObject({
      resolved: `(unreachable)${file}`,
      resolvedState: 'OTHER_NAMESPACE',
    });
  });

  it('in a chroot has the path to the chroot before it, so that no chroot hides a file', async () => {
    const directory = await folder('chroot');
    expect(await opened('chroot', directory)).toMatchObject({
      path: '/file',
      resolved: join(directory, 'file'),
      resolvedState: 'ROOTED',
    });
  });

  it('starts at the new root after pivot_root', async () => {
    expect(await opened('pivot-root', await folder('pivot'))).toMatchObject({
      path: '/file',
      resolved: '/file',
      resolvedState: 'ROOTED',
    });
  });

  it('of a memfd, a pipe and a namespace is what /proc shows', async () => {
    expect(await opened('memfd', 'some name')).toMatchObject({
      resolved: '/memfd:some name (deleted)',
      resolvedState: 'ANONYMOUS',
      deleted: true,
    });
    const pipe = await opened('pipe', '-');
    expect(pipe).toMatchObject({ resolvedState: 'ANONYMOUS', deleted: false });
    expect(pipe['resolved']).toMatch(/^pipe:\[\d+\]$/);
    const open = await startTracker('open', mine);
    for (const namespace of ['net', 'mnt', 'pid', 'user']) {
      await (await openFile(`/proc/self/ns/${namespace}`)).close();
      expect(await open.next((e) => e['path'] === `/proc/self/ns/${namespace}`)).toMatchObject({
        resolved: await readlink(`/proc/self/ns/${namespace}`),
        resolvedState: 'ANONYMOUS',
        deleted: false,
      });
    }
  });

  it('that is too long has a mark for its front, and its end from a slash on', async () => {
    const directory = await folder('deep');
    const open = await startTracker('open', mine);
    const { pid } = await path('deep', directory);
    const seen = await open.next((e) => e.process.pid === pid && e['path'] === 'leaf');
    expect(seen).toMatchObject({ resolvedState: 'TRUNCATED', deleted: false });
    expect(seen['resolved']).toMatch(/^\(truncated\)(\/d{200})+\/leaf$/);
    const deeper = await folder('deeper');
    expect(await executed('deep-exec', deeper)).toMatchObject({
      cwdState: 'TRUNCATED',
      cwd: expect.stringMatching(/^\(truncated\)(\/d{200})+$/) as string,
    });
    await run('rm', ['-rf', directory, deeper]); // Node cannot: their paths are too long
  });

  it('of a deleted file is the last one, and says that it is deleted', async () => {
    const file = join(await folder('deleted'), 'file');
    const handle = await openFile(file);
    await unlink(file);
    const open = await startTracker('open', mine);
    await (await openFile(`/proc/self/fd/${handle.fd}`)).close();
    expect(await open.next((e) => e['path'] === `/proc/self/fd/${handle.fd}`)).toMatchObject({
      resolved: file,
      resolvedState: 'ROOTED',
      deleted: true,
    });
    await handle.close();
    const O_TMPFILE = 0o20000000 | (process.arch === 'arm64' ? 0o40000 : 0o200000);
    const { pid } = await work('openat', scratch, 2 | O_TMPFILE, 0o600);
    expect(await open.next((e) => e.process.pid === pid && e['path'] === scratch)).toMatchObject({
      resolvedState: 'ROOTED',
      deleted: true,
    });
  });

  it('that another thread replaces during the call shows the replacement, and resolved the file', async () => {
    const fifo = join(await folder('replaced'), 'fifo');
    await run('mkfifo', [fifo]);
    const open = await startTracker('open', mine);
    const { pid, results } = await path('replaced', fifo);
    expect(
      await open.next((e) => e.process.pid === pid && e['fd'] === results[0] && e['path'] === '/innocent'),
    ).toMatchObject({ resolved: fifo });
  });

  it('that cannot be read is null, an empty one is empty', async () => {
    const open = await startTracker('open', mine);
    const { pid, results } = await path('relative', await folder('unreadable'));
    expect(results[3]).toBe(-14);
    expect(await open.next((e) => e.process.pid === pid && e['errno'] === 'EFAULT')).toMatchObject({
      path: null,
      directory: null,
    });
    const empty = await work('openat', '', O_RDONLY, 0);
    expect(
      await open.next((e) => e.process.pid === empty.pid && e['errno'] === 'ENOENT' && e['path'] === ''),
    ).toMatchObject({ directory: process.cwd() });
  });
});

describe('a relative path that failed', () => {
  it('has its directory, of the descriptor or the working directory; an absolute one has none', async () => {
    const directory = await folder('relative');
    const open = await startTracker('open', mine);
    const exec = await startTracker('exec', mine);
    const { pid } = await path('relative', directory);
    const failed = (passed: string) => open.next((e) => e.process.pid === pid && e['path'] === passed);
    expect(await failed('no-such')).toMatchObject({
      errno: 'ENOENT',
      directory,
      resolved: null,
      resolvedState: null,
      deleted: null,
    });
    expect(await failed('/no-such/absolute')).toMatchObject({ errno: 'ENOENT', directory: null });
    expect(await failed('no-such/descriptor')).toMatchObject({ errno: 'EBADF', directory: null });
    expect(await failed('no-such-here')).toMatchObject({ errno: 'ENOENT', directory });
    const started = (filename: string) => exec.next((e) => e.process.pid === pid && e['filename'] === filename);
    expect(await started('no-such-program')).toMatchObject({
      errno: 'ENOENT',
      directory,
      cwd: process.cwd(),
      executable: null,
      executableState: null,
      executableDeleted: null,
    });
    expect(await started('./no-such-either')).toMatchObject({ errno: 'ENOENT', directory, cwd: directory });
  });
});

describe('an executable', () => {
  it('of an ordinary program is rooted and not deleted, and so is its working directory', async () => {
    const exec = await startTracker('exec', mine);
    const { pid } = await run('/bin/true');
    expect(await exec.next((e) => e.process.pid === pid)).toMatchObject({
      executableState: 'ROOTED',
      executableDeleted: false,
      cwd: process.cwd(),
      cwdState: 'ROOTED',
      cwdDeleted: false,
      directory: null,
    });
  });

  it('in memory is told from a file', async () => {
    expect(await executed('memfd-exec', await workloadPath())).toMatchObject({
      executable: '/memfd:hidden (deleted)',
      executableState: 'ANONYMOUS',
      executableDeleted: true,
    });
  });

  it('that was deleted is told from one that is there', async () => {
    const file = join(await folder('deleted-exec'), 'program');
    await writeFile(file, await readFile(await workloadPath()), { mode: 0o755 });
    expect(await executed('deleted-exec', file)).toMatchObject({
      executable: file,
      executableState: 'ROOTED',
      executableDeleted: true,
    });
  });

  it('on a detached mount does not look absolute', async () => {
    const seen = await executed('detached-exec', await workloadPath());
    expect(seen).toMatchObject({ executableState: 'DETACHED' });
    expect(seen['executable']).toMatch(/^\(unreachable\)\//);
  });

  it('started in a detached working directory shows that', async () => {
    expect(await executed('detached-cwd', await folder('detached-cwd'))).toMatchObject({
      cwd: '(unreachable)/',
      cwdState: 'DETACHED',
      executableState: 'ROOTED',
    });
  });
});

describe('the flags of openat2', () => {
  it('are whole, unknown and high bits too, with the resolve flags; unreadable ones are not shown as O_RDONLY', async () => {
    const open = await startTracker('open', mine);
    const file = join(await folder('openat2'), 'file');
    const { pid, results } = await path('openat2', file);
    expect(results.map((value) => Math.min(value, 0))).toEqual([-22, 0, -22, -14]);
    const next = (errno: string | null) =>
      open.next((e) => e.process.pid === pid && e['path'] === file && e['errno'] === errno);
    expect(await next('EINVAL')).toMatchObject({ flags: ['O_RDONLY', 'O_PATH', '0x10000000000'], resolve: [] });
    expect(await next(null)).toMatchObject({
      flags: ['O_RDONLY', 'O_NOFOLLOW', 'O_PATH'],
      resolve: ['RESOLVE_NO_MAGICLINKS', 'RESOLVE_NO_SYMLINKS'],
      resolved: file,
    });
    expect(await next('EINVAL')).toMatchObject({
      flags: ['O_RDONLY', 'O_NOFOLLOW', 'O_PATH'],
      resolve: ['0x200000000000'],
    });
    expect(await next('EFAULT')).toMatchObject({ flags: [], resolve: null, mode: null });
  });
});
