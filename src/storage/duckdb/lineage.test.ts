import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { inTurns } from '../../base/turn.js';
import { wallTimeOf } from '../../event/clock.js';
import type { TraceEvent } from '../../event/event.js';
import { sightingOf } from '../../event/sighting.js';
import { filterOf } from '../../filter/index.js';
import { ProcessCollector } from '../../graph/collector.js';
import { TableLineage } from '../../graph/lineage.js';
import { rememberedAs, type PastProcesses } from '../../graph/past.js';
import type { KnownProcess } from '../../graph/process.js';
import { ProcessTable } from '../../graph/table.js';
import { RowBatch } from '../../record/row.js';
import { eventWith } from '../../../test/support/event.js';
import {
  CLOCK,
  filters,
  grown,
  image,
  looks,
  MS,
  naive,
  shown,
  steps,
  told,
  within,
  type Model,
} from '../../../test/support/graph.js';
import { holdsFor } from '../../../test/support/property.js';
import {
  catalog,
  end,
  everything,
  fields,
  firstOf,
  record,
  slicesOf,
  storesOfTest,
} from '../../../test/support/store.js';
import { until } from '../../../test/support/until.js';
import type { DuckStore } from './index.js';
import type { SessionSink } from '../store.js';

const { directory, opened } = storesOfTest();
const BOOT = 'the-boot';
const OTHER = 'another-boot';

afterEach(() => (catalog.lineage = null));

function collectorOf(table: ProcessTable, most?: number): ProcessCollector {
  const find = ({ pid, startNs }: { readonly pid: number; readonly startNs: number }) => table.find(pid, startNs);
  return new ProcessCollector({ boot: BOOT, ready: () => null, find, clock: CLOCK }, most);
}

/** What a server has that was started later: a table that knows none of them. */
function laterLineage(boot = OTHER): TableLineage {
  const table = new ProcessTable(1 << 20);
  const sinceNs = () => BigInt(Date.now()) * 1_000_000n;
  return new TableLineage({ table, boot, ready: () => null, clock: () => CLOCK, problem: () => null, sinceNs });
}

/** As the kernel tells of it: `time` and the start of its process are shown with one clock. */
function eventOf({ pid, startNs }: Pick<Model, 'pid' | 'startNs'>, atNs: number): TraceEvent {
  return eventWith('exit', {
    bootNs: String(atNs),
    time: wallTimeOf(CLOCK, atNs),
    process: { pid, tid: pid, startTime: wallTimeOf(CLOCK, startNs) },
  });
}

function batch(events: readonly TraceEvent[], seq = 0) {
  return slicesOf([new RowBatch(events, { clock: CLOCK, seq, lost: 0, lostFrom: 0, lostTo: 0 })]);
}

const recorded = (id: string) => ({ ...record(id, ['exit']), boot: BOOT });
const page = { session: 'a', fromSeq: 0, toSeq: null, limit: 10_000, backwards: false };

async function store(events: readonly TraceEvent[], collector: ProcessCollector): Promise<string> {
  const path = await directory();
  const first = opened(path);
  const sink = await first.record(recorded('a'), collector);
  await sink.write(batch(events), null);
  await sink.finish(end);
  await first.close();
  return path;
}

const plain = ({ pid, startNs, ppid, exit, generations, parent }: KnownProcess) => ({
  ...{ pid, startNs, ppid, exit, generations },
  parent: parent && [parent.pid, parent.startNs],
});

async function pastOf(of: DuckStore, session = 'a'): Promise<PastProcesses> {
  const past = await of.processes(session);
  if (!past) throw new Error('no processes are stored');
  return past;
}

describe('the processes of a stored session', () => {
  it('and all of their ancestors come back as the table knew them, each once, whatever the number of events', async () => {
    const { table, models } = grown([
      ['exec', 0, 'sshd'],
      ['fork', 0, 'sh'],
      ['exec', 1, 'sh'],
      ['fork', 1, 'sh'],
      ['exec', 2, 'cat'],
      ['rename', 2, 'cron'],
      ['fork', 0, 'sh'],
      ['exit', 1, 'sh'],
      ['exit', 2, 'sh'],
    ]);
    const [init, shell, cat, other] = models;
    if (!init || !shell || !cat || !other) throw new Error('no processes');
    const events = Array.from({ length: 500 }, (_, i) => eventOf(cat, 5 * MS + i));
    const path = await store(events, collectorOf(table));
    const again = opened(path);
    const past = await pastOf(again);
    expect(past).toMatchObject({ boot: BOOT, size: 3 });
    for (const { pid, startNs } of [init, shell, cat]) {
      const known = table.find(pid, startNs);
      const stored = past.find(pid, startNs);
      expect(stored && plain(stored)).toEqual(known && plain(known));
    }
    expect(past.find(other.pid, other.startNs)).toBeNull();
    expect(await again.session('a')).toMatchObject({ boot: BOOT, processes: { stored: 3, dropped: 0 } });
    await again.close();
    const file = await DuckDBInstance.create(join(path, 'eunomia.duckdb'));
    const rows = await (await file.connect()).run('SELECT count(*), count(DISTINCT pid) FROM lineage');
    // A row for each of their programs and names.
    expect(await rows.getRows()).toEqual([[7n, 3n]]);
    file.closeSync();
  });

  it('are filtered after a restart as a naive walk over them does', { timeout: 120_000 }, async () => {
    let matched = 0;
    await holdsFor(
      fc.asyncProperty(fc.array(fc.tuple(steps, looks), { minLength: 10, maxLength: 10 }), async (trees) => {
        const path = await directory();
        const first = opened(path);
        const sessions: { readonly id: string; readonly looked: readonly { model: Model; atNs: number }[] }[] = [];
        for (const [i, [told, wanted]] of trees.entries()) {
          const { table, models, endNs } = grown(told);
          const looked = wanted.flatMap(([which, when]) => {
            const model = models[which % models.length];
            return model ? [{ model, atNs: within(model, when, endNs) }] : [];
          });
          const id = `tree-${i}`;
          const sink = await first.record(recorded(id), collectorOf(table));
          await sink.write(batch(looked.map(({ model, atNs }) => eventOf(model, atNs))), null);
          await sink.finish(end);
          sessions.push({ id, looked });
        }
        await first.close();
        const again = opened(path);
        const lineage = laterLineage();
        catalog.lineage = lineage;
        for (const { id, looked } of sessions) {
          for (const [cel, expected] of filters) {
            const filter = filterOf({ expr: cel }, fields, ['exit']);
            const found = await again.page({ ...everything(['exit']), ...page, session: id, filter });
            const right = looked.flatMap(({ model, atNs }, seq) => (expected(naive(model, atNs)) ? [seq] : []));
            expect([cel, found.events.map(({ place }) => place.seq)]).toEqual([cel, right]);
            matched += right.length;
          }
          for await (const some of again.scan({ ...everything(['exit']), sessions: [id], processes: true }))
            expect(some.map((event) => shown(lineage.of(event)))).toEqual(
              looked.map(({ model, atNs }) => naive(model, atNs)),
            );
        }
        await again.close();
      }),
      { numRuns: 2 },
    );
    expect(matched).toBeGreaterThan(20);
  });

  it('are those of their own session: another one of another boot may have the same pid and start', async () => {
    const path = await directory();
    const first = opened(path);
    const sinks: SessionSink[] = [];
    for (const [id, name] of [
      ['a', 'cat'],
      ['b', 'cron'],
    ] as const) {
      const { table, models } = grown([
        ['fork', 0, 'sh'],
        ['exec', 1, name],
      ]);
      const sink = await first.record(recorded(id), collectorOf(table));
      await sink.write(batch([eventOf(models[1] ?? { pid: 0, startNs: 0 }, 4 * MS)]), null);
      sinks.push(sink);
    }
    for (const sink of sinks) await sink.finish(end);
    catalog.lineage = laterLineage();
    const filter = filterOf({ expr: 'process.executable == "/bin/cron"' }, fields, ['exit']);
    const { events } = await first.history({ ...everything(['exit']), filter }, firstOf(10));
    expect(events.map(({ place }) => place.session)).toEqual(['b']);
  });

  it('that go on while it is recorded are stored again, and not twice', async () => {
    const { table, models } = grown([['fork', 0, 'sh']]);
    const [, shell] = models;
    if (!shell) throw new Error('no process');
    const path = await directory();
    const first = opened(path);
    const collector = collectorOf(table);
    const sink = await first.record(recorded('a'), collector);
    await sink.write(batch([eventOf(shell, 3 * MS)]), null);
    await until('they are collected', () => collector.stats.stored === 2);
    table.executed(told(shell.pid, shell.startNs, { atNs: 4 * MS, comm: 'cat' }), image('cat'));
    table.exited(told(shell.pid, shell.startNs, { atNs: 5 * MS }), 256);
    await sink.finish(end);
    const past = (await pastOf(first)).find(shell.pid, shell.startNs);
    expect(past).toMatchObject({ exit: { atNs: 5 * MS, code: 256 }, parent: { pid: 1 } });
    expect(past?.generations.map(({ comm }) => comm)).toEqual(['init', 'cat']);
  });

  it('keep the parent that the table has forgotten since', async () => {
    const table = new ProcessTable(1 << 30);
    table.forked(told(1, 0, { comm: 'init' }));
    table.forked(told(2, MS, { comm: 'sh', ppid: 1, parentStartNs: 0 }));
    const collector = collectorOf(table);
    collector.see(2, MS);
    expect((await collector.take()).map(({ pid, again }) => [pid, again])).toEqual([
      [2, false],
      [1, false],
    ]);
    const known = table.find(2, MS);
    if (known) known.parent = null;
    table.renamed(told(2, MS, { comm: 'cat' }));
    expect(await collector.take()).toMatchObject([{ pid: 2, parentStartNs: 0, again: true }]);
    expect(await collector.take()).toEqual([]);
  });

  it('are bounded, and those beyond are counted once', async () => {
    const table = new ProcessTable(1 << 30);
    for (let pid = 1; pid <= 10; pid++) table.forked(told(pid, pid * MS, {}));
    const collector = collectorOf(table, 4);
    for (let round = 0; round < 3; round++) {
      for (let pid = 1; pid <= 10; pid++) collector.see(pid, pid * MS);
      await collector.take();
    }
    expect(collector.stats).toEqual({ stored: 4, dropped: 6 });
  });

  it('of which the store knows nothing are null, and not those of another one', async () => {
    const { table, models } = grown([['fork', 0, 'sh']]);
    const path = await store(
      [eventOf(models[1] ?? { pid: 0, startNs: 0 }, 3 * MS), eventOf({ pid: 77, startNs: 9 }, 3 * MS)],
      collectorOf(table),
    );
    const past = await pastOf(opened(path));
    const events = [eventOf({ pid: 77, startNs: 9 }, 3 * MS)];
    await inTurns(past.sight(events));
    const sighting = events[0] && sightingOf(events[0].process);
    expect(sighting).toMatchObject({ pid: 77, startNs: 9, past: { boot: BOOT, known: null } });
    expect(sighting && rememberedAs(sighting)).toBeNull();
    expect(events[0] && laterLineage().of(events[0])).toBeNull();
  });
});

describe('a data directory', () => {
  it('of before processes were stored opens without them, and takes them from then on', async () => {
    const { table, models } = grown([['fork', 0, 'sh']]);
    const event = eventOf(models[1] ?? { pid: 0, startNs: 0 }, 3 * MS);
    const path = await store([event], collectorOf(table));
    const file = await DuckDBInstance.create(join(path, 'eunomia.duckdb'));
    const connection = await file.connect();
    await connection.run('DROP TABLE lineage');
    await connection.run(`UPDATE sessions SET facts = json_merge_patch(facts, '{"boot": null}')::VARCHAR`);
    connection.closeSync();
    file.closeSync();
    const again = opened(path);
    expect(await again.session('a')).toMatchObject({ boot: null, events: 1 });
    expect(await again.processes('a')).toBeNull();
    expect(await again.processes('nosuch')).toBeNull();
    const sink = await again.record(recorded('b'), collectorOf(table));
    await sink.write(batch([event]), null);
    expect(await again.processes('b')).toBeNull();
    await sink.finish(end);
    expect(await pastOf(again, 'b')).toMatchObject({ size: 2 });
  });

  it('forgets the processes of a session with it', async () => {
    const { table, models } = grown([['fork', 0, 'sh']]);
    const path = await store([eventOf(models[1] ?? { pid: 0, startNs: 0 }, 3 * MS)], collectorOf(table));
    const again = opened(path);
    expect((await pastOf(again)).size).toBe(2);
    await again.remove('a');
    expect(await again.processes('a')).toBeNull();
    await again.close();
    const file = await DuckDBInstance.create(join(path, 'eunomia.duckdb'));
    const rows = await (await file.connect()).run('SELECT count(*) FROM lineage');
    expect(await rows.getRows()).toEqual([[0n]]);
    file.closeSync();
  });

  it('forgets with the events of a running session the processes that ended before, but not ancestors of others', async () => {
    const table = new ProcessTable(1 << 30);
    const now = Date.now() * MS - CLOCK.seconds * 1_000_000_000;
    const COUNT = 1500;
    table.forked(told(1, 0, { comm: 'init' }));
    table.forked(told(2, MS, { comm: 'sshd', ppid: 1, parentStartNs: 0 }));
    const events: TraceEvent[] = [];
    for (let i = 0; i < COUNT; i++) {
      const [pid, startNs] = [10 + i, (10 + i) * MS];
      table.forked(told(pid, startNs, { ppid: 2, parentStartNs: MS }));
      table.exited(told(pid, startNs, { atNs: startNs }), 0);
      events.push(eventOf({ pid, startNs }, startNs));
    }
    table.forked(told(5000, now, { comm: 'cat', ppid: 2, parentStartNs: MS }));
    table.exited(told(2, MS, { atNs: 20_000 * MS }), 0);
    events.push(eventOf({ pid: 5000, startNs: now }, now));
    const path = await directory();
    const first = opened(path, { retentionMs: 86_400_000 });
    const collector = collectorOf(table);
    const take = vi.spyOn(collector, 'take');
    const sink = await first.record(recorded('a'), collector);
    await sink.write(batch(events), null);
    await until('they are collected', () => collector.stats.stored === COUNT + 3);
    const { length } = take.mock.calls;
    await until('they are sent: it collects again', () => take.mock.calls.length > length);
    await sink.flush();
    await first.retain();
    expect(collector.stats.stored).toBe(3);
    await sink.finish(end);
    const past = await pastOf(first);
    expect(past.size).toBe(3);
    expect(past.find(5000, now)).toMatchObject({ pid: 5000, parent: { pid: 2, parent: { pid: 1 } } });
  });
});
