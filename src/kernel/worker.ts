import { parentPort } from 'node:worker_threads';
import { serveChannel, Transferred } from '../base/channel.js';
import { EunomiaError } from '../base/errors.js';
import { bootNow, ClockWatch } from './clock.js';
import { programsEnded } from './grace.js';
import { lastFailure, later, loadLibc } from './libbpf.js';
import type { Unloaded } from './object-spec.js';
import { probeFeatures } from './probe.js';
import type { KernelProtocol, SourceCounters, SourceSpec } from './protocol.js';
import { SHORTEST_PAUSE_MS } from './pause.js';
import type { RingChunk } from './ring.js';
import { Iterators } from './snapshot.js';
import { Source } from './source.js';
import { SpareMemory } from './spare.js';
import { kernelStore, openKernelStore, useKernelStore } from './store.js';
import { rememberedTrial, tryObject } from './trial.js';
import { IDLE_MS, RingWatch } from './watch.js';

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
const READY = 64;
const ready = new Uint8Array(16 * READY);

interface Entry {
  readonly source: Source;
  /** Lost while the records taken last were in the ring: they are missing before those taken next. */
  lost: number;
  readBefore: number;
  /** When its ring is to be looked at. */
  readonly watch: RingWatch;
  /** Read what is aggregated in maps at their intervals. */
  readonly timers: readonly NodeJS.Timeout[];
}

const port = parentPort;
if (!port) throw new Error('kernel/worker.js runs as a worker thread only');

useKernelStore(openKernelStore());
const libc = loadLibc();
const clock = new ClockWatch();
const sources = new Map<number, Entry>();
const epoll = libc.epoll_create1(EPOLL_CLOEXEC);
const wake = libc.eventfd(0, EFD_NONBLOCK_CLOEXEC);
const memory = new SpareMemory();
const iterators = new Iterators(clock);
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
  for (const [id, entry] of sources) if (entry.watch.isUrgent && entry.source.ring.waiting > 0) drain(id, entry);
}

/** Reads what a source's objects have aggregated. */
function readAggregates(id: number, entry: Entry): Promise<void> {
  return entry.source.readAggregates((chunk) => sendChunk(id, entry, chunk, 0, bootNow()));
}

/** Reads all that is in a source's ring, for who has asked. */
function empty(id: number, entry: Entry): void {
  while (drain(id, entry));
  entry.watch.emptied();
}

/** Looks at a source's ring. True when there is so much more in it that it is to be read at once. */
function look(id: number, entry: Entry, now: number): boolean {
  const { ring } = entry.source;
  const { waiting } = ring;
  const taken = drain(id, entry);
  entry.watch.looked(now, waiting, taken);
  return taken && ring.waiting > ring.bytes * BUSY_SHARE;
}

async function drainForever(): Promise<void> {
  while (!stopping) {
    const now = performance.now();
    if (untaken >= UNTAKEN_BYTES) {
      for (const { watch } of sources.values()) watch.neglect(now);
      await new Promise((resolve) => setTimeout(resolve, SHORTEST_PAUSE_MS));
      continue;
    }
    let busy = false;
    let due = Number.POSITIVE_INFINITY;
    for (const [id, entry] of sources) {
      if (entry.watch.isCalled(now, entry.lost > 0)) busy = look(id, entry, now) || busy;
      due = Math.min(due, entry.watch.due);
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
  const over = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.max(0, ms))));
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
    watch: new RingWatch(source.ring, (bytes) => source.setWakeAt(bytes), spec.delayMs, performance.now()),
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
  await entry.source.settled; // what is being attached cannot be closed, and who asked for counts before has them first
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
        empty(source, entry);
        return counters;
      },
      read: async ({ source }) => {
        const entry = sources.get(source);
        if (!entry) return; // its end has read it
        drainUrgent();
        await readAggregates(source, entry);
        empty(source, entry);
      },
      close: ({ source }) => close(source),
      probe: () => probeFeatures(),
      try: ({ object, remembered }) => (remembered ? rememberedTrial(object) : tryObject(object)),
      snapshot: async (spec) => {
        const records = await iterators.read(spec);
        return new Transferred(records, [records.data.buffer as ArrayBuffer, records.offsets.buffer as ArrayBuffer]);
      },
      stop: async () => {
        await iterators.close();
        for (const id of [...sources.keys()]) await close(id);
        await kernelStore()?.written;
        stopping = true;
        call();
      },
    },
    posts: {
      delay: ({ source, ms }) => {
        sources.get(source)?.watch.setDelay(ms, performance.now());
        call();
      },
      hurry: ({ source }) => {
        sources.get(source)?.watch.hurry(performance.now());
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
