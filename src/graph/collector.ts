import { inTurns, type Work } from '../base/turn.js';
import type { ProcessGraph } from './graph.js';
import { identityOf, type ProcessFacts } from './past.js';
import type { KnownProcess } from './process.js';

/** Processes of a session that are stored at most, their ancestors included: some 70 MB in memory when they are read back. */
export const MOST_STORED = 1 << 16;
/** Processes that are looked at in one piece. */
const PIECE = 512;

export interface CollectorStats {
  /** Processes that were handed over to be stored, without those that retention has deleted. */
  readonly stored: number;
  /** Not stored, for there were too many. */
  readonly dropped: number;
}

/** What is to be written of a process. */
export interface Collected extends ProcessFacts {
  /** Whether it was handed over before: it replaces that. */
  readonly again: boolean;
  /** About when it ended, in ns since 1970; null while it runs. */
  readonly endedAt: bigint | null;
}

interface Open {
  changes: number;
  /** The table may have forgotten the parent since. */
  parentStartNs: number | null;
}

/** Collects what the table of processes knows of a session's processes and of their ancestors: each once, and again when it has changed. */
export class ProcessCollector {
  readonly #graph: Pick<ProcessGraph, 'boot' | 'ready' | 'find' | 'clock'>;
  readonly #most: number;
  readonly #seen = new Map<string, readonly [pid: number, startNs: number]>();
  /** Those that ran when they were collected last. */
  readonly #open = new Map<KnownProcess, Open>();
  /** Identities of the others: the table may forget them. */
  readonly #ended = new Set<string>();
  readonly #refused = new WeakSet<KnownProcess>();
  #dropped = 0;
  /** Identities were forgotten, perhaps of processes that are stored still. */
  #hasForgotten = false;

  constructor(graph: Pick<ProcessGraph, 'boot' | 'ready' | 'find' | 'clock'>, most = MOST_STORED) {
    this.#graph = graph;
    this.#most = most;
  }

  get boot(): string {
    return this.#graph.boot;
  }

  get stats(): CollectorStats {
    return { stored: this.#open.size + this.#ended.size, dropped: this.#dropped };
  }

  /** A process that events of the session are of. */
  see(pid: number, startNs: number): void {
    const identity = identityOf(pid, startNs);
    if (!this.#ended.has(identity)) this.#seen.set(identity, [pid, startNs]);
  }

  /** Retention has deleted so many processes of those that ended first. */
  forget(count: number): void {
    let left = count;
    this.#hasForgotten ||= count > 0;
    for (const identity of this.#ended) {
      if (left-- <= 0) return;
      this.#ended.delete(identity);
    }
  }

  /** What is new or has changed since the last call, once the table has heard of all that has happened. Never rejects. */
  async take(): Promise<readonly Collected[]> {
    await this.#graph.ready();
    return inTurns(this.#taking());
  }

  *#taking(): Work<readonly Collected[]> {
    const found: Collected[] = [];
    let looked = 0;
    for (const [identity, [pid, startNs]] of this.#seen) {
      this.#seen.delete(identity);
      this.#add(this.#graph.find({ pid, startNs, toleranceNs: 0 }), found);
      if (++looked % PIECE === 0) yield;
    }
    for (const [known, open] of this.#open) {
      if (++looked % PIECE === 0) yield;
      if (known.changes === open.changes) continue;
      this.#add(known.parent, found); // which it may not have had before
      found.push(this.#factsOf(known, open, true));
    }
    return found;
  }

  #add(known: KnownProcess | null, found: Collected[]): void {
    for (let one = known; one; one = one.parent) {
      if (this.#open.has(one) || this.#ended.has(identityOf(one.pid, one.startNs))) return;
      if (this.#open.size + this.#ended.size < this.#most) {
        const open = { changes: -1, parentStartNs: null };
        this.#open.set(one, open);
        found.push(this.#factsOf(one, open, this.#hasForgotten));
      } else if (!this.#refused.has(one)) {
        this.#refused.add(one);
        this.#dropped++;
      }
    }
  }

  #factsOf(known: KnownProcess, open: Open, again: boolean): Collected {
    const { pid, startNs, ppid, parent, generations, exit, changes } = known;
    open.changes = changes;
    open.parentStartNs ??= parent?.startNs ?? null;
    if (exit) {
      this.#open.delete(known);
      this.#ended.add(identityOf(pid, startNs));
    }
    const { parentStartNs } = open;
    const facts = { pid, startNs, ppid, parentStartNs, generations: [...generations], exit };
    return { ...facts, again, endedAt: exit && this.#wallNs(exit.atNs) };
  }

  #wallNs(bootNs: number | null): bigint {
    if (bootNs === null) return BigInt(Date.now()) * 1_000_000n;
    const { seconds, nanoseconds } = this.#graph.clock;
    return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds) + BigInt(Math.round(bootNs));
  }
}
