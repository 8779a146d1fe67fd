import { OldestFirst } from '../base/line.js';
import { KnownProcess, type Exit, type Generation, type Image, type Told, type Traits } from './process.js';

/** What is counted of the table. */
export interface TableStats {
  readonly processes: number;
  /** Of these, those that have ended. */
  readonly ended: number;
  readonly bytes: number;
  /** Forgotten to make room, since the start. */
  readonly evicted: number;
  /** Not taken, for there was no room and all others were alive, since the start. */
  readonly refused: number;
}

const TICK_NS = 10_000_000;
/** What each part weighs in memory, about: measured by filling a table. */
const PROCESS_BYTES = 580;
const GENERATION_BYTES = 240;
const IMAGE_BYTES = 280;
const TEXT_BYTES = 40;
/** Generations of a process that are kept. */
const GENERATIONS = 8;

/**
 * The processes of the machine with their parents, as the kernel tells of them: a process that has ended stays, for it may be the ancestor
 * of others. The memory is bounded: beyond it, those that have ended go, first those of whom no other descends. Nothing here waits, or asks
 * anybody.
 */
export class ProcessTable {
  readonly #limit: number;
  readonly #byPid = new Map<number, KnownProcess>();
  /** Ended, and without children that are known, in the order in which they became so. */
  readonly #leaves = new OldestFirst<KnownProcess>();
  /** Ended, with such children. */
  readonly #forebears = new OldestFirst<KnownProcess>();
  /** How many generations have an image. */
  readonly #uses = new Map<Image, number>();
  #bytes = 0;
  #processes = 0;
  #version = 0;
  #evicted = 0;
  #refused = 0;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  /** Differs when what was told of a process before, or of its ancestors, may hold no longer. */
  get version(): number {
    return this.#version;
  }

  get stats(): TableStats {
    return {
      processes: this.#processes,
      ended: this.#leaves.size + this.#forebears.size,
      bytes: this.#bytes,
      evicted: this.#evicted,
      refused: this.#refused,
    };
  }

  /** The process of this identity; null when it is not known. `toleranceNs`: of the start time; the nearest one then. */
  find(pid: number, startNs: number, toleranceNs = 0): KnownProcess | null {
    let found: KnownProcess | null = null;
    let least = toleranceNs;
    for (let known = this.#byPid.get(pid) ?? null; known; known = known.previous) {
      const apart = Math.abs(known.startNs - startNs);
      if (apart > least) continue;
      [found, least] = [known, apart];
    }
    return found;
  }

  /** The one that has the pid now; null when none is known. */
  living(pid: number): KnownProcess | null {
    const newest = this.#byPid.get(pid) ?? null;
    return newest?.exit ? null : newest;
  }

  forked(told: Told): void {
    const known = this.find(told.pid, told.startNs);
    if (known) return this.#adopt(known, told); // found by an iterator before
    this.#add(told, null);
  }

  executed(told: Told, image: Image): void {
    const known = this.find(told.pid, told.startNs) ?? this.#add(told, image);
    if (!known) return;
    const last = known.generations.at(-1);
    if (last && last.sinceNs >= told.atNs) return; // added just now
    this.#version++;
    this.#push(known, { ...traitsOf(told), sinceNs: told.atNs, image });
    this.#makeRoom();
    this.#slim(known);
  }

  renamed({ pid, startNs, atNs, comm }: Told): void {
    const known = this.find(pid, startNs);
    const last = known?.generations.at(-1);
    if (!known || !last || last.comm === comm) return;
    this.#version++;
    this.#push(known, { ...last, comm, sinceNs: Math.max(atNs, last.sinceNs) });
    this.#makeRoom();
    this.#slim(known);
  }

  exited(told: Told, code: number): void {
    const known = this.find(told.pid, told.startNs) ?? this.#add(told, null);
    if (known) this.#end(known, { atNs: told.atNs, code });
  }

  /**
   * All processes there are, with their images, as an iterator told from `fromNs` on. Adds those that are not known; what is known and not
   * among them has ended, when nobody saw it.
   */
  there(all: readonly (Told & { readonly image: Image | null })[], fromNs: number): void {
    const starts = new Map(all.map(({ pid, startNs }) => [pid, startNs]));
    // Parents before their children.
    for (const one of [...all].sort((a, b) => a.startNs - b.startNs)) {
      const known = this.find(one.pid, one.startNs);
      const parentStartNs = starts.get(one.ppid) ?? null;
      if (known) this.#adopt(known, { ...one, parentStartNs });
      else this.#add({ ...one, parentStartNs }, one.image);
    }
    for (const known of this.#byPid.values())
      if (!known.exit && known.startNs < fromNs && starts.get(known.pid) !== known.startNs)
        this.#end(known, { atNs: null, code: null });
  }

  /** Null when there is no room. */
  #add(told: Told, image: Image | null): KnownProcess | null {
    if (this.#bytes >= this.#limit && this.#leaves.size === 0 && this.#forebears.size === 0) {
      this.#refused++;
      return null;
    }
    const process = new KnownProcess(told);
    const before = this.#byPid.get(told.pid) ?? null;
    // Its pid is another's now: it has ended, though nobody told.
    if (before && !before.exit) this.#end(before, { atNs: null, code: null });
    process.previous = this.#byPid.get(told.pid) ?? null;
    this.#byPid.set(told.pid, process);
    this.#processes++;
    this.#bytes += PROCESS_BYTES;
    this.#adopt(process, told);
    const inherited = image ?? process.parent?.at(told.startNs).image ?? null;
    this.#push(process, { ...traitsOf(told), sinceNs: told.startNs, image: inherited });
    this.#makeRoom();
    return process;
  }

  /** Takes what is told of its parent, where that is not known yet. */
  #adopt(process: KnownProcess, { ppid, parentStartNs }: Told): void {
    if (process.parent || ppid === 0 || ppid === process.pid) return;
    // Of a parent that /proc told of, the start is known to 10 ms.
    const parent = parentStartNs === null ? null : this.find(ppid, parentStartNs, TICK_NS);
    if (!parent || parent.startNs > process.startNs) return;
    process.parent = parent;
    process.changes++;
    if (process.generations.length) this.#version++;
    parent.childrenChanged();
    (parent.children ??= new Set()).add(process);
    if (this.#leaves.delete(parent)) this.#forebears.add(parent);
  }

  #push(process: KnownProcess, generation: Generation): void {
    const { image } = generation;
    process.generations.push(generation);
    process.changes++;
    this.#bytes += GENERATION_BYTES;
    if (image) {
      const uses = this.#uses.get(image) ?? 0;
      if (uses === 0) this.#bytes += weightOf(image);
      this.#uses.set(image, uses + 1);
    }
    if (process.generations.length > GENERATIONS)
      this.#drop(...process.generations.splice(leastOf(process.generations), 1));
  }

  #drop(generation?: Generation): void {
    if (!generation) return;
    this.#bytes -= GENERATION_BYTES;
    const { image } = generation;
    if (!image) return;
    const uses = this.#uses.get(image) ?? 0;
    if (uses > 1) return void this.#uses.set(image, uses - 1);
    this.#uses.delete(image);
    this.#bytes -= weightOf(image);
  }

  #end(process: KnownProcess, exit: Exit): void {
    if (process.exit && exit.atNs === null) return;
    process.exit = exit;
    process.changes++;
    process.parent?.childrenChanged();
    if (process.children?.size) this.#forebears.add(process);
    else this.#leaves.add(process);
  }

  #makeRoom(): void {
    while (this.#bytes > this.#limit) {
      const oldest = this.#leaves.take() ?? this.#forebears.take();
      if (!oldest) return;
      this.#forget(oldest);
    }
  }

  /** Of one that is alive, where nobody is left to forget: what it was before goes, and then what it executes. */
  #slim(process: KnownProcess): void {
    const { generations } = process;
    while (this.#bytes > this.#limit && generations.length > 1) this.#drop(generations.shift());
    const [last] = generations;
    if (this.#bytes <= this.#limit || !last?.image) return;
    this.#drop(generations.pop());
    this.#push(process, { ...last, image: null });
    this.#refused++;
  }

  #forget(process: KnownProcess): void {
    this.#version++;
    for (const child of process.children ?? []) child.parent = null;
    const { parent } = process;
    parent?.children?.delete(process);
    parent?.childrenChanged();
    if (parent && !parent.children?.size && this.#forebears.delete(parent)) this.#leaves.add(parent);
    this.#unlink(process);
    for (const generation of process.generations) this.#drop(generation);
    this.#bytes -= PROCESS_BYTES;
    this.#processes--;
    this.#evicted++;
  }

  #unlink(process: KnownProcess): void {
    const { pid, previous } = process;
    const newest = this.#byPid.get(pid);
    if (newest === process) {
      if (previous) this.#byPid.set(pid, previous);
      else this.#byPid.delete(pid);
      return;
    }
    for (let known = newest ?? null; known; known = known.previous)
      if (known.previous === process) known.previous = previous;
  }
}

/** Which one goes where there are too many: the oldest that is but one of several names of a program, else the oldest. */
function leastOf(generations: readonly Generation[]): number {
  const name = generations.findIndex(
    ({ image }, i) => i > 0 && i < generations.length - 1 && image === generations[i - 1]?.image,
  );
  return Math.max(0, name);
}

function traitsOf({ comm, uid, gid, cgroupId, mountNs, initPid, initStart }: Told): Traits {
  return { comm, uid, gid, cgroupId, mountNs, initPid, initStart };
}

function weightOf({ executable, args, cwd }: Image): number {
  const texts = [executable ?? '', cwd ?? '', ...(args ?? [])];
  return texts.reduce((sum, text) => sum + TEXT_BYTES + text.length, IMAGE_BYTES);
}
