import type { Unloaded } from '../../kernel/object-spec.js';
import type { CgroupVerdict, Chunk, SourceCounters, SourceSpec } from '../../kernel/protocol.js';
import type { KernelSource, KernelThread } from '../../kernel/thread.js';
import { bootNow } from '../../kernel/clock.js';
import { intake } from '../../base/turn.js';
import { Lease } from '../../record/lease.js';
import { Rate, type LoadedSource } from './sharing.js';

/** What sessions need of a kernel. */
export type SessionKernel = Pick<KernelThread, 'load' | 'onDeath'> & {
  /** CLOCK_BOOTTIME in ns, as its records have it. Default: this machine's. */
  bootNow?(): number;
};

/** One session's part in a loaded source. */
export interface SharedSource {
  /** The optional programs that its objects are without, by object. */
  readonly unloaded: readonly Unloaded[];
  /** What this session wants captured; the kernel captures what any sharer wants. */
  setCapture(object: number, mask: bigint): Promise<void>;
  setVerdicts(cgroups: readonly (readonly [id: number, verdict: CgroupVerdict | null])[]): Promise<void>;
  /** How long an event may wait for others, for this session; the kernel thread waits no longer than the least patient sharer. */
  setDelay(ms: number): void;
  /** What waits in the ring, or else the next event, is handed over at once: somebody has begun to read. */
  hurry(): void;
  /** Since this session joined. Exact: what was in the ring is delivered before it resolves. */
  counters(): Promise<SessionCounters>;
  /** All that happened before it was asked is delivered before it resolves, including what is aggregated in kernel maps. */
  read(): Promise<void>;
  /** Of all sessions that share it. */
  facts(): SourceFacts;
  /** The last one to leave detaches. Returns the final counts; all was delivered by then. */
  close(): Promise<SessionCounters>;
}

export interface SourceFacts extends LoadedSource {
  /** Sessions that share it, this one included. */
  readonly sessions: number;
}

/** `produced = lost + received`, for the time from joining to now. */
export interface SessionCounters {
  readonly produced: number;
  readonly lost: number;
  /** Runs that the kernel skipped (BpfObject.skippedRuns); null where that is not known. */
  readonly skippedRuns: number | null;
  readonly ringPeakBytes: number;
}

/** Who reads the chunk after the call, or after what it returns has resolved, holds its lease. */
export type ChunkTaker = (chunk: Chunk, lease: Lease) => Promise<void> | null | void;

interface Sharer {
  readonly onChunk: ChunkTaker;
  readonly masks: bigint[];
  delayMs: number;
  /** Events that were handed to it, and that it was told as lost. */
  received: number;
  lost: number;
}

interface Entry {
  readonly loaded: Promise<KernelSource>;
  readonly sharers: Set<Sharer>;
  readonly objects: number;
  /** Sessions that joined, or are about to, and have not begun to leave. */
  members: number;
  /** In force in the kernel. */
  readonly masks: bigint[];
  delayMs: number;
  /** Events that came out of the ring, and that the kernel told as lost, since it was loaded. */
  received: number;
  lost: number;
  readonly rate: Rate;
}

/**
 * Sessions whose kernel configuration is equal (trackers, options, target, ring) share one loaded source: a hundred of
 * them cost the kernel one. Their capture masks are ORed; each has its own counts, from the moment it joined.
 */
export class SourcePool {
  readonly #kernel: SessionKernel;
  readonly #entries = new Map<string, Entry>();

  constructor(kernel: SessionKernel) {
    this.#kernel = kernel;
  }

  /** In ns since boot. */
  get now(): number {
    return this.#kernel.bootNow?.() ?? bootNow();
  }

  /** What runs under the key; null when nothing does. */
  find(key: string): LoadedSource | null {
    const entry = this.#entries.get(key);
    return entry ? { eventsPerSecond: entry.rate.perSecond } : null;
  }

  /** `key` is equal for equal configurations; `masks` holds the capture mask of each object. Rejects with a KernelError. */
  async join(key: string, spec: SourceSpec, masks: readonly bigint[], onChunk: ChunkTaker): Promise<SharedSource> {
    const known = this.#entries.get(key);
    const entry = known ?? this.#load(key, spec);
    entry.members++;
    const sharer: Sharer = { onChunk, masks: [...masks], delayMs: spec.delayMs, received: 0, lost: 0 };
    const source = await entry.loaded;
    const leave = (): Promise<SourceCounters> | null => {
      entry.sharers.delete(sharer);
      if (--entry.members > 0) return null;
      this.#entries.delete(key); // who comes now loads anew
      return source.close();
    };
    // What was aggregated in maps up to now is not this session's.
    if (known && spec.objects.some(({ aggregatesEveryMs }) => aggregatesEveryMs !== undefined))
      await orLeave(source.read(), leave);
    const skippedBefore = known ? (await orLeave(source.counters(), leave)).skippedRuns : 0;
    // Whatever left the ring before this moment is not this session's; whatever is still in it, is.
    const before = { events: entry.received + entry.lost, lost: entry.lost };
    entry.sharers.add(sharer);
    await orLeave(this.#applyMasks(entry, source), leave);
    applyDelay(entry, source);
    const since = ({ produced, lost, skippedRuns, ringPeakBytes }: SourceCounters): SessionCounters => ({
      produced: sum(produced) - before.events,
      lost: sum(lost) - before.lost,
      skippedRuns: skippedRuns - skippedBefore,
      ringPeakBytes,
    });
    return {
      unloaded: source.unloaded,
      setCapture: async (object, mask) => {
        sharer.masks[object] = mask;
        await this.#applyMasks(entry, source);
      },
      setVerdicts: (cgroups) => source.setVerdicts(cgroups),
      setDelay: (ms) => {
        sharer.delayMs = ms;
        applyDelay(entry, source);
      },
      hurry: () => source.hurry(),
      counters: async () => since(await source.counters()),
      read: () => source.read(),
      facts: () => ({ sessions: entry.members, eventsPerSecond: entry.rate.perSecond }),
      close: async () => {
        if (--entry.members === 0) {
          this.#entries.delete(key); // who comes now loads anew
          return since(await source.close());
        }
        let skippedRuns: number;
        try {
          // Both are asked at once: whoever leaves meanwhile may be the last one, and close it behind them.
          const [counters] = await Promise.all([source.counters(), source.read()]);
          ({ skippedRuns } = counters);
        } finally {
          entry.sharers.delete(sharer);
        }
        // Its own: a chunk that came behind what it waited for may be with others already, and not with it.
        const counters = {
          produced: sharer.received + sharer.lost,
          lost: sharer.lost,
          skippedRuns: skippedRuns - skippedBefore,
          ringPeakBytes: 0,
        };
        await this.#applyMasks(entry, source);
        applyDelay(entry, source);
        return counters;
      },
    };
  }

  #load(key: string, spec: SourceSpec): Entry {
    const sharers = new Set<Sharer>();
    const entry: Entry = {
      loaded: this.#kernel.load(spec, (chunk, giveBack) => {
        entry.received += chunk.offsets.length;
        entry.lost += chunk.lost;
        entry.rate.add(chunk.offsets.length + chunk.lost);
        const lease = new Lease(giveBack);
        lease.hold();
        return spread(chunk, lease, sharers);
      }),
      sharers,
      objects: spec.objects.length,
      members: 0,
      masks: spec.objects.map(({ capture }) => capture),
      delayMs: spec.delayMs,
      received: 0,
      lost: 0,
      rate: new Rate(),
    };
    this.#entries.set(key, entry);
    entry.loaded.catch(() => this.#entries.delete(key));
    return entry;
  }

  async #applyMasks(entry: Entry, source: KernelSource): Promise<void> {
    for (let object = 0; object < entry.objects; object++) {
      let mask = 0n;
      for (const sharer of entry.sharers) mask |= sharer.masks[object] ?? 0n;
      if (mask === entry.masks[object]) continue;
      entry.masks[object] = mask;
      await source.setCapture(object, mask);
    }
  }
}

function applyDelay(entry: Entry, source: KernelSource): void {
  const ms = Math.min(...[...entry.sharers].map(({ delayMs }) => delayMs));
  if (ms === entry.delayMs || !Number.isFinite(ms)) return;
  entry.delayMs = ms;
  source.setDelay(ms);
}

/** Hands a chunk to each session that shares it. A promise where that takes more than this turn: each may have a filter of its own. */
function spread(chunk: Chunk, lease: Lease, sharers: ReadonlySet<Sharer>): Promise<void> | null {
  const left = [...sharers];
  while (left.length && intake.isOpen) {
    const sharer = left.shift();
    const work = sharer && hand(sharer, chunk, lease);
    if (work) return spreadOn(work, chunk, lease, left, sharers);
  }
  if (left.length) return spreadOn(intake.next(), chunk, lease, left, sharers);
  lease.release();
  return null;
}

async function spreadOn(
  first: Promise<void>,
  chunk: Chunk,
  lease: Lease,
  left: readonly Sharer[],
  sharers: ReadonlySet<Sharer>,
): Promise<void> {
  await first;
  for (const sharer of left) {
    if (!intake.isOpen) await intake.next();
    // It may have left meanwhile: its counts are final then.
    if (sharers.has(sharer)) await hand(sharer, chunk, lease);
  }
  lease.release();
}

function hand(sharer: Sharer, chunk: Chunk, lease: Lease): ReturnType<ChunkTaker> {
  sharer.received += chunk.offsets.length;
  sharer.lost += chunk.lost;
  return sharer.onChunk(chunk, lease);
}

/** Rejects as `work` does, when what was joined has been left again. */
async function orLeave<Result>(work: Promise<Result>, leave: () => Promise<unknown> | null): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    await leave()?.catch(() => undefined);
    throw error;
  }
}

function sum(list: readonly number[]): number {
  return list.reduce((total, n) => total + n, 0);
}
