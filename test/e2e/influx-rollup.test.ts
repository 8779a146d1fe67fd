import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../../src/event/event.js';
import { filterOf } from '../../src/filter/index.js';
import {
  BASE,
  aggregate,
  ended,
  exitEvent,
  fields,
  influx1,
  sessionOf,
  sliceOf,
  timeAt,
  victoria,
} from '../support/influx.js';
import { influxStores, storedQuery } from '../support/influx-stores.js';
import { firstOf } from '../support/store.js';
import { until, untilHolds } from '../support/until.js';

/** Sums in windows of time, in a real InfluxDB 1.6 and a real VictoriaMetrics. */
const { open, keep } = influxStores();

describe('rollups', () => {
  const exits = (i: number): TraceEvent =>
    exitEvent(timeAt(BASE + i * 20), { signal: i % 4 ? null : 'SIGTERM', lifetimeNs: String(i) });

  it('in an InfluxDB 1.x sum up to the events, and serve aggregates', async () => {
    const database = await (await influx1('influx-rollup')).up();
    keep(database);
    const opened = await open(database.url);
    const { store } = opened;
    const record = sessionOf('ROLLUP', ['exec', 'exit']);
    const sink = await store.record(record);
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 5000 }, (_, i) => exits(i)),
          0,
        ),
      ],
      null,
    );
    await sink.finish(ended);
    const asked = storedQuery(record.id, null, ['exec', 'exit']);
    const rows = await aggregate(opened, asked, {
      groupBy: ['tracker', 'signal'],
      measures: [
        { fn: 'SUM', field: 'lifetimeNs' },
        { fn: 'MAX', field: 'lifetimeNs' },
        { fn: 'AVG', field: 'lifetimeNs' },
      ],
    });
    expect(rows.map(({ key, count: n, values }) => [key.map(({ value }) => value), n, values[1]?.number])).toEqual([
      [['exit', null], 3750, 4999],
      [['exit', 'SIGTERM'], 1250, 4996],
    ]);
    expect(rows.reduce((sum, { values }) => sum + (values[0]?.number ?? 0), 0)).toBe((5000 * 4999) / 2);
    await expect(
      aggregate(
        opened,
        { ...asked, filter: filterOf({ process: { pid: { eq: 1 } } }, fields, ['exec', 'exit']) },
        { groupBy: ['tracker'] },
      ),
    ).rejects.toThrow(/where: rollups have their tags only, and cannot be filtered by "process.pid"/);
    await expect(store.history(asked, firstOf(10))).resolves.toMatchObject({ events: [] });
  });

  it('go to a VictoriaMetrics through /api/v2/write, once each, also when it was away meanwhile', async () => {
    const database = await (await victoria('victoria')).up();
    keep(database);
    const { store, sender } = await open(database.url);
    const sink = await store.record(sessionOf('ROLLUP', ['exit']));
    for (let part = 0; part < 4; part++) {
      // Ended in order: VictoriaMetrics answers before points are on its disk, and killed it would lose the last seconds of them.
      if (part === 1) await database.kill('SIGTERM');
      if (part === 2) await database.up();
      const slice = sliceOf(
        Array.from({ length: 2500 }, (_, i) => exits(part * 2500 + i)),
        part * 2500,
      );
      const { accepted } = sender.stats;
      await sink.write([slice], null);
      await until('windows have closed, and are written', () => sender.stats.accepted > accepted);
    }
    await sink.finish(ended);
    await until('all is sent', () => sender.stats.queued === 0);
    expect(sender.stats).toMatchObject({ rejected: 0, dropped: 0 });
    const exported = async (): Promise<readonly number[]> => {
      await fetch(`${database.url}/internal/force_flush`);
      const match = new URLSearchParams({ 'match[]': '{__name__="eunomia_rollup_exit_count"}', reduce_mem_usage: '0' });
      const response = await fetch(`${database.url}/api/v1/export?${match.toString()}`);
      const lines = (await response.text()).trim().split('\n').filter(Boolean);
      return lines.flatMap((line) => (JSON.parse(line) as { values: number[] }).values);
    };
    // It shows points a while after it took them, and not all of them at once.
    const events = async () => (await exported()).reduce((sum, value) => sum + value, 0);
    expect(await untilHolds('all can be read', events, (count) => count >= 10_000)).toBe(10_000);
  });
});
