import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hostileJson, mutated } from '../../test/support/hostile-json.js';
import { readDefinition, readDone, readError, readThreadId } from './reply.js';

const time = '2026-01-02T03:04:05.000000000Z';
const alert = {
  severity: 'HIGH',
  title: 'a shell',
  message: 'in a container',
  key: null,
  tracker: 'exec',
  time,
  process: { pid: 1, ppid: null, uid: 0, comm: 'sh', startTime: time },
  container: { id: 'a'.repeat(64), name: 'web', image: null },
  place: 41,
};
const done = {
  outcome: {
    results: [{ kind: 'found', json: '{"a":1}', place: null }],
    alerts: [alert],
    metrics: [{ metric: 'm', labels: ['x'], value: 1.5, buckets: [0, 2] }],
    logs: ['a line'],
    suppressed: 0,
  },
  error: null,
  busyMs: 0.25,
  memoryBytes: 4096,
};
const withOutcome = (more: object) => ({ ...done, outcome: { ...done.outcome, ...more } });

describe('what a plugin’s thread sends', () => {
  it('is taken as it is when it is a reply', () => {
    expect(readDone(done)).toEqual(done);
    expect(readThreadId(7)).toBe(7);
    expect(readDefinition({ definition: { name: 'p' } })).toEqual({ definition: { name: 'p' } });
    expect(readError({ message: 'no', at: 'p.ts:1' })).toEqual({ message: 'no', at: 'p.ts:1' });
  });

  it.each([
    ['nothing', null],
    ['another answer', { definition: null }],
    ['no outcome', { ...done, outcome: undefined }],
    ['a severity that there is not', withOutcome({ alerts: [{ ...alert, severity: 'BANANA' }] })],
    ['a result that is no JSON', withOutcome({ results: [{ kind: 'found', json: '{"a":' }] })],
    ['a result that would be part of something else', withOutcome({ results: [{ kind: 'found', json: '{}, {}' }] })],
    ['a metric that is no number', withOutcome({ metrics: [{ metric: 'm', labels: [], value: NaN, buckets: [] }] })],
    ['a count below 0', withOutcome({ suppressed: -1 })],
    ['a negative time', { ...done, busyMs: -1 }],
  ])('is no reply with %s', (_what, message) => {
    expect(readDone(message)).toBeNull();
  });

  it('tells nothing of an event that cannot be: a made-up process or time is missing, and the alert stays', () => {
    const made = { ...alert, time: 'yesterday', process: { ...alert.process, pid: 1e99 } };
    expect(readDone(withOutcome({ alerts: [made] }))).toEqual(
      withOutcome({ alerts: [{ ...alert, time: null, process: null }] }),
    );
  });

  it('never throws, whatever it is', () => {
    fc.assert(
      fc.property(fc.oneof(hostileJson, mutated(done)), (message) => {
        for (const read of [readDone, readError, readDefinition, readThreadId]) read(message);
      }),
    );
  });
});
