import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Observation, Seen } from '../../event/advice.js';
import { MOST_NAMES } from './names.js';
import { emptyObservation, merge, mergeSpans, mergeTable } from './observation.js';

const time = fc.integer({ min: 0, max: 99 }).map((second) => `t${String(second).padStart(2, '0')}`);
const seen: fc.Arbitrary<Seen> = fc
  .record({ comms: fc.array(fc.constantFrom(...'abcdefghijkl'), { maxLength: 3 }), times: fc.tuple(time, time) })
  .chain(({ comms, times }) =>
    fc.nat(9).map((count) => ({
      comms: [...new Set(comms)].sort(),
      first: times[0] < times[1] ? times[0] : times[1],
      last: times[0] < times[1] ? times[1] : times[0],
      count,
    })),
  );
const call = fc
  .tuple(seen, fc.constantFrom('read', 'write', 'openat'), fc.boolean(), fc.nat(3))
  .map(([evidence, name, runtime, errors]) => ({ ...evidence, name, abi: 'X86_64', argument: null, runtime, errors }));
const path = fc
  .tuple(seen, fc.constantFrom('/tmp/a', '/etc/b'), fc.constantFrom('READ', 'WRITE'))
  .map(([evidence, where, access]) => ({
    ...evidence,
    path: where,
    access: access as 'READ' | 'WRITE',
    runtime: false,
  }));
/** Names of one directory, from one number to another: with others more than one entry each, or not. */
const names = fc
  .tuple(seen, fc.nat(900), fc.nat(600), fc.constantFrom('READ', 'MAKE'))
  .map(([evidence, from, length, access]) =>
    Array.from({ length }, (_, i) => ({
      ...evidence,
      path: `/tmp/${from + i}`,
      access: access as 'READ' | 'MAKE',
      runtime: false,
    })),
  );
const observation: fc.Arbitrary<Observation> = fc
  .record({
    calls: fc.array(call, { maxLength: 6 }),
    paths: fc
      .tuple(fc.array(path, { maxLength: 6 }), fc.array(names, { maxLength: 2 }))
      .map(([some, many]) => [...some, ...many.flat()]),
    spans: fc.array(
      fc.tuple(time, time).map(([a, b]) => (a < b ? { from: a, to: b } : { from: b, to: a })),
      { maxLength: 3 },
    ),
    containers: fc.array(fc.record({ id: fc.constantFrom('a', 'b'), started: fc.option(time) }), { maxLength: 2 }),
    lost: fc.nat(2),
    memoryBytes: fc.option(fc.nat(9)),
    unobserved: fc.array(fc.constantFrom('files', 'names'), { maxLength: 1 }),
  })
  .map(({ calls, paths, spans, containers, lost, memoryBytes, unobserved }) =>
    merge(emptyObservation(), {
      ...emptyObservation(),
      calls: mergeTable('calls', calls),
      paths: mergeTable('paths', paths),
      spans: mergeSpans(spans),
      containers: containers.map((container) => ({ ...container, name: null, image: null })),
      lost,
      unobserved,
      peaks: { memoryBytes, pids: null, cpus: null },
    }),
  );

it('merges in any order and grouping to the same', () => {
  fc.assert(
    fc.property(observation, observation, observation, (a, b, c) => {
      expect(merge(a, b)).toEqual(merge(b, a));
      expect(merge(merge(a, b), c)).toEqual(merge(a, merge(b, c)));
      expect(merge(a, emptyObservation())).toEqual(a);
    }),
  );
});

it('joins times that touch, and keeps those apart that do not', () => {
  expect(
    mergeSpans([
      { from: '5', to: '6' },
      { from: '1', to: '3' },
      { from: '3', to: '4' },
      { from: '2', to: '3' },
    ]),
  ).toEqual([
    { from: '1', to: '4' },
    { from: '5', to: '6' },
  ]);
});

it('has one entry for the names of a directory where there are too many of them, by what was done with them', () => {
  const once = (path: string, access: 'READ' | 'MAKE', second: number) => ({
    ...{ path, access, runtime: false, comms: ['sh'], count: 1 },
    ...{ first: `t${String(second).padStart(4, '0')}`, last: `t${String(second).padStart(4, '0')}` },
  });
  const made = Array.from({ length: MOST_NAMES }, (_, i) => once(`/tmp/job.${i}`, 'MAKE', i));
  const others = [
    once('/tmp/job.1', 'READ', 1),
    once('/tmp/a/b', 'MAKE', 2),
    once('/', 'READ', 3),
    once('/a', 'MAKE', 4),
  ];
  expect(mergeTable('paths', made, others)).toHaveLength(MOST_NAMES + others.length);
  expect(mergeTable('paths', made, others, [once('/tmp/job.0', 'MAKE', 900)])).toHaveLength(MOST_NAMES + others.length);
  const whole = [once('/tmp/', 'MAKE', 0), ...others];
  const more = mergeTable('paths', made, others, [once('/tmp/one-more', 'MAKE', 900)]);
  expect(more.map(({ path, access }) => [path, access]).sort()).toEqual(
    whole.map(({ path, access }) => [path, access]).sort(),
  );
  expect(more.find(({ path }) => path === '/tmp/')).toMatchObject({
    count: MOST_NAMES + 1,
    first: 't0000',
    last: 't0900',
  });
  expect(mergeTable('paths', more, [once('/tmp/yet-another', 'MAKE', 901)])).toHaveLength(whole.length);
});
