import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import type { TrackerDefinition } from '../tracker/define.js';
import type { ClockOffset } from '../event/clock.js';
import type { AskedFrom } from './asked.js';
import type { SharedSource } from './source/pool.js';
import type { TrackerRuntime } from '../record/runtime.js';

/** A line of a recording. */
export type RecordedEntry =
  | { readonly kind: 'event'; readonly event: TraceEvent }
  | { readonly kind: 'gap'; readonly from: string; readonly to: string; readonly missing: number }
  /** The session was changed here. */
  | { readonly kind: 'change'; readonly change: AskedFrom };

type Gap = Extract<RecordedEntry, { kind: 'gap' }>;

/** What stands where the kernel stands for a live session. */
export interface RecordedSource {
  /** When the recorded session was started. */
  readonly startedAt: string | null;
  play(player: Player): Promise<SharedSource>;
}

export interface RecordedGap {
  readonly clock: ClockOffset;
  readonly lost: number;
  readonly lostFrom: number;
  readonly lostTo: number;
}

export interface ReplayEnd {
  /** What was wrong with the recording; null when it was whole. */
  readonly problem: string | null;
  /** Whether it could not be read to its end. */
  readonly broken: boolean;
}

/** The session that is played to. */
export interface Player {
  play(events: readonly TraceEvent[], gap: RecordedGap): void;
  /** What the session was asked for from here on. */
  change(change: AskedFrom): void;
  /** Between these times events are missing that nobody counted. */
  miss(from: string, to: string): void;
  /** Events that wait for the slowest reader. */
  queued(): number;
  end(how: ReplayEnd): void;
}

export interface ReplayOptions {
  readonly startedAt: string | null;
  readonly entries: AsyncIterable<RecordedEntry>;
  /** What was wrong with the recording's end, once it was read. */
  readonly problem: () => string | null;
  /** How many times as fast as it happened; infinity is as fast as readers take it. */
  readonly speed: number;
}

const BATCH_EVENTS = 1024;
/** Events that happened, at the replay's speed, within this time come at once. */
const TICK_MS = 10;
/** A reader that has so many waiting is waited for at full speed … */
const WAITING_EVENTS = 8192;
/** … but not for ever: then it loses its oldest, as it would live. */
const PATIENCE_MS = 2000;
const BILLION = 1_000_000_000n;
const NO_GAP = { lost: 0, lostFrom: 0, lostTo: 0 };

/** Plays a recording: events keep their recorded times, and come as far apart as they were, divided by `speed`. */
export function createReplay({ startedAt, entries, problem, speed }: ReplayOptions): RecordedSource {
  return {
    startedAt,
    async play(player) {
      const stopped = new AbortController();
      const counts = { produced: 0, lost: 0 };
      const counted: Player['play'] = (events, gap) => {
        counts.produced += events.length + gap.lost;
        counts.lost += gap.lost;
        player.play(events, gap);
      };
      // In a turn of its own: the session is RUNNING by then.
      const done = sleep(0)
        .then(() => playAll({ ...player, play: counted }, entries, speed, stopped.signal))
        .then(
          () => player.end({ problem: problem(), broken: false }),
          (error: unknown) => player.end({ problem: messageOf(error), broken: true }),
        );
      return {
        unloaded: [],
        setCapture: () => Promise.resolve(),
        setVerdicts: () => Promise.resolve(),
        setDelay: () => {},
        hurry: () => {},
        read: () => Promise.resolve(),
        counters: () => Promise.resolve({ ...counts, skippedRuns: null, ringPeakBytes: 0 }),
        facts: () => ({ sessions: 1, eventsPerSecond: null }),
        close: async () => {
          if (!stopped.signal.aborted) {
            stopped.abort();
            // Not awaited by the end that it calls itself.
            void done;
          }
          return { ...counts, skippedRuns: null, ringPeakBytes: 0 };
        },
      };
    },
  };
}

async function playAll(
  player: Player,
  entries: AsyncIterable<RecordedEntry>,
  speed: number,
  signal: AbortSignal,
): Promise<void> {
  let events: TraceEvent[] = [];
  let gap: Gap | null = null;
  let clock: ClockOffset | null = null;
  const begun = performance.now();
  let first: number | null = null;
  let due = 0;
  const flush = (): void => {
    const [event] = events;
    if (signal.aborted || (!event && !gap)) return;
    clock = event ? clockOf(event) : (clock ?? clockAt(gap?.from ?? ''));
    player.play(events, { clock, ...(gap ? lostOn(clock, gap) : NO_GAP) });
    events = [];
    gap = null;
  };
  try {
    for await (const entry of entries) {
      if (signal.aborted) return;
      if (entry.kind === 'change') {
        flush();
        player.change(entry.change);
        continue;
      }
      const ms = Date.parse(entry.kind === 'event' ? entry.event.time : entry.to);
      first ??= ms;
      // Events of several CPUs may be a little out of order: nobody waits backwards.
      const at = Math.max(due, (ms - first) / speed);
      if (at > due + TICK_MS || events.length >= BATCH_EVENTS || (entry.kind === 'gap' && (events.length || gap))) {
        flush();
        await pause(begun + at - performance.now(), player, speed, signal);
        due = at;
      }
      if (entry.kind === 'gap' && entry.missing === 0) player.miss(entry.from, entry.to);
      else if (entry.kind === 'gap') gap = entry;
      else events.push(entry.event);
    }
  } finally {
    // Also of a recording that cannot be read on: what came before is good.
    flush();
  }
}

/** Waits until the next events are due; at full speed, until readers have read. */
async function pause(ms: number, player: Player, speed: number, signal: AbortSignal): Promise<void> {
  if (Number.isFinite(speed)) {
    if (ms > 1) await sleep(ms, undefined, { signal }).catch(() => undefined);
    return;
  }
  for (let waited = 0; waited < PATIENCE_MS && player.queued() > WAITING_EVENTS && !signal.aborted; waited += 2)
    await sleep(2);
}

function nanosecondsOf(time: string): bigint {
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1_000_000n + BigInt(time.slice(20, 29));
}

/** What was dropped for the reader that recorded is as lost, to readers of the recording, as what the kernel lost. */
function lostOn(clock: ClockOffset, { missing, from, to }: Gap): Omit<RecordedGap, 'clock'> {
  const offset = BigInt(clock.seconds) * BILLION + BigInt(clock.nanoseconds);
  return { lost: missing, lostFrom: Number(nanosecondsOf(from) - offset), lostTo: Number(nanosecondsOf(to) - offset) };
}

/** A clock that was set near this time, where no event tells the offset. */
function clockAt(time: string): ClockOffset {
  return { seconds: Number(nanosecondsOf(time) / BILLION), nanoseconds: 0 };
}

/** How far the event's wall clock was ahead of its boot clock. */
function clockOf({ time, bootNs }: TraceEvent): ClockOffset {
  const offset = nanosecondsOf(time) - BigInt(bootNs);
  return { seconds: Number(offset / BILLION), nanoseconds: Number(offset % BILLION) };
}

/** A tracker without its object: it names its events, and loads nothing. */
export function recordedTracker(definition: TrackerDefinition): TrackerRuntime {
  const nothing = new Map<string, never>();
  return {
    definition,
    layout: { tracker: definition.name, size: 0, header: nothing, fields: nothing, second: null, captures: nothing },
    // The type of a constructor says what it makes, and this one makes nothing.
    view: function recorded() {
      throw new TypeError('a replayed session has no records');
    } as unknown as TrackerRuntime['view'],
    hooks: [],
    hooksOf: () => [],
    captureOf: () => 0n,
    allCaptures: 0n,
    usualCaptures: 0n,
    onDemand: [],
    objectSpec: () => {
      throw new TypeError('a replayed session loads no object');
    },
  };
}
