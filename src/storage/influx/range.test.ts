import { describe, expect, it } from 'vitest';
import { contractSchema } from '../../api/graphql/schema.js';
import { Catalog } from '../../catalog/catalog.js';
import { loadTrackers } from '../../catalog/load.js';
import { print } from '../../filter/index.js';
import type { EventQuery, StoredRecord } from '../store.js';
import { lifeOf, rangeOf } from './range.js';

const catalog = new Catalog(contractSchema(), await loadTrackers(), () => false);
const DAY = 86_400_000_000_000n;
const MINUTE = 60_000_000_000n;
const NS = 1_000_000n;
const query: EventQuery = { sessions: null, trackers: ['exec'], from: null, to: null, containers: null, filter: null };
const begun = '2026-01-31T08:15:30.000000001Z';
const begunNs = BigInt(Date.parse(begun)) * NS + 1n;

function record(createdAt: string, stoppedAt: string | null): StoredRecord {
  return {
    ...{
      id: 'a',
      name: null,
      labels: [],
      trackers: ['exec'],
      options: {},
      asked: null,
      boot: null,
      capture: 'DEFAULT',
      mode: 'EVENTS',
    },
    ...{ createdAt, startedAt: createdAt, state: stoppedAt === null ? 'RUNNING' : 'STOPPED', stoppedAt },
    ...{ stopReason: null, error: null, lost: 0, received: null, discarded: 0, receivedBytes: 0 },
    ...{ events: 0, missing: 0, removed: 0, omitted: 0, nextSeq: 0, oldest: null, newest: null },
  };
}

describe('the range of a query', () => {
  it('is the last day without a beginning, the last year of named sessions, and what was asked for otherwise', () => {
    const now = BigInt(Date.now()) * NS;
    const recent = rangeOf(query, catalog);
    expect(recent.to).toBeGreaterThanOrEqual(now);
    expect(recent.to - recent.from).toBe(DAY);
    const named = rangeOf({ ...query, sessions: ['a'] }, catalog);
    expect(named.to - named.from).toBe(365n * DAY);
    expect(rangeOf({ ...query, from: 5n, to: 9n }, catalog)).toMatchObject({ from: 5n, to: 9n });
  });

  it('names its trackers, and refuses one that there is none of', () => {
    expect(rangeOf(query, catalog).trackers.map(({ name }) => name)).toEqual(['exec']);
    expect(() => rangeOf({ ...query, trackers: ['nosuch'] }, catalog)).toThrow('nosuch');
  });

  it('selects any of the containers, by what is written of them', () => {
    const textOf = (containers: EventQuery['containers']) => {
      const { filter } = rangeOf({ ...query, containers }, catalog);
      return filter && print(filter);
    };
    expect(textOf(null)).toBe(null);
    expect(textOf([{ name: 'web*' }, { id: 'abc', image: 'nginx' }])).toMatchInlineSnapshot(
      `"container.name.glob("web*") || container.id.startsWith("abc") && (container.image.glob("nginx") || ` +
        `container.image.glob("nginx:*") || container.image.glob("nginx@*"))"`,
    );
    expect(() => textOf([{ name: 'a' }, { labels: [{ name: 'app', value: 'x' }] }])).toThrow('containers[1].labels');
  });
});

describe('the life of sessions', () => {
  it('is from a minute before the first to a minute after the last has stopped', () => {
    const records = [record('2026-02-01T00:00:00Z', '2026-02-02T00:00:00Z'), record(begun, '2026-02-01T00:00:00Z')];
    expect(lifeOf(query, records)).toEqual({
      ...query,
      from: begunNs - MINUTE,
      to: BigInt(Date.parse('2026-02-02T00:00:00Z')) * NS + MINUTE,
    });
  });

  it('has no end while one has not stopped, and leaves times that were given', () => {
    expect(lifeOf(query, [record(begun, null)])).toEqual({ ...query, from: begunNs - MINUTE, to: null });
    expect(lifeOf({ ...query, from: 5n, to: 9n }, [record(begun, begun)])).toEqual({ ...query, from: 5n, to: 9n });
    expect(lifeOf(query, [])).toEqual(query);
  });
});
