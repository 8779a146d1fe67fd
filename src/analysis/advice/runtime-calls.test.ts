import { expect, it } from 'vitest';
import type { TraceEvent } from '../../event/event.js';
import { runtimeCallsOf } from './runtime-calls.js';

let bootNs = 0;
const event = (pid: number, fact: object): TraceEvent =>
  ({ process: { pid }, bootNs: String((bootNs += 1)), errno: null, ...fact }) as never;
const call = (pid: number, name: string, errno: string | null = null) =>
  event(pid, { tracker: 'syscall', name, errno });
const filter = (pid: number, command: string, errno: string | null = null) =>
  event(pid, { tracker: 'privilege', command, errno });

it('finds the calls between the last filter that a runtime loads and its exec', () => {
  const events = [
    call(1, 'mount'),
    filter(1, 'SECCOMP_SET_MODE_FILTER', 'EFAULT'), // asks what the kernel can do
    call(1, 'pivot_root'),
    filter(1, 'PR_SET_SECCOMP'),
    call(2, 'unshare'),
    call(1, 'capset'),
    call(1, 'execve', 'ENOENT'),
    call(1, 'write'),
    call(1, 'execve'),
    call(1, 'accept'),
  ];
  const found = runtimeCallsOf(events.reverse());
  expect(found).toEqual(['capset', 'execve', 'exit', 'exit_group', 'rt_sigreturn', 'write']);
});

it('takes no program that loads a filter of its own for a runtime', () => {
  expect(runtimeCallsOf([call(1, 'execve'), filter(1, 'SECCOMP_SET_MODE_FILTER'), call(1, 'read')])).toEqual([]);
});
