import { describe, expect, it } from 'vitest';
import { askedOf } from '../../test/support/asked.js';
import type { AskedBefore, AskedInput, AskedTarget } from '../session/asked.js';
import { exclusionsOf } from './exclusion.js';

const web = { id: 'ab'.repeat(32), name: 'web-1', image: 'registry/nginx:1.27' };
const demand = new Map([
  ['exec', new Set(['args', 'filename'])],
  ['open', new Set(['path'])],
]);
const restrictions = (target: AskedTarget | null, container: typeof web | null = web): string[] =>
  exclusionsOf({ asked: askedOf(['exec'], { target }), exported: [], stored: false }, { container, demand }).map(
    ({ restriction }) => restriction,
  );

describe('the target of a session', () => {
  it.each<[string, AskedTarget | null]>([
    ['none', null],
    ['the whole machine', {}],
    ['its name', { containers: [{ name: 'db' }, { name: 'web-*' }] }],
    ['its id', { containers: [{ id: 'abab' }] }],
    ['its image, or a cgroup besides', { containers: [{ image: 'registry/nginx' }], cgroups: ['1'] }],
  ])('excludes nothing of a container that it surely includes: by %s', (_how, target) => {
    expect(restrictions(target)).toEqual([]);
  });

  it.each<[string, AskedTarget]>([
    ['another name', { containers: [{ name: 'db' }] }],
    ['a label, which a report does not know', { containers: [{ labels: [{ name: 'tier' }] }] }],
    ['a selector that is none', { containers: [{ name: '[' }] }],
    ['cgroups', { cgroups: ['4242'] }],
    ['its users too', { containers: [{ name: 'web-*' }], uids: [0] }],
    ['processes', { pids: [1] }],
    ['names of threads', { comms: ['nginx'] }],
  ])('may exclude something of a container: by %s', (_how, target) => {
    expect(restrictions(target)).toEqual(['session.target']);
  });

  it('excludes something of a whole session, whatever it selects', () => {
    expect(restrictions({ containers: [{ name: '*' }] }, null)).toEqual(['session.target']);
    expect(restrictions({}, null)).toEqual([]);
  });
});

it('what was exported with a filter, and what nobody knows, is named', () => {
  const named = exclusionsOf(
    { asked: null, exported: ['errno != null', 'process.uid == 0'], stored: false },
    { container: null, demand },
  );
  expect(named.map(({ restriction, value }) => [restriction, value])).toEqual([
    ['session.spec', 'null'],
    ['export.where', 'errno != null'],
    ['export.where', 'process.uid == 0'],
  ]);
});

it('a change of a name alone is none of what is excluded', () => {
  const asked = askedOf(['exec'], { target: { pids: [1] } });
  const { input } = asked;
  const changes = ['1', '2', '3'].map((at, i) => ({
    at,
    seq: i,
    input: { ...input, name: at },
    where: i < 2 ? 'a' : null,
  }));
  const excluded = (all: typeof changes): string[] =>
    exclusionsOf({ asked: { ...asked, changes: all }, exported: [], stored: false }, { container: null, demand }).map(
      ({ value }) => value,
    );
  const target = '{"pids":[1]}';
  // The last one changed nothing but the name, and the first one neither.
  expect(excluded(changes)).toEqual(['a // until 2', `${target} // until 2`, `${target} // from 2`]);
  expect(excluded(changes.slice(2))).toEqual([target]);
});

describe('what was captured only while somebody read it', () => {
  const excluded = (input: Partial<AskedInput>, changes: readonly AskedBefore[] = []) =>
    exclusionsOf(
      { asked: askedOf(['exec', 'exit'], input, { changes }), exported: [], stored: false },
      { container: null, demand },
    );

  it('may be missing in what is read of the events, in the sections of its tracker', () => {
    expect(excluded({ capture: 'DEMANDED', fields: ['filename'] })).toEqual([
      {
        restriction: 'session.capture',
        excluded: 'fields that nobody read were not captured',
        value: '{"capture":"DEMANDED","fields":["filename"]}',
        trackers: ['exec'],
      },
    ]);
  });

  it.each<Partial<AskedInput>>([
    { capture: 'DEFAULT' },
    { capture: 'ALL' },
    { capture: 'DEMANDED', fields: ['filename', 'args'] },
    { capture: 'DEMANDED', trackers: [{ exit: {} }] },
  ])('is nothing by %j', (input) => {
    expect(excluded(input)).toEqual([]);
  });

  it('is told with the time in which it was so', () => {
    const { input } = askedOf(['exec', 'exit'], { capture: 'DEMANDED' });
    const changed = excluded({}, [{ at: '1', seq: 0, input, where: null }]);
    expect(changed.map(({ value }) => value)).toEqual(['{"capture":"DEMANDED","fields":[]} // until 1']);
  });
});
