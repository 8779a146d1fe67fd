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
import { nextPause, QUIET_LOOKS, SHORTEST_PAUSE_MS } from './pause.js';
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
/** Also bounds how long the thread's end can wait for its waiter. */
const IDLE_MS = 250;
// glibc's malloc.h. libbpf reads the kernel's BTF (6 MB) at each load: memory that is kept is not faulted in anew.
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;

interface Entry {
  readonly source: Source;
  /** Lost while the records taken last were in the ring: they are missing before those taken next. */
  lost: number;
  readBefore: number;
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

/** Reads what a source's objects have aggregated. */
function readAggregates(id: number, entry: Entry): Promise<void> {
  return entry.source.readAggregates((chunk) => sendChunk(id, entry, chunk, 0, bootNow()));
}

async function drainForever(): Promise<void> {
  const events = new Uint8Array(16 * 64);
  let polled = false;
  const poll = (on: boolean): void => {
    polled = on;
    for (const { source } of sources.values()) source.setPolled(on);
  };
  let pause = SHORTEST_PAUSE_MS;
  let quiet = 0;
  while (!stopping) {
    let any = false;
    let busy = false;
    let next = Number.POSITIVE_INFINITY;
    if (untaken < UNTAKEN_BYTES) {
      for (const [id, entry] of sources) {
        const waiting = entry.source.ring.waiting;
        if (drain(id, entry)) {
          any = true;
          next = Math.min(next, nextPause(pause, waiting, entry.source.ring.bytes));
        }
        if (entry.source.ring.waiting > entry.source.ring.bytes * BUSY_SHARE) busy = true;
      }
    }
    pause = Number.isFinite(next) ? next : SHORTEST_PAUSE_MS;
    if (busy && untaken < UNTAKEN_BYTES) await new Promise((resolve) => setImmediate(resolve));
    else if (any || untaken >= UNTAKEN_BYTES) {
      quiet = 0;
      poll(true);
      await new Promise((resolve) => setTimeout(resolve, pause));
    } else if (polled && ++quiet < QUIET_LOOKS) {
      await new Promise((resolve) => setTimeout(resolve, SHORTEST_PAUSE_MS));
    } else if (polled) {
      // A program that has seen `polled` before may write its record after: one look more before sleeping.
      poll(false);
      await new Promise((resolve) => setTimeout(resolve, SHORTEST_PAUSE_MS));
    } else {
      const ready = await later(libc.epoll_wait, epoll, events, 64, IDLE_MS);
      libc.read(wake, new Uint8Array(8), 8);
      // A ring with an unfinished record counts as ready: do not spin on it.
      if (ready > 0 && ![...sources.values()].some((e) => e.source.ring.waiting > 0))
        await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
}

function epollEvent(): Uint8Array {
  const event = new Uint8Array(16); // 12 bytes on x86-64, where it is packed; the data is not used
  event[0] = EPOLLIN;
  return event;
}

async function load(id: number, spec: SourceSpec): Promise<readonly Unloaded[]> {
  const source = await Source.load(spec);
  const entry: Entry = {
    source,
    lost: 0,
    readBefore: bootNow(),
    timers: source.aggregates.map((maps) =>
      setInterval(() => {
        // The server has not taken what it was sent: aggregates can wait, and lose nothing by it. What fails stays for the next reading.
        if (untaken < UNTAKEN_BYTES)
          maps.read((chunk) => sendChunk(id, entry, chunk, 0, bootNow())).catch(() => undefined);
      }, maps.everyMs),
    ),
  };
  sources.set(id, entry);
  libc.epoll_ctl(epoll, EPOLL_CTL_ADD, source.ring.fd, epollEvent());
  libc.write(wake, new Uint8Array(BigUint64Array.of(1n).buffer), 8);
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
        const counters = entry.source.counters();
        while (drain(source, entry));
        return counters;
      },
      read: async ({ source }) => {
        const entry = sources.get(source);
        if (!entry) return; // its end has read it
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
        libc.write(wake, new Uint8Array(BigUint64Array.of(1n).buffer), 8);
      },
    },
    posts: {
      taken: ({ bytes, spare }) => {
        untaken -= bytes;
        for (const one of spare) memory.give(one);
      },
    },
  },
  { code: 'INTERNAL_SERVER_ERROR' },
);

await drainForever();
libc.close(epoll);
libc.close(wake);
port.close();
