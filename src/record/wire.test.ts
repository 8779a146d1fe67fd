import { describe, expect, it } from 'vitest';
import { createContainer } from '../inventory/container.js';
import type { TraceEvent } from '../event/event.js';
import { cgroupIdAt, RecordBatch, type EventBatch } from './batch.js';
import { idOfEvent } from './place.js';
import { RowBatch } from './row.js';
import { compileView } from './view.js';
import { BatchReader, packBatch } from './wire.js';
import exit from '../trackers/exit.js';
import signal from '../trackers/signal.js';
import { layoutOf, packed, recordOf } from '../../test/support/record.js';
import { eventWith } from '../../test/support/event.js';

const layout = layoutOf('exit');
const place = { clock: { seconds: 1_700_000_000, nanoseconds: 5 }, seq: 40, lost: 3, lostFrom: 1, lostTo: 2 };
const web = createContainer('a'.repeat(64), 'docker');
const db = createContainer('b'.repeat(64), 'docker');

/** Records of pids 1, 2, 3 …, each in the cgroup given; 7 is web's, 8 is db's, others are the host's. */
function records(cgroups: readonly number[]): RecordBatch {
  const { data, offsets } = packed(
    cgroups.map((cgroupId, i) => recordOf(layout, { cgroupId, pid: i + 1, bootNs: i, mountNs: 9 })),
  );
  const containers = new Map<number, object>([
    [7, web],
    [8, db],
  ]);
  const context = {
    views: [compileView(exit, layout)],
    containerAt: (view: DataView, at: number) => containers.get(Number(view.getBigUint64(at + 8, true))) ?? null,
  };
  return new RecordBatch(data, offsets, context, place);
}

function sent(batch: EventBatch) {
  const { message, transfer } = packBatch(batch);
  return structuredClone(message, { transfer });
}

const facts = (event: TraceEvent) => ({
  pid: event.process.pid,
  time: event.time,
  tracker: event.tracker,
  container: (event.container as { id: string } | null)?.id ?? null,
});
const eventsOf = (batch: EventBatch) => Array.from({ length: batch.count }, (_, i) => batch.event(i));

describe('a batch on its way to another thread', () => {
  it('arrives with its events, their places, containers and the loss before them', async () => {
    const batch = records([7, 1, 8, 7]);
    const reader = await BatchReader.create(['exit']);
    const read = reader.read(sent(batch));
    expect(eventsOf(read).map(facts)).toEqual(eventsOf(batch).map(facts));
    expect(eventsOf(read).map(({ container }) => (container as { id: string } | null)?.id[0] ?? null)).toEqual([
      'a',
      null,
      'b',
      'a',
    ]);
    expect(read).toMatchObject(place);
  });

  it('has the containers of both processes of an event', async () => {
    const two = layoutOf('signal');
    const record = (cgroupId: number, targetPid: number, targetCgroupId: number) =>
      recordOf(two, { cgroupId, pid: 1, mountNs: 9, targetPid, targetCgroupId });
    const { data, offsets } = packed([record(1, 2, 7), record(8, 2, 1), record(1, 0, 7)]);
    const containers = new Map<number, object>([
      [7, web],
      [8, db],
    ]);
    const containerAt = (view: DataView, at: number) => containers.get(Number(view.getBigUint64(at + 8, true))) ?? null;
    const batch = new RecordBatch(data, offsets, { views: [compileView(signal, two)], containerAt }, place);
    const read = (await BatchReader.create(['signal'])).read(sent(batch));
    const sides = (event: TraceEvent) => [facts(event).container, Reflect.get(event, 'targetContainerId')];
    expect(eventsOf(read).map(sides)).toEqual([
      [null, web.id],
      [db.id, null],
      [null, null], // nobody knows the second process
    ]);
  });

  it('takes a cgroup id that no double can hold for no other', () => {
    const record = (cgroupId: bigint) => recordOf(layout, { cgroupId });
    const { data, offsets } = packed([record(2n ** 53n - 1n), record(2n ** 53n), record(2n ** 53n + 1n)]);
    const ids = [...offsets].map((at) => cgroupIdAt(new DataView(data), at));
    expect(ids).toEqual([Number.MAX_SAFE_INTEGER, Number.NaN, Number.NaN]);
  });

  it('tells apart what the pid namespace alone tells apart', async () => {
    const inits = [0, 500, 501, 500];
    const { data, offsets } = packed(
      inits.map((initPid, i) => recordOf(layout, { cgroupId: 1, mountNs: 9, pid: i + 1, initPid, initStart: 3 })),
    );
    const containers = new Map<number, object>([
      [500, web],
      [501, db],
    ]);
    const batch = new RecordBatch(
      data,
      offsets,
      {
        views: [compileView(exit, layout)],
        containerAt: (view: DataView, at: number) => containers.get(view.getUint32(at + 52, true)) ?? null,
      },
      place,
    );
    const read = (await BatchReader.create(['exit'])).read(sent(batch));
    expect(eventsOf(read).map((event) => facts(event).container?.[0] ?? null)).toEqual([null, 'a', 'b', 'a']);
  });

  it('leaves the batch as it was, for those who read it here', () => {
    const batch = records([7, 1]);
    packBatch(batch);
    sent(batch);
    expect(eventsOf(batch).map(({ process }) => process.pid)).toEqual([1, 2]);
  });

  it('keeps the places of events that a filter left', async () => {
    const batch = records([1, 1, 1, 1, 1, 1, 1, 1, 1, 7]).only((event) => event.process.pid === 10);
    const read = (await BatchReader.create(['exit'])).read(sent(batch));
    expect(read.count).toBe(1);
    expect(read.placeOf(0)).toBe(49);
    expect(facts(read.event(0))).toMatchObject({ pid: 10, container: web.id });
  });

  it('has the places of a session that it is told', async () => {
    const batch = records([1, 1, 1, 1, 1, 1, 1, 1, 1, 7]).only((event) => event.process.pid % 5 === 0);
    const read = async (session?: string) => (await BatchReader.create(['exit'], session)).read(sent(batch));
    expect(eventsOf(await read('s')).map(idOfEvent)).toEqual(['event:s:44', 'event:s:49']);
    expect(eventsOf(await read()).map(idOfEvent)).toEqual([null, null]);
  });

  it('has one object a container, with the facts that came last', async () => {
    const reader = await BatchReader.create(['exit']);
    const first = reader.read(sent(records([7]))).event(0);
    expect(first.container).toMatchObject({ name: null });
    web.name = 'web-1';
    const second = reader.read(sent(records([7]))).event(0);
    web.name = null;
    expect(second.container).toBe(first.container);
    expect(first.container).toMatchObject({ name: 'web-1' });
  });

  it('refuses a tracker that there is not', async () => {
    await expect(BatchReader.create(['nothing'])).rejects.toThrow('there is no tracker "nothing"');
  });
});

describe('a batch of rows', () => {
  const rows = [5, 6, 7].map((ns) => eventWith('exit', { bootNs: String(ns), process: { pid: ns } }));

  it('is read and filtered as one of records is', () => {
    const batch = new RowBatch(rows, place);
    const some = batch.only(({ process }) => process.pid !== 6);
    expect(eventsOf(some).map(({ bootNs }) => bootNs)).toEqual(['5', '7']);
    expect([some.placeOf(0), some.placeOf(1)]).toEqual([40, 42]);
    expect(some.bootNsAt(1)).toBe(7);
    expect(some.lost).toBe(3);
    expect(batch.only(() => true)).toBe(batch);
  });

  it('goes to another thread', async () => {
    const read = (await BatchReader.create(['exit'])).read(sent(new RowBatch(rows, place)));
    expect(eventsOf(read)).toEqual(rows);
    expect(read).toMatchObject(place);
  });

  it('has the places of a session that it is told', async () => {
    const some = new RowBatch(rows, place).only(({ process }) => process.pid !== 6);
    const read = (await BatchReader.create(['exit'], 's')).read(sent(some));
    expect(eventsOf(read).map(idOfEvent)).toEqual(['event:s:40', 'event:s:42']);
  });
});
