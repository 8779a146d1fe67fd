import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/support/store.js';
import { root } from '../base/paths.js';
import { FileLock } from './lock.js';

let path = '';
const ending: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  const directory = await temporaryDirectory();
  ending.push(directory.remove);
  path = join(directory.path, 'lock');
});
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

/** A process that tries to take the lock when it is told to, and stays. `wrap`: a command to run it by. */
async function contender(wrap: readonly string[] = []) {
  const script = `
    const { FileLock } = await import(${JSON.stringify(join(root, 'build/lock/lock.js'))});
    process.stdout.write('ready');
    process.stdin.once('data', async () => {
      globalThis.lock = await FileLock.take(${JSON.stringify(path)});
      process.stdout.write(lock instanceof FileLock ? 'has it' : 'no: ' + lock);
    });`;
  const [command = '', ...args] = [...wrap, process.execPath, '--input-type=module', '-e', script];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const next = async (): Promise<string> => String((await once(child.stdout, 'data'))[0]);
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  ending.push(kill);
  expect(await next()).toBe('ready');
  return {
    pid: child.pid,
    kill,
    take: (): Promise<string> => {
      const said = next();
      child.stdin.write('go');
      return said;
    },
  };
}

describe('a lock', () => {
  it('has one holder of many that try at once, and another once that is killed', async () => {
    const all = await Promise.all([contender(), contender(), contender(), contender()]);
    const said = await Promise.all(all.map((one) => one.take()));
    expect(said.filter((text) => text === 'has it')).toHaveLength(1);
    const holder = all[said.indexOf('has it')];
    const late = await FileLock.take(path);
    expect(late).toBe(holder?.pid);
    await holder?.kill();
    const next = await FileLock.take(path);
    expect(next).toBeInstanceOf(FileLock);
    expect(await readFile(path, 'utf8')).toBe(String(process.pid));
    expect(await FileLock.take(path)).toBe(process.pid);
    if (next instanceof FileLock) await next.release();
  });

  it('keeps out processes of another PID namespace', async () => {
    const mine = await FileLock.take(path);
    const other = await contender(['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']);
    expect(await other.take()).toBe(`no: ${process.pid}`);
    if (mine instanceof FileLock) await mine.release();
  });

  it('is not held by a zombie', async () => {
    // The shell never waits for its child.
    const script = `
      const { FileLock } = await import(${JSON.stringify(join(root, 'build/lock/lock.js'))});
      await FileLock.take(${JSON.stringify(path)});
      process.stdout.write(String(process.pid));
      setInterval(() => {}, 1000);`;
    const parent = spawn(
      'sh',
      ['-c', '"$@" & exec sleep 60', 'sh', process.execPath, '--input-type=module', '-e', script],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    ending.push(async () => {
      parent.kill('SIGKILL');
      await once(parent, 'exit');
    });
    const holder = Number(String((await once(parent.stdout, 'data'))[0]));
    expect(await FileLock.take(path)).toBe(holder);
    process.kill(holder, 'SIGKILL');
    let next: FileLock | number | null = holder;
    // Until the last of its threads is gone.
    for (let i = 0; i < 500 && !(next instanceof FileLock); i++) {
      await sleep(10);
      next = await FileLock.take(path);
    }
    expect(await readFile(`/proc/${holder}/stat`, 'utf8')).toContain(') Z ');
    expect(next).toBeInstanceOf(FileLock);
    if (next instanceof FileLock) await next.release();
  });

  it('is refused where its file is a link', async () => {
    writeFileSync(`${path}.victim`, 'precious', { mode: 0o600 });
    symlinkSync(`${path}.victim`, path);
    await expect(FileLock.take(path)).rejects.toMatchObject({ code: 'UNSAFE_FILE' });
    expect(await readFile(`${path}.victim`, 'utf8')).toBe('precious');
  });
});
