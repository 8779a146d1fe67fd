import { chmod, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTracker, type Seen } from '../support/session.js';
import { run, scratch, work, workloadPath } from '../support/workload.js';

const mine = { pids: [process.pid] };
const ARGS_BYTES = 32767;

const of = (pid: number, filename?: string) => (e: Seen) =>
  e.process.pid === pid && (filename === undefined || e['filename'] === filename);

/** Bytes that args take in the kernel: each ends with NUL. */
function bytesOf(args: unknown): number {
  return (args as readonly string[]).reduce((sum, arg) => sum + Buffer.byteLength(arg) + 1, 0);
}

async function namespace(name: string): Promise<string> {
  return /\d+/.exec(await readlink(`/proc/self/ns/${name}`))?.[0] ?? '';
}

describe('the tracker exec', () => {
  it('reports a program with its whole command line, also empty arguments', async () => {
    const exec = await startTracker('exec', mine);
    const args = ['', 'two words', '', 'ünï→', '-x', ''];
    const { pid } = await run('/bin/true', args);
    expect(await exec.next(of(pid))).toMatchObject({
      tracker: 'exec',
      errno: null,
      args: ['/bin/true', ...args],
      argsTruncated: false,
      filename: '/bin/true',
      executable: expect.stringMatching(/\/bin\/true$/) as string,
      cwd: process.cwd(),
      process: { pid, tid: pid, ppid: process.pid, uid: 0, gid: 0, comm: 'true' },
    });
  });

  it('gives an event one time and one start of its process, in the right order', async () => {
    const exec = await startTracker('exec', mine);
    const before = Date.now();
    const { pid } = await run('/bin/true');
    const after = Date.now();
    const seen = await exec.next(of(pid));
    expect(seen.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(Date.parse(seen.time)).toBeGreaterThanOrEqual(before - 1);
    expect(Date.parse(seen.time)).toBeLessThanOrEqual(after + 1);
    expect(seen.process.startTime <= seen.time).toBe(true);
  });

  it('cuts 40 KiB of arguments at 32 KiB and says so', async () => {
    const exec = await startTracker('exec', mine);
    const long = 'a'.repeat(40 * 1024);
    const one = await run('/bin/true', [long]);
    const single = await exec.next(of(one.pid));
    expect(single).toMatchObject({ argsTruncated: true });
    expect(single['args']).toEqual(['/bin/true', long.slice(0, ARGS_BYTES - '/bin/true'.length - 1)]);

    const many = Array.from({ length: 4096 }, (_, i) => String(i).padStart(9, '0'));
    const two = await run('/bin/true', many);
    const several = await exec.next(of(two.pid));
    expect(several).toMatchObject({ argsTruncated: true });
    const seen = several['args'] as string[];
    const whole = (ARGS_BYTES - '/bin/true'.length - 1) / 10;
    expect(seen.slice(1, 1 + Math.floor(whole))).toEqual(many.slice(0, Math.floor(whole)));
    expect(bytesOf(seen)).toBeLessThanOrEqual(ARGS_BYTES + 1);
  });

  it('takes just what fits without calling it cut', async () => {
    const exec = await startTracker('exec', mine);
    const fits = 'b'.repeat(ARGS_BYTES - '/bin/true'.length - 2);
    const exact = await run('/bin/true', [fits]);
    expect(await exec.next(of(exact.pid))).toMatchObject({ args: ['/bin/true', fits], argsTruncated: false });
    const over = await run('/bin/true', [`${fits}b`]);
    expect(await exec.next(of(over.pid))).toMatchObject({ argsTruncated: true });
  });

  it('reports failed attempts with path, arguments and errno, in the process that failed', async () => {
    const exec = await startTracker('exec', mine);
    const plain = join(scratch, 'not-executable');
    const broken = join(scratch, 'broken');
    await writeFile(plain, 'x');
    await writeFile(broken, '\0\0\0');
    await chmod(broken, 0o755);
    for (const [file, errno] of [
      ['/no/such', 'ENOENT'],
      [plain, 'EACCES'],
      [broken, 'ENOEXEC'],
      [`${plain}/below`, 'ENOTDIR'],
    ] as const) {
      const { pid, stdout } = await work('execve', file, '', 'last');
      expect(Number(stdout)).toBeLessThan(0);
      expect(await exec.next(of(pid, file))).toMatchObject({
        errno,
        args: [file, '', 'last'],
        argsTruncated: false,
        executable: null,
        cwd: process.cwd(),
        process: { comm: 'workload', ppid: process.pid },
      });
    }
  });

  it('cuts the arguments of a failed attempt at 32 KiB too', async () => {
    const exec = await startTracker('exec', mine);
    const { pid } = await work('execve', '/no/such', 'c'.repeat(40 * 1024));
    const seen = await exec.next(of(pid, '/no/such'));
    expect(seen).toMatchObject({ errno: 'ENOENT', argsTruncated: true });
    expect(seen['args']).toEqual(['/no/such', 'c'.repeat(ARGS_BYTES - '/no/such'.length - 1)]);
  });

  it('reports execveat, and one that fails', async () => {
    const exec = await startTracker('exec', mine);
    const done = await work('execveat', '/bin/true', 'x');
    expect(
      await exec.next((e) => e.process.pid === done.pid && String(e['filename']).startsWith('/dev/fd/')),
    ).toMatchObject({ errno: null, args: ['/bin/true', 'x'] });
    const failed = await work('execveat', '/no/such', 'x');
    expect(await exec.next((e) => e.process.pid === failed.pid && e['errno'] !== null)).toMatchObject({
      errno: 'EBADF',
      args: ['/no/such', 'x'],
      filename: '',
    });
  });

  it('names the interpreter of a script, whose arguments hold the script', async () => {
    const exec = await startTracker('exec', mine);
    const script = join(scratch, 'script');
    await writeFile(script, '#!/bin/sh -e\n:\n');
    await chmod(script, 0o755);
    const { pid } = await run(script, ['one']);
    const seen = await exec.next(of(pid));
    expect(seen).toMatchObject({
      args: ['/bin/sh', '-e', script, 'one'],
      filename: script,
      process: { comm: 'script' },
    });
    expect(seen['executable']).toMatch(/\/(dash|bash|busybox|sh)$/);
  });

  it('resolves the executable behind symbolic links, and the working directory', async () => {
    const exec = await startTracker('exec', mine);
    const alias = join(scratch, 'alias-of-workload');
    const cwd = join(scratch, 'some where');
    await mkdir(cwd);
    await symlink(await workloadPath(), alias);
    const { pid } = await run(alias, ['exit', '0'], { cwd });
    expect(await exec.next(of(pid))).toMatchObject({ filename: alias, executable: await workloadPath(), cwd });
    const root = await run('/bin/true', [], { cwd: '/' });
    expect(await exec.next(of(root.pid))).toMatchObject({ cwd: '/' });
  });

  it('names the comm of the parent', async () => {
    const exec = await startTracker('exec', mine);
    const sh = await run('/bin/sh', ['-c', '/bin/true; :']);
    expect(await exec.next((e) => e.process.ppid === sh.pid)).toMatchObject({ parentComm: 'sh', args: ['/bin/true'] });
  });

  it('tells the namespaces of the process', async () => {
    const exec = await startTracker('exec', mine);
    const own = { pidNs: await namespace('pid'), netNs: await namespace('net'), mount: await namespace('mnt') };
    const here = await run('/bin/true');
    expect(await exec.next(of(here.pid))).toMatchObject({
      pidNs: own.pidNs,
      netNs: own.netNs,
      process: { mountNs: own.mount },
    });

    const shell = await run('unshare', [
      '--mount',
      '--net',
      '--pid',
      '--fork',
      '--mount-proc',
      '/bin/sh',
      '-c',
      'readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/mnt; exit 0',
    ]);
    const [pidNs, netNs, mountNs] = shell.stdout.split('\n').map((line) => /\d+/.exec(line)?.[0]);
    const inside = await exec.next((e) => (e['args'] as string[])[0] === 'readlink');
    expect(inside).toMatchObject({ pidNs, netNs, process: { mountNs } });
    expect(inside['pidNs']).not.toBe(own.pidNs);
    expect(inside['netNs']).not.toBe(own.netNs);
    // Its pid is the one of our pid namespace, not the one inside.
    expect(inside.process.pid).toBeGreaterThan(3);
  });

  it('tells the pid namespace of the process itself, not the one that its children will be in', async () => {
    const exec = await startTracker('exec', mine);
    const { pid } = await run('unshare', ['--pid', '/bin/true']);
    expect(await exec.next((e) => e.process.pid === pid && e.process.comm === 'true')).toMatchObject({
      pidNs: await namespace('pid'),
    });
  });

  it('is silent of what was not executed by the target', async () => {
    const shell = await startTracker('exec', { pids: [process.pid], descendants: false });
    await run('/bin/true');
    expect(await shell.stop()).toEqual([]);
  });
});
