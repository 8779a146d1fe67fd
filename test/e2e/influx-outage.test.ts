import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cert, createCertificate } from '../support/certificate.js';
import { BASE, ended, execEvent, influx1, openStore, sessionOf, sliceOf, timeAt } from '../support/influx.js';
import { count, influxStores } from '../support/influx-stores.js';
import { scratch } from '../support/workload.js';
import { until } from '../support/until.js';

/**
 * A real InfluxDB 1.6 that is away, refuses, or rejects. EUNOMIA_TEST_OUTAGE_S and EUNOMIA_TEST_RATE make the test of an outage longer and
 * harder: 5 s and 20,000 events/s are the default.
 */
const OUTAGE_S = Number(process.env['EUNOMIA_TEST_OUTAGE_S'] ?? 5);
const RATE = Number(process.env['EUNOMIA_TEST_RATE'] ?? 20_000);

const { open, keep } = influxStores();

describe('events for an InfluxDB 1.x', () => {
  it(
    'that a database is away for come after it, in order, none lost, none doubled',
    async () => {
      const own = await (await influx1('influx-outage')).up();
      keep(own);
      const spool = join(scratch, 'outage-spool');
      const { store, sender } = await open(own.url, { spool });
      const record = sessionOf('EVENTS');
      const sink = await store.record(record);
      let made = 0;
      const startMs = Date.now();
      const feed = async (seconds: number): Promise<void> => {
        const from = Date.now();
        const goal = made + seconds * RATE;
        while (made < goal) {
          const due = Math.min(goal, goal - seconds * RATE + Math.floor(((Date.now() - from) / 1000) * RATE)) - made;
          if (due > 0) {
            // Four events at each nanosecond: so many CPUs.
            const events = Array.from({ length: due }, (_, i) =>
              execEvent(timeAt(startMs, (made + i) >> 2), { process: { ...execEvent('').process, pid: made + i } }),
            );
            await sink.write([sliceOf(events, made)], null);
            made += due;
          }
          await sleep(20);
        }
      };
      await feed(2);
      await own.kill();
      await feed(OUTAGE_S);
      expect(sender.stats.state).toBe('AWAY');
      expect(await store.status()).toMatchObject({
        state: 'PAUSED',
        problem: expect.stringMatching(/ECONNREFUSED.*points .* wait in the spool/) as string,
      });
      await own.up();
      await feed(2);
      await sink.finish(ended);
      await until('the spool is empty', () => sender.stats.queued === 0, 300_000);
      const { accepted, written, rejected, dropped, spoolBytes } = sender.stats;
      expect({ written, rejected, dropped, spoolBytes }).toEqual({
        written: accepted,
        rejected: 0,
        dropped: 0,
        spoolBytes: 0,
      });
      expect(await count(own.url, `SELECT COUNT("seq") FROM "eunomia_exec"`)).toBe(made);
      expect(await count(own.url, `SELECT COUNT(DISTINCT("seq")) FROM "eunomia_exec"`)).toBe(made);
    },
    60_000 + OUTAGE_S * 10_000,
  );

  it('survive the end of the server in the spool, and are sent by the next one', async () => {
    const own = await influx1('influx-restart');
    keep(own);
    const spool = join(scratch, 'restart-spool');
    const first = await openStore(own.url, { spool, version: 1 });
    const record = sessionOf('EVENTS');
    const sink = await first.store.record(record);
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 5000 }, (_, i) => execEvent(timeAt(BASE, i))),
          0,
        ),
      ],
      null,
    );
    await until('it is away', () => first.sender.stats.state === 'AWAY');
    await first.store.close();
    await own.up();
    const second = await open(own.url, { spool });
    await until('the spool is empty', () => second.sender.stats.queued === 0);
    expect(await count(own.url, `SELECT COUNT("seq") FROM "eunomia_exec"`)).toBe(5000);
    expect(await second.store.session(record.id)).toMatchObject({
      state: 'STOPPED',
      stopReason: 'INTERRUPTED',
      events: 5000,
      nextSeq: 5000,
    });
  });

  it('are refused for a wrong password, with the words of the database, and kept', async () => {
    const own = await (await influx1('influx-auth', { auth: true })).up();
    keep(own);
    await fetch(
      `${own.url}/query?${new URLSearchParams({ q: `CREATE USER "root" WITH PASSWORD 'right' WITH ALL PRIVILEGES` }).toString()}`,
      { method: 'POST' },
    );
    const { store, sender } = await open(own.url, { username: 'root', password: 'wrong' });
    const sink = await store.record(sessionOf('EVENTS'));
    await sink.write([sliceOf([execEvent(timeAt(BASE))], 0)], null);
    await until('it is refused', () => sender.stats.state === 'REFUSED');
    await sink.flush();
    expect(await store.status()).toMatchObject({
      state: 'FAILED',
      problem: expect.stringMatching(/HTTP 401: authorization failed.*2 points .* wait in the spool/) as string,
    });
    await expect(store.sessions()).rejects.toThrow(/STORE_UNAVAILABLE|failed: HTTP 401/);
    const right = await open(own.url, { username: 'root', password: 'right', retentionMs: 86_400_000 });
    const good = await right.store.record(sessionOf('EVENTS'));
    await good.write([sliceOf([execEvent(timeAt(Date.now()))], 0)], null);
    await good.finish(ended);
    expect(right.sender.stats).toMatchObject({ state: 'CONNECTED', rejected: 0, queued: 0 });
    const policies = await fetch(
      `${own.url}/query?${new URLSearchParams({ db: 'eunomia', q: 'SHOW RETENTION POLICIES', u: 'root', p: 'right' }).toString()}`,
    );
    expect(await policies.text()).toContain('["eunomia","24h0m0s"');
  });

  it('that meet a column of another type are rejected and counted, the others written', async () => {
    const database = keep(await (await influx1('influx-conflict')).up());
    const { store, sender } = await open(database.url, { bucket: 'conflict' });
    const sink = await store.record(sessionOf('EVENTS'));
    await sink.flush();
    await fetch(`${database.url}/write?db=conflict`, {
      method: 'POST',
      body: `eunomia_exec process_pid="text" ${BASE}000000`,
    });
    await sink.write([sliceOf([execEvent(timeAt(BASE))], 0)], null);
    await sink.flush();
    expect(sender.stats).toMatchObject({
      state: 'CONNECTED',
      rejected: 1,
      queued: 0,
      problem: expect.stringContaining('field type conflict') as string,
    });
  });
});

it('an InfluxDB with a certificate of its own authority is written and asked with that, and not without', async () => {
  const files = await createCertificate();
  onTestFinished(() => files.remove());
  const database = await (await influx1('influx-tls', { tls: { cert: files.certFile, key: files.keyFile } })).up();
  keep(database);
  const record = sessionOf('EVENTS');
  const { store, sender } = await open(database.url, { ca: cert });
  const sink = await store.record(record);
  await sink.finish(ended);
  await until('it is written', () => sender.stats.queued === 0);
  expect(await store.session(record.id)).toMatchObject({ id: record.id });
  const stranger = await open(database.url);
  await stranger.store.record(record);
  await until('it is not trusted', () => stranger.sender.stats.state === 'AWAY');
  expect(stranger.sender.stats.problem).toMatch(/self.signed/i);
});
