import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { SessionSpec } from '../../src/session/spec.js';
import { createLog } from '../../src/base/log.js';
import { queryOf } from '../../src/storage/query.js';
import { SessionRecorder } from '../../src/storage/recorder.js';
import { specOf } from '../support/spec.js';
import { openStore, temporaryDirectory } from '../support/store.js';
import { harness, sessionFilter } from '../support/session.js';
import { until } from '../support/until.js';

// A program opens files that are not there, numbered, in ten directories in turn: each open is an event whose number says which one it is.

const DIRECTORIES = 10;
const programs: ChildProcess[] = [];
async function end(): Promise<void> {
  for (const program of programs.splice(0)) {
    const ended = once(program, 'exit');
    if (program.exitCode === null && program.kill('SIGKILL')) await ended;
  }
}
afterEach(end);

/** Returns the process. It opens a file each so many microseconds; without a pause where that is 0. */
async function opening(pauseUs = 0): Promise<number> {
  // perl's smallest sleep is some 60 µs.
  const pause = pauseUs ? `select(undef, undef, undef, ${pauseUs / 1e6})` : '';
  const program = spawn('perl', [
    '-e',
    `print "x\\n"; close STDOUT; for (my $n = 0;; $n++) { open(my $f, "<", "/none/" . $n % ${DIRECTORIES} . "/$n"); ${pause} }`,
  ]);
  programs.push(program);
  await once(program.stdout, 'data');
  return program.pid ?? 0;
}

/** The filter that takes these directories; null for all. */
async function filterOf(directories: readonly number[] | null): Promise<SessionSpec['where']> {
  const { trackers } = await harness();
  return (
    directories &&
    sessionFilter(directories.map((one) => `path.startsWith("/none/${one}/")`).join(' || '), 'open', trackers)
  );
}

interface Regime {
  /** Null: all. */
  readonly directories: readonly number[] | null;
  /** The place of its first event. */
  readonly seq: number;
}

const takes = ({ directories }: Regime, n: number): boolean => directories?.includes(n % DIRECTORIES) ?? true;

function nearest(regime: Regime, n: number, step: 1 | -1): number {
  for (let at = n + step; ; at += step) if (takes(regime, at) || at < -DIRECTORIES) return at;
}

/** What is wrong with the numbers of a session's events: each number is in one regime, and of each regime all are there. */
function faults(numbers: readonly number[], regimes: readonly Regime[]): string[] {
  const found: string[] = [];
  let before: { readonly regime: Regime; readonly last: number } | null = null;
  for (const [i, regime] of regimes.entries()) {
    const own = numbers.slice(regime.seq, regimes[i + 1]?.seq);
    for (const [j, n] of own.entries()) {
      if (!takes(regime, n)) found.push(`${n} is in regime ${i}, which does not take it`);
      const last = own[j - 1];
      if (last !== undefined && nearest(regime, last, 1) !== n) found.push(`behind ${last} comes ${n}, in regime ${i}`);
    }
    const [first] = own;
    // Between the last of the one and the first of the other there is a moment at which nothing is missing.
    if (before && first !== undefined) {
      const [after, ahead] = [nearest(before.regime, before.last, 1), nearest(regime, first, -1)];
      if (first <= before.last) found.push(`${first} is in regime ${i}, and ${before.last} was before it`);
      else if (ahead >= after)
        found.push(`between ${before.last} and ${first}, of regime ${i}, ${after} or ${ahead} is missing`);
    }
    const last = own.at(-1);
    if (last !== undefined) before = { regime, last };
  }
  return found;
}

const numberOf = (path: unknown): number => Number(String(path).split('/').at(-1));

describe('a session that is changed', () => {
  it('has each event once, evaluated by what held when it happened, and counts exactly, for any changes under load', async () => {
    const { manager } = await harness();
    const directories = fc.option(fc.uniqueArray(fc.integer({ min: 0, max: DIRECTORIES - 1 }), { minLength: 1 }));
    const change = fc.record({
      directories,
      target: fc.constantFrom('pid', 'uid', 'both', 'same' as const),
      waitMs: fc.integer({ min: 0, max: 30 }),
    });
    const scene = fc.record({
      first: directories,
      changes: fc.array(change, { minLength: 1, maxLength: 4 }),
      pauseUs: fc.constantFrom(0, 1, 200),
      shared: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(scene, async ({ first, changes, pauseUs, shared }) => {
        const pid = await opening(pauseUs);
        const idle = spawn('sleep', ['1000']);
        programs.push(idle);
        const targets = { pid: { pids: [pid] }, uid: { pids: [pid], uids: [0] }, both: { pids: [pid, idle.pid ?? 0] } };
        const targetOf = (kind: keyof typeof targets) => specOf([], {}, targets[kind]).target;
        const open = [{ name: 'open', options: { failedOnly: true } }];
        const spec = { ...specOf(open, { bufferBytes: 1 << 30, ringBytes: 64 << 20 }), target: targetOf('pid') };
        const beside = shared ? await manager.start(spec) : null;
        const session = await manager.start({ ...spec, where: await filterOf(first) });
        const regimes: Regime[] = [{ directories: first, seq: 0 }];
        for (const { directories: next, target, waitMs } of changes) {
          await sleep(waitMs);
          const where = await filterOf(next);
          const seq = await session.change((now) => ({
            ...now,
            where,
            target: target === 'same' ? now.target : targetOf(target),
          }));
          regimes.push({ directories: next, seq });
          const { produced, lost, received } = await session.stats();
          expect(produced).toBe(lost + received);
        }
        const so = session.nextSeq;
        await until('some more', () => session.nextSeq > so + 20);
        await manager.stop(session.id);
        const { produced, lost, received, discarded, delivered, evicted, queued } = await session.stats();
        expect([produced, received, queued]).toEqual([lost + received, discarded + delivered, 0]);
        const numbers = [...session.events()].map((event) => numberOf(Reflect.get(event, 'path')));
        // Else it would say nothing.
        expect([lost, evicted, numbers.length]).toEqual([0, 0, delivered]);
        expect(faults(numbers, regimes)).toEqual([]);
        if (beside) await manager.remove(beside.id);
        await manager.remove(session.id);
        await end();
      }),
      { numRuns: Number(process.env['EUNOMIA_UPDATE_RUNS'] ?? 12), endOnFailure: true },
    );
  }, 300_000);

  it('has in its store just what happened while it was to be stored, under load', async () => {
    const { manager } = await harness();
    const { path, remove } = await temporaryDirectory();
    const store = openStore(path);
    try {
      const target = specOf([], {}, { pids: [await opening(1)] }).target;
      const open = [{ name: 'open', options: { failedOnly: true } }];
      const session = await manager.start({
        ...specOf(open, { bufferBytes: 1 << 30, ringBytes: 64 << 20 }),
        target,
        where: await filterOf([0, 1, 2, 3, 4, 5, 6, 7]),
      });
      const persist = { store: 'EMBEDDED', mode: 'EVENTS' } as const;
      const recorder = await SessionRecorder.begin(session, persist, {
        store,
        log: createLog('silent'),
        collector: null,
      });
      session.recorder = recorder;
      const switches: number[] = [];
      for (let i = 0; i < 6; i++) {
        const so = session.nextSeq;
        await until('some more', () => session.nextSeq > so + 500);
        // In one change with another filter, and alone.
        const where = i % 3 === 0 ? await filterOf([i, i + 1]) : null;
        switches.push(
          await session.change((now) => ({
            ...now,
            persist: now.persist ? null : persist,
            ...(where ? { where } : {}),
          })),
        );
      }
      await manager.stop(session.id);
      const { lost, evicted } = await session.stats();
      expect([lost, evicted]).toEqual([0, 0]);
      const all = [...session.events()].map((event) => numberOf(Reflect.get(event, 'path')));
      const wanted = [0, 2, 4].flatMap((i) => all.slice(switches[i], switches[i + 1]));
      expect(wanted.length).toBeGreaterThan(1000);
      const { written, pending, dropped, omitted, state } = recorder.stats;
      expect({ written, pending, dropped, omitted, state }).toEqual({
        written: wanted.length,
        pending: 0,
        dropped: 0,
        omitted: all.length - wanted.length,
        state: 'DONE',
      });
      const stored: number[] = [];
      const gaps: number[] = [];
      const query = { ...queryOf({ id: session.id, trackers: ['open'] }, null), session: session.id };
      for await (const part of store.read(query)) {
        stored.push(...part.events.map(({ event }) => numberOf(Reflect.get(event, 'path'))));
        gaps.push(...part.gaps.map((gap) => gap.dropped));
      }
      expect(stored).toEqual(wanted);
      const ends = [0, ...switches, all.length];
      expect(gaps).toEqual([0, 2, 4, 6].map((i) => (ends[i + 1] ?? 0) - (ends[i] ?? 0)));
      await manager.remove(session.id);
    } finally {
      await end();
      await store.close();
      await remove();
    }
  }, 120_000);

  it('keeps programs that aggregate: its filter in the server can be changed, what needs other programs is refused', async () => {
    const { manager, trackers } = await harness();
    const session = await manager.start(specOf([{ name: 'syscount', options: { every: 50 } }]));
    const named = (where: string) => sessionFilter(where, 'syscount', trackers);
    const sees = (comm: string) => async (): Promise<boolean> => {
      await session.refresh();
      return [...session.events()].some(({ process }) => process.comm === comm);
    };
    await opening(100);
    await until('it counts perl', sees('perl'));
    const seq = await session.change((now) => ({ ...now, where: named('process.comm.endsWith("nosuch")') }));
    const { discarded } = await session.stats();
    await opening(100);
    await until('it has read of another perl', async () => {
      await session.refresh();
      return (await session.stats()).discarded > discarded;
    });
    expect(session.nextSeq).toBe(seq);
    await expect(
      session.change((now) => ({ ...now, target: specOf([], {}, { pids: [process.pid] }).target })),
    ).rejects.toMatchObject({ code: 'BAD_USER_INPUT', message: expect.stringContaining('aggregate') as string });
    await session.change((now) => ({ ...now, where: named('process.comm.endsWith("perl")') }));
    await until('it counts perl again', () => session.refresh().then(() => session.nextSeq > seq));
    const { produced, lost, received } = await session.stats();
    expect(produced).toBe(lost + received);
  });
});
