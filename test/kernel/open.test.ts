import { chmod, mkdir, open as openFile, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTracker } from '../support/session.js';
import { run, scratch, work, workloadPath } from '../support/workload.js';

// asm-generic/fcntl.h
const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_DSYNC = 0o10000;
const O_SYNC = 0o4010000;
const O_DIRECTORY = process.arch === 'arm64' ? 0o40000 : 0o200000;
const O_NOFOLLOW = process.arch === 'arm64' ? 0o100000 : 0o400000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;
const O_CLOEXEC = 0o2000000;

const mine = { pids: [process.pid] };

describe('the tracker open', () => {
  it('reports a failed open with its errno', async () => {
    const open = await startTracker('open', mine);
    await expect(readFile('/no/such')).rejects.toThrow();
    expect(await open.next((e) => e['path'] === '/no/such')).toMatchObject({
      tracker: 'open',
      errno: 'ENOENT',
      fd: null,
      resolved: null,
      flags: ['O_RDONLY', 'O_CLOEXEC'],
      mode: null,
      process: { pid: process.pid, ppid: process.ppid, uid: 0, gid: 0 },
    });
  });

  it('sees all four system calls with their flags and modes', async () => {
    const open = await startTracker('open', mine);
    const path = (name: string) => join(scratch, `four-${name}`);
    const calls = [
      {
        call: 'open',
        flags: O_RDWR | O_CREAT | O_EXCL,
        mode: 0o640,
        seen: { flags: ['O_RDWR', 'O_CREAT', 'O_EXCL'], mode: 0o640 },
      },
      {
        call: 'openat',
        flags: O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
        mode: 0o604,
        seen: { flags: ['O_WRONLY', 'O_CREAT', 'O_APPEND', 'O_CLOEXEC'], mode: 0o604 },
      },
      {
        call: 'openat2',
        flags: O_WRONLY | O_CREAT | O_TRUNC,
        mode: 0o4711,
        seen: { flags: ['O_WRONLY', 'O_CREAT', 'O_TRUNC'], mode: 0o4711 },
      },
      { call: 'creat', flags: 0, mode: 0o600, seen: { flags: ['O_WRONLY', 'O_CREAT', 'O_TRUNC'], mode: 0o600 } },
    ];
    for (const { call, flags, mode, seen } of calls) {
      const { pid, stdout } = await work(call, path(call), flags, mode);
      expect(Number(stdout)).toBeGreaterThanOrEqual(0);
      expect(await open.next((e) => e['path'] === path(call))).toMatchObject({
        ...seen,
        errno: null,
        fd: Number(stdout),
        resolved: path(call),
        process: { pid, tid: pid, ppid: process.pid, comm: 'workload' },
      });
    }
  });

  it('has no mode where a call can make no file, and one for O_TMPFILE', async () => {
    const open = await startTracker('open', mine);
    await work('openat', '/etc/passwd', 0, 0o777);
    expect(await open.next((e) => e['path'] === '/etc/passwd' && e.process.comm === 'workload')).toMatchObject({
      mode: null,
      errno: null,
    });
    await work('openat', scratch, O_RDWR | O_TMPFILE, 0o620);
    expect(await open.next((e) => e['path'] === scratch && e.process.comm === 'workload')).toMatchObject({
      mode: 0o620,
      flags: ['O_RDWR', 'O_TMPFILE'],
    });
  });

  it('tells O_SYNC from O_DSYNC, and O_DIRECTORY from O_TMPFILE', async () => {
    const open = await startTracker('open', mine);
    const file = join(scratch, 'synced');
    await writeFile(file, '');
    const flagsOf = async (path: string, flags: number) => {
      const { pid } = await work('openat', path, flags, 0);
      return (await open.next((e) => e['path'] === path && e.process.pid === pid))['flags'];
    };
    expect(await flagsOf(file, O_WRONLY | O_DSYNC)).toEqual(['O_WRONLY', 'O_DSYNC']);
    expect(await flagsOf(file, O_WRONLY | O_SYNC)).toEqual(['O_WRONLY', 'O_SYNC']);
    expect(await flagsOf(scratch, O_DIRECTORY)).toEqual(['O_RDONLY', 'O_DIRECTORY']);
    expect(await flagsOf(file, 0x40000000)).toEqual(['O_RDONLY', '0x40000000']);
  });

  it('resolves relative paths, symbolic links and dots', async () => {
    const open = await startTracker('open', mine);
    const folder = join(scratch, 'links');
    await mkdir(join(folder, 'real/deep'), { recursive: true });
    await writeFile(join(folder, 'real/deep/file'), 'x');
    await symlink('real', join(folder, 'alias'));
    await readFile(`${folder}/alias/deep/../deep/./file`);
    const seen = await open.next((e) => String(e['path']).startsWith(`${folder}/alias`));
    expect(seen).toMatchObject({
      path: `${folder}/alias/deep/../deep/./file`,
      resolved: join(folder, 'real/deep/file'),
    });
  });

  it('resolves through a bind mount in a mount namespace of its own', async () => {
    const open = await startTracker('open', mine);
    const from = join(scratch, 'bind-from');
    const to = join(scratch, 'bind-to');
    await mkdir(from);
    await mkdir(to);
    await writeFile(join(from, 'file'), 'x');
    const { pid, stdout } = await work('bind-open', from, to);
    expect(Number(stdout)).toBeGreaterThanOrEqual(0);
    const seen = await open.next((e) => e.process.pid === pid && e['path'] === join(to, 'file'));
    expect(seen).toMatchObject({ errno: null, resolved: join(to, 'file') });
    const own = String((await stat('/proc/self/ns/mnt')).ino);
    expect(seen.process.mountNs).not.toBe(own);
    expect(seen.process.mountNs).toMatch(/^[1-9]\d+$/);
    await expect(readFile(join(to, 'file'))).rejects.toThrow(); // the mount was in that namespace only
    expect(await open.next((e) => e.process.pid === process.pid && e['path'] === join(to, 'file'))).toMatchObject({
      process: { mountNs: own },
    });
  });

  it('has the former path of a file that is gone, and the whole of a long path', async () => {
    const open = await startTracker('open', mine);
    const file = join(scratch, 'gone');
    await writeFile(file, '');
    const handle = await openFile(file);
    await unlink(file);
    const again = `/proc/self/fd/${handle.fd}`;
    await (await openFile(again)).close();
    await handle.close();
    expect(await open.next((e) => e['path'] === again)).toMatchObject({ errno: null, resolved: file });

    let long = join(scratch, 'long');
    while (long.length < 3700) long = join(long, 'd'.repeat(200));
    await mkdir(long, { recursive: true });
    await writeFile(join(long, 'leaf'), '');
    expect(await open.next((e) => String(e['path']).endsWith('/leaf'))).toMatchObject({
      path: join(long, 'leaf'),
      resolved: join(long, 'leaf'),
    });
  });

  it('names the failures of the kernel: EACCES, EEXIST, ENOTDIR, ELOOP, EISDIR, ENAMETOOLONG', async () => {
    const open = await startTracker('open', mine);
    const file = join(scratch, 'plain');
    await writeFile(file, '');
    await symlink('loop', join(scratch, 'loop'));
    const errnoOf = async (path: string, flags: number) => {
      const { pid, stdout } = await work('openat', path, flags, 0);
      expect(Number(stdout)).toBeLessThan(0);
      return (await open.next((e) => e.process.pid === pid && e['path'] === path))['errno'];
    };
    expect(await errnoOf(file, O_CREAT | O_EXCL)).toBe('EEXIST');
    expect(await errnoOf(`${file}/below`, 0)).toBe('ENOTDIR');
    expect(await errnoOf(join(scratch, 'loop'), O_NOFOLLOW)).toBe('ELOOP');
    expect(await errnoOf(scratch, O_WRONLY)).toBe('EISDIR');
    expect(await errnoOf(join(scratch, 'n'.repeat(256)), 0)).toBe('ENAMETOOLONG');
    await chmod(file, 0o600);
    const { pid } = await run(await workloadPath(), ['openat', file, '0', '0'], { uid: 65534, gid: 65534 });
    expect(await open.next((e) => e.process.pid === pid && e['path'] === file)).toMatchObject({
      errno: 'EACCES',
      process: { uid: 65534, gid: 65534 },
    });
  });

  it('shows a byte that is no UTF-8 as an escape, and finds it by that', async () => {
    const open = await startTracker('open', mine);
    await expect(readFile(Buffer.concat([Buffer.from('/no/'), Buffer.from([0xff, 0x41])]))).rejects.toThrow();
    expect(await open.next((e) => String(e['path']).startsWith('/no/\\xff'))).toMatchObject({
      path: '/no/\\xffA',
      errno: 'ENOENT',
    });
  });

  it('names the thread that acted', async () => {
    const open = await startTracker('open', mine);
    const { pid, stdout } = await work('thread-open', '/no/thread');
    expect(await open.next((e) => e['path'] === '/no/thread')).toMatchObject({
      process: { pid, tid: Number(stdout), comm: 'second' },
    });
    expect(Number(stdout)).not.toBe(pid);
  });

  it('with failedOnly sees only failures, with writesOnly only what may change something', async () => {
    const failing = await startTracker('open', { ...mine, options: { failedOnly: true } });
    const writing = await startTracker('open', { ...mine, options: { writesOnly: true, failedOnly: false } });
    const file = join(scratch, 'options');
    await writeFile(file, 'x');
    await readFile(file);
    await expect(readFile('/no/options')).rejects.toThrow();
    await expect(writeFile('/no/options/write', '')).rejects.toThrow();
    const ours = (path: unknown) => String(path).includes('options');
    expect((await failing.stop()).filter((e) => ours(e['path'])).map((e) => e['path'])).toEqual([
      '/no/options',
      '/no/options/write',
    ]);
    expect((await writing.stop()).filter((e) => ours(e['path'])).map((e) => e['path'])).toEqual([
      file,
      '/no/options/write',
    ]);
    expect(failing.events.every((e) => e['errno'] !== null)).toBe(true);
  });
});
