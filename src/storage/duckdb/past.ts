import { inTurns } from '../../base/turn.js';
import { PastProcesses } from '../../graph/past.js';
import { readRecord } from '../facts.js';
import type { Query } from './known.js';
import { joined, LineageRows, selectLineage } from './lineage.js';

/** What is kept of sessions that were asked for, in memory; the one that was asked for last is kept whatever it takes. */
const KEPT_BYTES = 64 << 20;

interface Kept {
  readonly processes: Promise<PastProcesses | null>;
  bytes: number;
}

/** Reads the processes of sessions, and keeps those that were read last. */
export class PastCache {
  readonly #query: Query;
  readonly #isRecorded: (number: number) => boolean;
  /** By the numbers of their sessions, in the order in which they were asked for. */
  readonly #kept = new Map<number, Kept>();

  /** `isRecorded`: whether more of a session is to come. */
  constructor(query: Query, isRecorded: (number: number) => boolean) {
    this.#query = query;
    this.#isRecorded = isRecorded;
  }

  /** Null for a session that is being recorded, or that no processes are stored of. */
  async of(number: number): Promise<PastProcesses | null> {
    if (this.#isRecorded(number)) return null;
    const kept = this.#kept.get(number) ?? this.#read(number);
    this.#kept.delete(number);
    this.#kept.set(number, kept);
    const processes = await kept.processes;
    this.#shrink(number);
    return processes;
  }

  #read(number: number): Kept {
    const rows = new LineageRows();
    const reading = async (): Promise<PastProcesses | null> => {
      const [session] = await this.#query(`SELECT facts FROM sessions WHERE number = ${number}`);
      const boot = readRecord(session?.[0])?.boot ?? null;
      if (boot === null) return null;
      const facts = await this.#query(selectLineage(number), [], { lane: 'LONG', make: rows.factsOf });
      const processes = await inTurns(PastProcesses.of(boot, await inTurns(joined(facts))));
      kept.bytes = rows.bytes;
      return processes;
    };
    const kept: Kept = { processes: reading(), bytes: 0 };
    // What failed is tried again.
    kept.processes.catch(() => this.#kept.delete(number));
    return kept;
  }

  #shrink(last: number): void {
    let bytes = [...this.#kept.values()].reduce((sum, kept) => sum + kept.bytes, 0);
    for (const [number, kept] of this.#kept) {
      if (bytes <= KEPT_BYTES) return;
      if (number === last) continue;
      bytes -= kept.bytes;
      this.#kept.delete(number);
    }
  }
}
