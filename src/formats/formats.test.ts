import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { createEncoder, EventRecorder, Recording, type Entry, type Sheet } from './index.js';
import { nanosecondsSince1970 } from '../event/clock.js';
import type { FieldValue, TraceEvent } from '../event/event.js';
import { hostileText } from '../../test/support/hostile.js';
import { createReplay, type Player, type RecordedEntry } from '../session/replay.js';

const schema = contractSchema();
const process = {
  pid: 1,
  tid: 1,
  ppid: 0,
  uid: 4_000_000_000,
  gid: 0,
  comm: 'a',
  startTime: '2026-01-31T08:15:30.123456789Z',
  mountNs: '4026531841',
};
const container = {
  id: 'c'.repeat(64),
  name: 'web',
  image: null,
  imageId: null,
  labels: [
    { name: 'b', value: '' },
    { name: 'tier', value: '=x' },
  ],
  composeProject: null,
  composeService: null,
  pod: { name: 'p', namespace: 'n', uid: null, labels: [] },
  podUid: null,
  runtime: 'docker',
  state: 'RUNNING',
  createdAt: null,
  startedAt: null,
  finishedAt: null,
  pid: 7,
  privileged: true,
  ips: ['10.0.0.1'],
  cgroupId: '4242',
};
const exit = {
  tracker: 'exit',
  time: '2026-01-31T08:15:31.000000001Z',
  bootNs: '18446744073709551615',
  process,
  container,
  cgroupId: '4242',
  exitCode: 0,
  signal: null,
  coreDumped: false,
  lifetimeNs: '5',
};
const head = {
  eunomia: {
    recording: 1,
    version: '0.1.0',
    fields: null,
    session: { id: 's', name: null, labels: [], trackers: ['exit'], startedAt: null },
  },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-export-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function entriesOf(...lines: object[]): Promise<Entry[]> {
  const file = join(folder, 'r.ndjson');
  await writeFile(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const recording = await Recording.open(file, schema, [{ name: 'exit' }, { name: 'exec' }]);
  const entries: Entry[] = [];
  for await (const entry of recording.entries()) entries.push(entry);
  return entries;
}

describe('a recorded line', () => {
  it('becomes an event that is recorded as the same line', async () => {
    const [entry] = await entriesOf(head, exit);
    if (entry?.kind !== 'event') throw new Error('no event');
    expect(entry.event.container).toMatchObject({ labels: { b: '', tier: '=x' }, cgroupId: 4242 });
    expect(new EventRecorder(schema, ['exit'], null).record(entry.event)).toEqual(exit);
  });

  it('of an older version has the fields under their names now', async () => {
    const file = join(folder, 'old.ndjson');
    const { exitCode, ...rest } = exit;
    const lines = [head, { ...rest, code: exitCode }, { ...exit, code: 7 }];
    await writeFile(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const recording = await Recording.open(file, schema, [{ name: 'exit', formerNames: { exitCode: 'code' } }]);
    const read: unknown[] = [];
    for await (const entry of recording.entries())
      if (entry.kind === 'event') read.push(Reflect.get(entry.event, 'exitCode'));
    expect(read).toEqual([0, 0]);
  });

  it('shares its container with others of it', async () => {
    const [a, b] = await entriesOf(head, exit, { ...exit, exitCode: 2 });
    expect(a?.kind === 'event' && b?.kind === 'event' && a.event.container === b.event.container).toBe(true);
  });

  it.each([
    [{ ...exit, exitCode: 'x' }, '"exitCode" is "x", not a whole number'],
    [{ ...exit, lifetimeNs: 5 }, '"lifetimeNs" is 5, not decimal digits in a string'],
    [{ ...exit, process: { ...process, comm: null } }, '"process.comm" is missing'],
    [{ ...exit, process: 4 }, '"process" is 4, not an object'],
    [{ ...exit, time: 'yesterday' }, '"time" is "yesterday", not a time like 2026-01-31T08:15:30.123456789Z'],
    [{ ...exit, container: { ...container, state: 'GONE' } }, '"container.state" is "GONE", not one of CREATED'],
    [{ ...exit, container: { ...container, labels: [{ name: 'x' }] } }, '"container.labels[0].value" is missing'],
    [
      { ...exit, container: { ...container, cgroupId: '9007199254740993' } },
      '"container.cgroupId" is "9007199254740993", not the id of a cgroup',
    ],
    [{ gap: { from: 'x' } }, '"gap" is {"from":"x"}; it needs from, to, lost and dropped'],
  ])('that is not of its type is refused with the line and the field: %j', async (line, message) => {
    await expect(entriesOf(head, exit, line)).rejects.toThrow(`line 3: ${message}`);
  });

  it('behind the end is refused', async () => {
    await expect(entriesOf(head, { end: {} }, exit)).rejects.toThrow('line 3: something follows the line {"end": …}');
  });
});

describe('a recording with only some fields', () => {
  it('is not replayed', async () => {
    await expect(entriesOf({ eunomia: { ...head.eunomia, fields: ['time'] } })).rejects.toThrow(
      'export it again without --fields',
    );
  });
});

describe('CSV', () => {
  it('gives back any text that no spreadsheet would run and no terminal would obey', () => {
    const sheet: Sheet<readonly string[]> = {
      columns: [
        { name: 'a', type: 'text' },
        { name: 'b', type: 'text' },
      ],
      record: (row) => row,
      row: (row): FieldValue[] => [...row],
    };
    const escape = (character: string): string =>
      character
        .split('')
        .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
        .join('');
    const shown = (text: string): string =>
      [...text]
        .map((c) => (c !== '\t' && c !== '\n' && /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(c) ? escape(c) : c))
        .join('');
    const safe = (text: string): string => (/^[=+\-@\t＝＋－＠]/.test(shown(text)) ? `'${shown(text)}` : shown(text));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.oneof(hostileText, fc.string({ unit: 'grapheme' })), fc.string({ minLength: 1 })), {
          minLength: 1,
        }),
        (rows) => {
          const encoder = createEncoder('csv', sheet, {});
          const text = `${String(encoder.head())}${String(encoder.items(rows, null))}`;
          expect(parse(text, { record_delimiter: '\r\n' })).toEqual([['a', 'b'], ...rows.map((row) => row.map(safe))]);
        },
      ),
    );
  });

  it('defuses formulas in texts, and leaves numbers as they are', () => {
    const sheet: Sheet<FieldValue[]> = {
      columns: [
        { name: 'comm', type: 'text' },
        { name: 'ret', type: 'int64' },
        { name: 'empty', type: 'text' },
        { name: 'none', type: 'text' },
      ],
      record: (row) => row,
      row: (row) => row,
    };
    expect(createEncoder('csv', sheet, {}).items([['=cmd()', '-2', '', null]], null)).toBe('\'=cmd(),-2,"",\r\n');
  });
});

describe('a replay', () => {
  async function played(
    entries: readonly RecordedEntry[],
    speed: number,
  ): Promise<{ batches: { events: readonly TraceEvent[]; lost: number }[]; ms: number }> {
    const batches: { events: readonly TraceEvent[]; lost: number }[] = [];
    const begun = performance.now();
    await new Promise<void>((resolve) => {
      const player: Player = {
        play: (events, { lost }) => batches.push({ events, lost }),
        change: () => undefined,
        miss: () => undefined,
        queued: () => 0,
        end: () => resolve(),
      };
      const list = async function* (): AsyncGenerator<RecordedEntry> {
        yield* entries;
      };
      void createReplay({ startedAt: null, entries: list(), problem: () => null, speed }).play(player);
    });
    return { batches, ms: performance.now() - begun };
  }
  const at = (ms: number): RecordedEntry => ({
    kind: 'event',
    event: { time: `2026-01-31T08:15:30.${String(ms).padStart(3, '0')}000000Z`, bootNs: String(ms) } as TraceEvent,
  });

  it('keeps the distances between events, divided by the speed', async () => {
    const entries = [at(0), at(1), at(400)];
    const { batches, ms } = await played(entries, 2);
    expect(batches.map(({ events }) => events.length)).toEqual([2, 1]);
    expect(ms).toBeGreaterThanOrEqual(195);
  });

  it('tells a gap where it was', async () => {
    const gap: RecordedEntry = {
      kind: 'gap',
      from: '2026-01-31T08:15:30.002000000Z',
      to: '2026-01-31T08:15:30.003000000Z',
      missing: 7,
    };
    const { batches } = await played([gap, at(1), gap, at(4)], Number.POSITIVE_INFINITY);
    expect(batches.map(({ events, lost }) => [events.length, lost])).toEqual([
      [1, 7],
      [1, 7],
    ]);
  });
});

it('times keep their nanoseconds', () => {
  expect(nanosecondsSince1970('2026-01-31T08:15:30.123456789Z')).toBe(1_769_847_330_123_456_789n);
});
