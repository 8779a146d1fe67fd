import { expect, it, vi } from 'vitest';
import type { TraceEvent } from '../event/event.js';
import { at, engineOf, rulesOf } from '../../test/support/rules.js';
import type { EventsBefore } from './alert.js';

it('has the events before it in its evidence, and not where it is a repetition', () => {
  const { engine, alerts, repeats } = engineOf(
    rulesOf(`rules:
- name: shell
  description: A shell ran.
  severity: LOW
  trackers: exec
  condition: process.comm == "sh"
  message: '{process.comm}'`),
  );
  const before = vi.fn<EventsBefore>(() => () => [
    at(0, 'open', { path: '/etc/shadow', process: { comm: 'cat', pid: 9 } }),
  ]);
  engine.evaluate(at(1, 'exec', { process: { comm: 'nginx' } }), before);
  for (const ms of [2, 3]) engine.evaluate(at(ms, 'exec', { process: { comm: 'sh' } }), before);
  expect(alerts[0]?.evidence?.events()).toEqual([
    expect.objectContaining({ tracker: 'open', path: '/etc/shadow', process: { pid: 9, comm: 'cat' } }),
  ]);
  expect(repeats[0]?.evidence).toBe(null);
  expect(before).toHaveBeenCalledTimes(1);
});

it('reads the events before it when the alert is told, so that thousands that wait hold none', () => {
  const { engine, alerts } = engineOf(
    rulesOf(`rules:
- name: hangs
  description: A job hangs.
  severity: LOW
  trackers: exec
  condition: process.comm == "job"
  message: '{process.comm}'
  absence: { trackers: exit, condition: 'true', within: 1m, by: process }`),
  );
  const read = vi.fn<() => readonly TraceEvent[]>(() => [at(0, 'exec', { args: ['job'] })]);
  for (let i = 0; i < 100; i++) engine.evaluate(at(i, 'exec', { process: { comm: 'job', pid: i } }), () => read);
  expect(read).not.toHaveBeenCalled();
  engine.advance(30_000 + 60_001);
  expect(alerts).toHaveLength(1);
  expect(alerts[0]?.evidence?.events()).toMatchObject([{ args: ['job'] }]);
});
