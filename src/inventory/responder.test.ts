import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTicks, TICK_NS } from './process.js';
import { Responder } from './responder.js';

const acts: string[] = [];
const responder = new Responder({
  act: (id, action) => Promise.resolve(void acts.push(`${action} ${id}`)),
  resolvePid: () => Promise.resolve(null),
});
/** The signals need the pids of the host. */
const isHost = readFileSync('/proc/self/status', 'utf8').includes(`NSpid:\t${process.pid}\n`);

let child: ChildProcess;
let pid = 0;
let startNs = 0;
beforeEach(() => {
  child = spawn('sleep', ['60']);
  pid = child.pid ?? 0;
  startNs = Number(startTicks(pid)) * TICK_NS;
});
afterEach(() => void child.kill('SIGKILL'));

it.runIf(isHost)('sends a signal to the process of this pid and start', async () => {
  const exit = once(child, 'exit');
  await responder.signal({ pid, startNs: startNs + 9_000_000 }, 'SIGTERM');
  expect(await exit).toEqual([null, 'SIGTERM']);
  await expect(responder.signal({ pid, startNs }, 'SIGTERM')).rejects.toThrow('the process has ended');
});

it.runIf(isHost)('sends none to a process that has the pid now', async () => {
  await expect(responder.signal({ pid, startNs: startNs - 20_000_000 }, 'SIGKILL')).rejects.toThrow(
    'the process has ended, and its pid is that of another one',
  );
  expect(child.exitCode ?? child.signalCode).toBe(null);
});

it('sends none to pid 1 and to itself', async () => {
  for (const each of [-1, 0, 1])
    await expect(responder.signal({ pid: each, startNs: 0 }, 'SIGKILL')).rejects.toThrow('is never sent a signal');
  await expect(responder.signal({ pid: process.pid, startNs: 0 }, 'SIGKILL')).rejects.toThrow('never sends itself');
});

it('stops a container, but not the one in which the server runs', async () => {
  await responder.container('a', 'stop');
  expect(acts).toEqual(['stop a']);
  const within = new Responder({
    act: () => Promise.reject(new Error('is not to be called')),
    resolvePid: () => Promise.resolve({ id: 'a' }),
  });
  await expect(within.container('a', 'pause')).rejects.toThrow('the server runs in this container');
});
