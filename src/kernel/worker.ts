import { parentPort } from 'node:worker_threads';
import { serveChannel } from '../base/channel.js';
import { EunomiaError } from '../base/errors.js';
import { bootNow, ClockWatch } from './clock.js';
import { programsEnded } from './grace.js';
import { lastFailure, later, loadLibc } from './libbpf.js';
import type { Unloaded } from './object.js';
import { loadOptional } from './optional.js';
import { probeFeatures } from './probe.js';
import type { KernelProtocol, SourceCounters, SourceSpec } from './protocol.js';
import { nextPause, QUIET_LOOKS, SHORTEST_PAUSE_MS, UNWATCHED_PAUSE_MS, watermark } from './pause.js';
import type { RingChunk } from './ring.js';
import { Source } from './source.js';
import { SpareMemory } from './spare.js';

/**
 * The kernel thread: loads, attaches and drains, so that the event loop that serves clients never
 * waits for the verifier or reads a ring. Started by KernelThread.
 */

/** Records of one chunk at most: some 2,000 events, which the server's thread takes in one piece. */
const CHUNK_BYTES = 256 << 10;
/** Chunks that the server has not taken yet, in total. Beyond it, rings are left to fill. */
const UNTAKEN_BYTES = 64 << 20;
/** A ring this full is read again at once. */
const BUSY_SHARE = 1 / 16;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;
const EPOLL_CLOEXEC = 0o2000000;
const EPOLLET = 1 << 31;
/** Bounds how long the thread's end can wait for its waiter, where nobody has told it to stop. */
const IDLE_MS = 1000;
/** Node counts a timer's time in whole milliseconds: it may fire so much before its time. */
const EARLY_MS = 1;
/** How long after it has let itself be woken the thread looks once more: longer than a timer's error, and than a program takes. */
const DROWSY_MS = 3;
const READY = 64;
const ready = new Uint8Array(16 * READY);
/** Each record wakes the thread. */
const SLEEPING = 0;
// glibc's malloc.h. libbpf reads the kernel's BTF (6 MB) at each load: memory that is kept is not faulted in anew.
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;

interface Entry {
  readonly source: Source;
  /** Lost while the records taken last were in the ring: they are missing before those taken next. */
  lost: number;
  readBefore: number;
  /** How long an event may wait for others. */
  delayMs: number;
  /** AWAKE: looked at when it is due; DROWSY: once more; ASLEEP: when one of its programs wakes the thread. */
  state: 'AWAKE' | 'DROWSY' | 'ASLEEP';
  /** On the clock of `performance.now()`. */
  lookedAt: number;
  due: number;
  /** Looks in a row that found nothing. */
  quiet: number;
  /** Read what is aggregated in maps at their intervals. */
  readonly timers: readonly NodeJS.Timeout[];
}

const port = parentPort;
if (!port) throw new Error('kernel/worker.js runs as a worker thread only');

const libc = loadLibc();
libc.mallopt(M_MMAP_THRESHOLD, 32 << 20);
libc.mallopt(M_TRIM_THRESHOLD, 64 << 20);
const clock = new ClockWatch();
const sources = new Map<number, Entry>();
const epoll = libc.epoll_create1(EPOLL_CLOEXEC);
const wake = libc.eventfd(0, EFD_NONBLOCK_CLOEXEC);
const memory = new SpareMemory();
let untaken = 0;
let stopping = false;

/** Reads one chunk of a source, or tells of a loss alone. False when there was nothing. */
function drain(id: number, entry: Entry): boolean {
  const lostBefore = entry.lost;
  entry.lost = entry.source.newlyLost();
  const taken = entry.source.ring.take(CHUNK_BYTES, memory);
  if (!taken && entry.lost === 0 && lostBefore === 0) return false;
  const readAt = bootNow();
  const told = taken ? lostBefore : lostBefore + entry.lost;
  if (!taken) entry.lost = 0;
  sendChunk(id, entry, taken ?? { data: new Uint8Array(0), offsets: new Uint32Array(0) }, told, readAt);
  entry.readBefore = readAt;
  return taken !== null;
}

function sendChunk(
  id: number,
  { readBefore }: Entry,
  { data, offsets }: RingChunk,
  lost: number,
  readAt: number,
): void {
  untaken += data.byteLength;
  note('chunk', { source: id, chunk: { data, offsets, lost, clock: clock.offset(), readAt, readBefore } }, [
    data.buffer as ArrayBuffer,
    offsets.buffer as ArrayBuffer,
  ]);
}

/** Before another ring is read out of turn: the cgroups of new containers are to be known before the events of their processes. */
function drainUrgent(): void {
  for (const [id, entry] of sources) if (entry.delayMs === 0 && entry.source.ring.waiting > 0) drain(id, entry);
}

/** Reads what a source's objects have aggregated. */
function readAggregates(id: number, entry: Entry): Promise<void> {
  return entry.source.readAggregates((chunk) => sendChunk(id, entry, chunk, 0, bootNow()));
}

/** Looks at a source's ring, and decides when it is to be looked at again. True when there is so much more that it is to be read at once. */
function look(id: number, entry: Entry, now: number): boolean {
  const { source } = entry;
  const { waiting, bytes } = source.ring;
  const drained = drain(id, entry);
  if (drained) {
    entry.quiet = 0;
    const elapsedMs = now - entry.lookedAt;
    wait(entry, now, nextPause({ elapsedMs, waiting, ringBytes: bytes, delayMs: entry.delayMs }));
  } else if (entry.state === 'AWAKE' && ++entry.quiet < (entry.delayMs < UNWATCHED_PAUSE_MS ? QUIET_LOOKS : 1)) {
    wait(entry, now, SHORTEST_PAUSE_MS);
  } else if (entry.state === 'AWAKE') {
    // A program that has read the word before may write its record after: one look more before sleeping.
    entry.state = 'DROWSY';
    source.setWakeAt(SLEEPING);
    entry.due = now + DROWSY_MS;
  } else if (source.ring.waiting > 0) {
    // A record that is still being written may have read the word before: nothing wakes the thread for it, nor for those behind it.
    entry.due = now + SHORTEST_PAUSE_MS;
  } else entry.state = 'ASLEEP';
  entry.lookedAt = now;
  return drained && source.ring.waiting > bytes * BUSY_SHARE;
}

function wait(entry: Entry, now: number, pauseMs: number): void {
  entry.state = 'AWAKE';
  entry.source.setWakeAt(pauseMs > UNWATCHED_PAUSE_MS ? watermark(entry.source.ring.bytes) : Number.POSITIVE_INFINITY);
  // Rings that may wait as long are looked at together.
  entry.due = pauseMs === entry.delayMs ? (Math.floor((now + EARLY_MS) / pauseMs) + 1) * pauseMs : now + pauseMs;
}

/**
 * Whether a ring is to be looked at before its time: an event has ended its silence, or it fills. What is wanted at once is looked at
 * whenever another one is: a container's cgroup is to be known before the events of its processes.
 */
function isCalled({ state, source, lost, delayMs, lookedAt }: Entry, now: number): boolean {
  const { waiting, bytes } = source.ring;
  if (state === 'AWAKE' && delayMs > 0) return waiting >= watermark(bytes);
  return waiting > 0 || lost > 0 || (state === 'ASLEEP' && now - lookedAt >= IDLE_MS);
}

async function drainForever(): Promise<void> {
  while (!stopping) {
    if (untaken >= UNTAKEN_BYTES) {
      // Rings are left to fill: there is nothing to wake for.
      for (const { source } of sources.values()) source.setWakeAt(Number.POSITIVE_INFINITY);
      await new Promise((resolve) => setTimeout(resolve, SHORTEST_PAUSE_MS));
      continue;
    }
    const now = performance.now();
    let busy = false;
    let due = Number.POSITIVE_INFINITY;
    for (const [id, entry] of sources) {
      if ((entry.state !== 'ASLEEP' && now >= entry.due - EARLY_MS) || isCalled(entry, now))
        busy = look(id, entry, now) || busy;
      if (entry.state !== 'ASLEEP') due = Math.min(due, entry.due);
    }
    if (busy) await new Promise((resolve) => setImmediate(resolve));
    else await wokenOr(due - performance.now());
  }
}

let waiter: Promise<void> | null = null;

/** Resolves when a program or a message wakes the thread, or the time is over. One call waits in libuv's pool all the while. */
async function wokenOr(ms: number): Promise<void> {
  waiter ??= later(libc.epoll_wait, epoll, ready, READY, IDLE_MS).then(() => {
    waiter = null;
    libc.read(wake, new Uint8Array(8), 8);
  });
  if (!Number.isFinite(ms)) return waiter;
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([waiter, over]);
  clearTimeout(timer);
}

/** Lets the loop look again. */
function call(): void {
  libc.write(wake, new Uint8Array(BigUint64Array.of(1n).buffer), 8);
}

/** A ring is told of once each time that a program wakes: not as long as it has records, finished or not. */
function epollEvent(flags = EPOLLIN): Uint8Array {
  const event = new Uint8Array(16); // 12 bytes on x86-64, where it is packed; the data is not used
  new Uint32Array(event.buffer)[0] = flags;
  return event;
}

async function load(id: number, spec: SourceSpec): Promise<readonly Unloaded[]> {
  const source = await Source.load(spec);
  const entry: Entry = {
    source,
    lost: 0,
    readBefore: bootNow(),
    delayMs: spec.delayMs,
    state: 'DROWSY',
    lookedAt: performance.now(),
    due: 0,
    quiet: 0,
    timers: source.aggregates.map((maps) =>
      setInterval(() => {
        // The server has not taken what it was sent: aggregates can wait, and lose nothing by it. What fails stays for the next reading.
        if (untaken < UNTAKEN_BYTES)
          maps.read((chunk) => sendChunk(id, entry, chunk, 0, bootNow())).catch(() => undefined);
      }, maps.everyMs),
    ),
  };
  sources.set(id, entry);
  libc.epoll_ctl(epoll, EPOLL_CTL_ADD, source.ring.fd, epollEvent(EPOLLIN | EPOLLET));
  call();
  return source.unloaded;
}

/** Detaches, reads what is left, and gives the final, exact counts. */
async function close(id: number): Promise<SourceCounters> {
  const entry = sources.get(id);
  if (!entry) return { produced: [], lost: [], skippedRuns: 0, ringPeakBytes: 0 };
  for (const timer of entry.timers) clearInterval(timer);
  await entry.source.detach();
  await programsEnded();
  sources.delete(id);
  libc.epoll_ctl(epoll, EPOLL_CTL_DEL, entry.source.ring.fd, epollEvent());
  while (drain(id, entry));
  await readAggregates(id, entry);
  const counters = entry.source.counters();
  await entry.source.close();
  return counters;
}

function entryOf(id: number): Entry {
  const entry = sources.get(id);
  if (!entry) throw new EunomiaError('INTERNAL_SERVER_ERROR', `the source ${id} is closed`);
  return entry;
}

if (epoll < 0 || wake < 0) throw lastFailure("making the kernel thread's epoll");
libc.epoll_ctl(epoll, EPOLL_CTL_ADD, wake, epollEvent());

const note = serveChannel<KernelProtocol>(
  port,
  {
    asks: {
      load: ({ source, spec }) => load(source, spec),
      capture: ({ source, object, mask }) => sources.get(source)?.source.setCapture(object, mask),
      setVerdicts: ({ source, cgroups }) => sources.get(source)?.source.setVerdicts(cgroups),
      counters: async ({ source }) => {
        const entry = entryOf(source);
        await entry.source.settled; // who asks may rely on what was set before
        drainUrgent();
        const counters = entry.source.counters();
        while (drain(source, entry));
        return counters;
      },
      read: async ({ source }) => {
        const entry = sources.get(source);
        if (!entry) return; // its end has read it
        drainUrgent();
        await readAggregates(source, entry);
        while (drain(source, entry));
      },
      close: ({ source }) => close(source),
      probe: () => probeFeatures(),
      try: async (spec) => {
        const object = await loadOptional(spec);
        try {
          object.checkPlaces();
          return object.unloaded;
        } finally {
          await object.close();
        }
      },
      stop: async () => {
        for (const id of [...sources.keys()]) await close(id);
        stopping = true;
        call();
      },
    },
    posts: {
      delay: ({ source, ms }) => {
        const entry = sources.get(source);
        if (!entry) return;
        entry.delayMs = ms;
        // One that waits longer than that is looked at now.
        if (entry.state === 'AWAKE') entry.due = Math.min(entry.due, performance.now() + ms);
        call();
      },
      taken: ({ bytes, spare }) => {
        untaken -= bytes;
        for (const one of spare) memory.give(one);
      },
    },
  },
  { code: 'INTERNAL_SERVER_ERROR' },
);

await drainForever();
await waiter;
libc.close(epoll);
libc.close(wake);
port.close();
