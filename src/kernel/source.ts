import { readdirSync, readFileSync } from 'node:fs';
import { bytesOfText } from '../base/bytes.js';
import { bootNow } from './clock.js';
import { possibleCpus } from './cpus.js';
import { Dispatch } from './dispatch.js';
import { programsEnded } from './grace.js';
import { failure, loadLibbpf, u32 } from './libbpf.js';
import type { KernelObject } from './kernel-object.js';
import type { ObjectSpec, Unloaded } from './object-spec.js';
import { loadOptional } from './optional.js';
import { objectPath } from '../base/paths.js';
import type { CgroupVerdict, SourceCounters, SourceFilter, SourceObject, SourceSets, SourceSpec } from './protocol.js';
import { Ring, type RingChunk } from './ring.js';
import { AggregateMaps, aggregatesInMaps } from './aggregate.js';

const RING = 'eu_ring';
const CONTROL = '.data.eu_control';
const FOLLOW_FORK = 'follow_fork';
const FOLLOW_EXIT = 'follow_exit';
const NUMBERS = 'eu_numbers';
const PREFIXES = 'eu_prefixes';
const SHARED_MAPS = [RING, 'eu_cgroups', 'eu_pids', 'eu_uids', 'eu_comms', NUMBERS, PREFIXES] as const;
// struct eu_control of eunomia.bpf.h: 8 words, then counters of 64 bytes a CPU.
const CAPTURE = 0;
const WAKE_AT = 1;
const AGGREGATE_SIDE = 2;
const HOOKED_NS = 3;
const FIRST_COUNTER = 8;
const COUNTER_WORDS = 8;
const PRODUCED = 0;
const LOST = 1;
const COMM_BYTES = 16;
const DEFAULT_AGGREGATES_MS = 1000;
const NEVER = 2n ** 64n - 1n;
// struct eu_number and struct eu_prefix of where.bpf.h.
const NUMBER_BYTES = 16;
const PREFIX_BYTES = 72;
const PREFIX_AT = 8;
const SET_BITS = 32;
// enum eu_verdict of eunomia.bpf.h.
const VERDICTS: Readonly<Record<CgroupVerdict, number>> = { SKIP: 0, KEEP: 1, SKIP_HOST: 2 };
const NO_SETS: SourceSets = { numbers: [], prefixes: [] };

const sessionSpec: ObjectSpec = { name: 'session', path: objectPath('session'), constants: {}, unneeded: [] };

/** The programs of one session in the kernel: its ring, its filter maps, its trackers' objects. Lives in the kernel thread. */
export class Source {
  readonly ring: Ring;
  readonly #session: KernelObject;
  readonly #objects: readonly KernelObject[];
  readonly #dispatch: Dispatch;
  readonly #controls: readonly BigUint64Array[];
  readonly #demanded: readonly (readonly (readonly [program: string, bits: bigint])[])[];
  /** What the objects aggregate in maps, by object; null for one that does not. */
  readonly #aggregates: readonly (AggregateMaps | null)[];
  /** Attaching and detaching on demand, one after the other. */
  #hooking: Promise<void> = Promise.resolve();
  #detached = false;
  /** Makes each `setWakeAt` another one to the programs. */
  #wakeTurn = 0n;
  /** Of all objects, at the last `newlyLost`. */
  #lost = 0;

  private constructor(
    session: KernelObject,
    objects: readonly KernelObject[],
    dispatch: Dispatch,
    ring: Ring,
    specs: readonly SourceObject[],
  ) {
    this.#session = session;
    this.#objects = objects;
    this.#dispatch = dispatch;
    this.#controls = objects.map((object) => new BigUint64Array(object.globals(CONTROL)));
    this.#demanded = specs.map(({ demanded, unneeded }) =>
      Object.entries(demanded ?? {}).filter(([program]) => !unneeded.includes(program)),
    );
    this.#aggregates = objects.map((object, i) => {
      const spec = specs[i];
      if (!spec || !aggregatesInMaps(object)) return null;
      return new AggregateMaps(object, spec.path, spec.aggregatesEveryMs ?? DEFAULT_AGGREGATES_MS, async (side) => {
        const control = this.#controls[i];
        if (control) Atomics.store(control, AGGREGATE_SIDE, BigInt(side));
        await programsEnded();
      });
    });
    this.ring = ring;
  }

  /** Loads and attaches. Rejects with a KernelError; nothing stays in the kernel after a rejection. */
  static async load(spec: SourceSpec): Promise<Source> {
    const { filter, sets = NO_SETS } = spec;
    const opened: KernelObject[] = [];
    let ring: Ring | null = null;
    const dispatch = Dispatch.make(spec.objects);
    let dispatching: Promise<void> | null = null;
    try {
      const session = await loadOptional(sessionSpec, (object) => {
        object.setMaxEntries(RING, spec.ringBytes);
        shrinkUnused(object, filter, sets);
      });
      opened.push(session);
      fillFilter(session, filter);
      fillSets(session, sets);

      // Side by side, and the ring is mapped meanwhile. All are waited for: what still loads cannot be closed.
      const loading = spec.objects.map((object, index) =>
        loadTracker(session, filter, object, index, dispatch.partsOf(index), opened),
      );
      dispatching = dispatch.load();
      try {
        ring = new Ring(session.mapFd(RING), spec.ringBytes);
      } finally {
        await Promise.allSettled(loading);
      }
      await dispatching;
      const objects = await Promise.all(loading);
      dispatch.check(objects);
      for (const [index, object] of objects.entries())
        object.placeBy((program, fd) => dispatch.place(index, program, fd));
      const source = new Source(session, objects, dispatch, ring, spec.objects);
      for (const [index, { capture }] of spec.objects.entries()) source.#store(index, CAPTURE, capture);
      // Forks are followed before the trackers see anything, exits after, so that a tracker of exits still finds the process.
      await objects[0]?.attach((program) => program === FOLLOW_FORK);
      if (filter.pids && filter.descendants) seedDescendants(session, filter.pids);
      await dispatch.attach();
      for (const one of dispatch.first) await objects[one.object]?.attach((program) => program === one.program);
      for (const [index, object] of objects.entries()) {
        const later = new Set([
          FOLLOW_FORK,
          FOLLOW_EXIT,
          ...(source.#demanded[index] ?? []).map(([program]) => program),
        ]);
        await source.#hook(index);
        await object.attach((program) => !later.has(program));
      }
      await objects[0]?.attach((program) => program === FOLLOW_EXIT);
      return source;
    } catch (error) {
      ring?.close();
      for (const object of opened.reverse()) await object.close();
      await dispatching;
      await dispatch.close();
      throw error;
    }
  }

  /**
   * The mask is in force for the next event: it is memory that the program reads. Resolves when the programs that serve a demand
   * alone are attached, or detached, accordingly. Rejects with a KernelError.
   */
  setCapture(object: number, mask: bigint): Promise<void> {
    this.#store(object, CAPTURE, mask);
    const hooking = this.#hooking.then(() => this.#hook(object));
    this.#hooking = hooking.catch(() => undefined);
    return hooking;
  }

  /** Resolves when all capture masks that were set are in force, with the programs that they need. */
  get settled(): Promise<void> {
    return this.#hooking;
  }

  /** The optional programs that its objects are without, by object. */
  get unloaded(): readonly Unloaded[] {
    return this.#objects.map((object) => object.unloaded);
  }

  /** Those of the objects that aggregate in maps. */
  get aggregates(): readonly AggregateMaps[] {
    return this.#aggregates.filter((maps) => maps !== null);
  }

  /** Reads what all objects have aggregated so far. Rejects with a KernelError. */
  async readAggregates(emit: (chunk: RingChunk) => void): Promise<void> {
    for (const maps of this.aggregates) await maps.read(emit);
  }

  /**
   * Its programs wake the thread where so many bytes wait, each object's once until the next call: 0 is each record that comes into an
   * empty ring, infinity never. To wake it costs them more than all the rest.
   */
  setWakeAt(bytes: number): void {
    const word = bytes === 0 ? 0n : Number.isFinite(bytes) ? (++this.#wakeTurn << 32n) | BigInt(bytes) : NEVER;
    for (const control of this.#controls) Atomics.store(control, WAKE_AT, word);
  }

  /** Writes what becomes of cgroups; null forgets it. */
  setVerdicts(cgroups: readonly (readonly [number, CgroupVerdict | null])[]): void {
    const fd = this.#session.mapFd('eu_cgroups');
    for (const [id, verdict] of cgroups) {
      if (verdict === null) loadLibbpf().map_delete(fd, u64(id));
      else update(fd, 'eu_cgroups', u64(id), VERDICTS[verdict]);
    }
  }

  counters(): SourceCounters {
    return {
      produced: this.#controls.map((c, i) => total(c, PRODUCED) + (this.#aggregates[i]?.made ?? 0)),
      lost: this.#controls.map((c) => total(c, LOST)),
      skippedRuns: this.#objects.reduce((sum, object) => sum + object.skippedRuns, this.#dispatch.skippedRuns),
      ringPeakBytes: this.ring.peak,
    };
  }

  /** Events lost since this was last asked. */
  newlyLost(): number {
    let lost = 0;
    for (const control of this.#controls) lost += total(control, LOST);
    const newly = lost - this.#lost;
    this.#lost = lost;
    return newly;
  }

  /** Detaches everything. Programs under way elsewhere have ended only after an RCU grace period. */
  async detach(): Promise<void> {
    this.#detached = true;
    await this.#hooking;
    for (const one of [...this.#dispatch.first].reverse())
      await this.#objects[one.object]?.detach((program) => program === one.program);
    await this.#dispatch.detach();
    for (const object of this.#objects) await object.detach();
  }

  async close(): Promise<void> {
    await this.detach();
    this.ring.close();
    await this.#dispatch.close();
    for (const object of this.#objects) await object.close();
    await this.#session.close();
  }

  async #hook(index: number): Promise<void> {
    const object = this.#objects[index];
    const control = this.#controls[index];
    if (!object || !control || this.#detached) return;
    const mask = Atomics.load(control, CAPTURE);
    for (const [name, bits] of this.#demanded[index] ?? []) {
      const wanted = (mask & bits) !== 0n;
      if (wanted === object.isAttached(name)) continue;
      // What it left behind when it was attached before is told by being older.
      if (wanted) this.#store(index, HOOKED_NS, BigInt(bootNow()));
      await (wanted ? object.attach((program) => program === name) : object.detach((program) => program === name));
    }
  }

  #store(object: number, word: number, value: bigint): void {
    const control = this.#controls[object];
    if (control) Atomics.store(control, word, value);
  }
}

/** One of a session's objects follows its processes (follow.bpf.h), as far as the filter is by process at all. */
function unneededToFollow({ pids, descendants }: SourceFilter, index: number): string[] {
  if (index > 0 || !pids) return [FOLLOW_FORK, FOLLOW_EXIT];
  return descendants ? [] : [FOLLOW_FORK];
}

async function loadTracker(
  session: KernelObject,
  filter: SourceFilter,
  object: SourceObject,
  index: number,
  chained: ReturnType<Dispatch['partsOf']>,
  opened: KernelObject[],
): Promise<KernelObject> {
  const spec: ObjectSpec = {
    ...object,
    constants: {
      ...object.constants,
      eu_tracker: index,
      eu_by_cgroup: filter.cgroups !== null,
      eu_by_pid: filter.pids !== null,
      eu_by_uid: filter.uids !== null,
      eu_by_comm: filter.comms !== null,
      ...Object.assign({}, ...chained.map(({ constants }) => constants)),
    },
    unneeded: [...object.unneeded, ...unneededToFollow(filter, index)],
  };
  const loaded = await loadOptional(spec, (tracker) => {
    for (const name of SHARED_MAPS) if (tracker.mapNames.includes(name)) tracker.reuseMap(name, session.mapFd(name));
    for (const { map, fd } of chained) tracker.reuseMap(map, fd);
  });
  opened.push(loaded);
  return loaded;
}

const counterWords = FIRST_COUNTER + COUNTER_WORDS * Math.min(possibleCpus(), 512);

function total(control: BigUint64Array, word: number): number {
  let sum = 0;
  for (let at = FIRST_COUNTER + word; at < counterWords; at += COUNTER_WORDS) sum += Number(Atomics.load(control, at));
  return sum;
}

function shrinkUnused(session: KernelObject, filter: SourceFilter, { numbers, prefixes }: SourceSets): void {
  session.setMaxEntries(NUMBERS, Math.max(1, numbers.length));
  session.setMaxEntries(PREFIXES, Math.max(1, prefixes.length));
  if (!filter.cgroups) session.setMaxEntries('eu_cgroups', 1);
  if (!filter.pids) session.setMaxEntries('eu_pids', 1);
  if (!filter.uids) session.setMaxEntries('eu_uids', 1);
  if (!filter.comms) session.setMaxEntries('eu_comms', 1);
}

function fillFilter(session: KernelObject, filter: SourceFilter): void {
  for (const [id, verdict] of filter.cgroups ?? [])
    update(session.mapFd('eu_cgroups'), 'eu_cgroups', u64(id), VERDICTS[verdict]);
  for (const pid of filter.pids ?? [])
    update(session.mapFd('eu_pids'), 'eu_pids', u32(pid), filter.descendants ? 1 : 0);
  for (const uid of filter.uids ?? []) update(session.mapFd('eu_uids'), 'eu_uids', u32(uid), 1);
  for (const comm of filter.comms ?? []) {
    const key = new Uint8Array(COMM_BYTES);
    key.set((bytesOfText(comm) ?? Buffer.from(comm)).subarray(0, COMM_BYTES - 1));
    update(session.mapFd('eu_comms'), 'eu_comms', key, 1);
  }
}

function fillSets(session: KernelObject, { numbers, prefixes }: SourceSets): void {
  for (const [set, value] of numbers) {
    const key = new DataView(new ArrayBuffer(NUMBER_BYTES));
    key.setUint32(0, set, true);
    key.setBigInt64(8, value, true);
    update(session.mapFd(NUMBERS), NUMBERS, new Uint8Array(key.buffer), 1);
  }
  for (const { set, bits, bytes } of prefixes) {
    const key = new DataView(new ArrayBuffer(PREFIX_BYTES));
    key.setUint32(0, SET_BITS + bits, true);
    key.setUint32(4, set, true);
    new Uint8Array(key.buffer).set(bytes, PREFIX_AT);
    update(session.mapFd(PREFIXES), PREFIXES, new Uint8Array(key.buffer), 1);
  }
}

/** Adds the descendants that are there already. New ones are followed by now, so a few rounds find all. */
function seedDescendants(session: KernelObject, pids: readonly number[]): void {
  const known = new Set(pids);
  const fd = session.mapFd('eu_pids');
  for (let found = true; found;) {
    found = false;
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || known.has(pid) || !known.has(parentOf(pid))) continue;
      known.add(pid);
      update(fd, 'eu_pids', u32(pid), 1);
      found = true;
    }
  }
}

function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8'); // "pid (comm) state ppid …", comm may hold anything
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return -1; // gone meanwhile
  }
}

function update(fd: number, map: string, key: Uint8Array, value: number): void {
  const result = loadLibbpf().map_update(fd, key, Uint8Array.of(value), 0);
  if (result < 0) throw failure(`writing to the session's map ${map}`, result);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
