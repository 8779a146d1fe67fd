import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { failureOf } from './failure.js';
import { Lag } from '../lag.js';
import { Sender, type LineWriter } from './sender.js';
import { Spool } from './spool.js';
import { createLog } from '../../base/log.js';
import { until } from '../../../test/support/until.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-sender-'));
afterAll(() => rmSync(folder, { recursive: true }));

function http(statusCode: number, body: string, headers = {}): Error {
  return Object.assign(new Error('failed'), { statusCode, body, headers });
}

async function senderOf(
  write: LineWriter['write'],
  maxBytes = 1 << 20,
  ensure: LineWriter['ensure'] = () => Promise.resolve(),
): Promise<Sender> {
  const spool = await Spool.open(mkdtempSync(join(folder, 'spool-')), { maxBytes, drop: 'OLDEST' });
  const sender = new Sender({
    writer: { ensure, write },
    spool,
    log: createLog('silent'),
    lingerMs: 1,
    firstRetryMs: 1,
    maxRetryMs: 4,
  });
  sender.start();
  return sender;
}

async function settled(sender: Sender): Promise<Sender['stats']> {
  await sender.flush();
  await until('all is sent', () => sender.stats.queued === 0);
  return sender.stats;
}

const linesOf = (payload: Buffer): string[] => payload.toString().trimEnd().split('\n');

describe('a sender', () => {
  it('writes each line once and in order, whenever the database is away, and its counts add up at any time', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.constantFrom('ok', 'away', 'busy')), {
          minLength: 1,
          maxLength: 25,
        }),
        async (steps) => {
          let mood: string = 'ok';
          const seen: string[] = [];
          const sender = await senderOf(async (payload) => {
            await sleep(0);
            if (mood === 'away') throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
            if (mood === 'busy') throw http(503, '');
            seen.push(...linesOf(payload));
          });
          const given: string[] = [];
          for (const [count, next] of steps) {
            mood = next;
            const lines = Array.from({ length: count }, (_, i) => `line ${given.length + i}`);
            given.push(...lines);
            await sender.push(lines);
            await sleep(2);
            const { accepted, written, rejected, dropped, queued } = sender.stats;
            expect({ accepted, rejected, dropped, sum: written + queued }).toEqual({
              accepted: given.length,
              rejected: 0,
              dropped: 0,
              sum: given.length,
            });
          }
          mood = 'ok';
          expect(await settled(sender)).toMatchObject({
            written: given.length,
            queued: 0,
            spooled: 0,
            state: 'CONNECTED',
            problem: null,
          });
          expect(seen).toEqual(given);
          await sender.close();
        },
      ),
      { numRuns: 15 },
    );
  });

  it('counts what a full spool dropped once, also what was on its way then', async () => {
    let away = true;
    let seen = 0;
    const sender = await senderOf(async (payload) => {
      await sleep(1);
      if (away) throw new Error('away');
      seen += linesOf(payload).length;
    }, 4000);
    for (let i = 0; i < 100; i++) {
      await sender.push([`${i} `.padEnd(100, 'x')]);
      await sender.flush();
      await sleep(1); // it is tried meanwhile
      if (i === 60) away = false;
    }
    const stats = await settled(sender);
    expect(stats.dropped).toBeGreaterThan(0);
    expect(stats.accepted).toBe(100);
    expect(stats.written + stats.dropped).toBe(100);
    expect(stats.written).toBe(seen);
    await sender.close();
  });

  it('halves what is too large, and leaves out what is rejected', async () => {
    const seen: string[] = [];
    const sender = await senderOf(async (payload) => {
      const lines = linesOf(payload);
      if (lines.length > 3) throw http(413, 'request entity too large');
      if (lines.includes('bad'))
        throw http(400, JSON.stringify({ error: 'partial write: field type conflict dropped=1' }));
      seen.push(...lines);
    });
    await sender.push(['a', 'b', 'c', 'd', 'e', 'f', 'bad']);
    expect(await settled(sender)).toMatchObject({
      accepted: 7,
      written: 6,
      rejected: 1,
      state: 'CONNECTED',
      problem: 'rejected: HTTP 400: partial write: field type conflict dropped=1',
    });
    await sender.close();
  });

  it('does not spin when it is refused, nor lose points to a database that cannot be made', async () => {
    let attempts = 0;
    const sender = await senderOf(
      () => Promise.resolve(),
      1 << 20,
      () => {
        attempts++;
        return Promise.reject(http(400, '{"error":"invalid database name"}'));
      },
    );
    await sender.push(['a']);
    await until('it is tried', () => attempts > 0);
    await sleep(100);
    expect(attempts).toBe(1);
    expect(sender.stats).toMatchObject({
      state: 'REFUSED',
      problem: 'HTTP 400: invalid database name',
      queued: 1,
      rejected: 0,
      spooled: 1,
    });
    await sender.close();
    expect(sender.stats.spooled).toBe(1);
  });
});

it.each([
  [
    http(401, '{"code":"unauthorized","message":"unauthorized access"}'),
    { kind: 'REFUSED', message: 'HTTP 401: unauthorized access' },
  ],
  [
    http(404, '{"code":"not found","message":"bucket \\"x\\" not found"}'),
    { kind: 'REFUSED', message: 'HTTP 404: bucket "x" not found' },
  ],
  [http(429, '', { 'retry-after': '7' }), { kind: 'AWAY', retryAfterMs: 7000 }],
  [http(503, 'busy', { 'retry-after': '0.001' }), { kind: 'AWAY', retryAfterMs: null }],
  [http(503, 'busy', { 'retry-after': '999999' }), { kind: 'AWAY', retryAfterMs: 300_000 }],
  [http(400, '{"error":"partial write: points beyond retention policy dropped=12"}'), { kind: 'REJECTED', points: 12 }],
  [http(422, '{"message":"nonsense"}'), { kind: 'REJECTED', points: null }],
  [http(413, ''), { kind: 'TOO_LARGE' }],
  [
    Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
    { kind: 'AWAY', message: 'connect ECONNREFUSED' },
  ],
])('what a database responds is classified: %s', (error, failure) => expect(failureOf(error)).toMatchObject(failure));

describe('the age of what waits', () => {
  it('is that of the oldest point, to half a second, however long nothing is taken', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            points: fc.integer({ min: 0, max: 9 }),
            done: fc.integer({ min: 0, max: 12 }),
            ms: fc.integer({ min: 1, max: 900 }),
          }),
          { maxLength: 200 },
        ),
        (steps) => {
          const lag = new Lag();
          const cameAt: number[] = [];
          let done = 0;
          let now = 0;
          for (const step of steps) {
            now += step.ms;
            for (let i = 0; i < step.points; i++) cameAt.push(now);
            lag.took(cameAt.length, now);
            done = Math.min(cameAt.length, done + step.done);
            const exact = done < cameAt.length ? now - (cameAt[done] ?? 0) : 0;
            const age = lag.ageMs(done, now);
            expect(age).toBeGreaterThanOrEqual(exact);
            expect(age).toBeLessThan(exact + 500);
          }
        },
      ),
    );
  });

  it('is that of the oldest after a day without the database, too', () => {
    const lag = new Lag();
    for (let second = 0; second < 86_400; second++) lag.took(second + 1, second * 1000);
    expect(lag.ageMs(0, 86_400_000)).toBe(86_400_000);
    expect(Math.abs(lag.ageMs(43_200, 86_400_000) - 43_200_000)).toBeLessThan(86_400_000 / 1000);
    expect(lag.ageMs(86_400, 86_400_000)).toBe(0);
  });

  it('is told by the sender, whether points wait in memory or on disk', async () => {
    let away = true;
    const sender = await senderOf(async () => {
      if (away) throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
    });
    expect(sender.lagMs).toBe(0);
    await sender.push(['a', 'b']);
    await sleep(20);
    await sender.flush();
    expect(sender.lagMs).toBeGreaterThanOrEqual(19);
    expect(sender.stats.spooled).toBe(2);
    away = false;
    await settled(sender);
    expect(sender.lagMs).toBe(0);
    await sender.close();
  });
});
