import { textOfBytes } from '../../base/bytes.js';
import type { Container } from '../../inventory/container.js';
import type { ProcessView } from '../../event/event.js';
import { namespaceInode } from '../../tracker/define.js';
import type { RecordBatch } from '../../record/batch.js';
import type { ClockOffset } from '../../event/clock.js';
import { nanosOf } from '../../record/nanos.js';

/** A process's row, without its session. */
export interface ProcessRow extends Omit<ProcessView, 'startTime'> {
  readonly id: number;
  /** Nanoseconds since 1970. */
  readonly startTime: bigint;
  /** The same, in ns since boot. */
  readonly startNs: number;
}

// struct eu_header in 32-bit words: start_boot_ns to mount_ns, and comm. Checked against BTF by pipeline/runtime.ts.
const FIRST_WORD = 4;
const COMM_WORD = 14;
const COMM_BYTES = 16;
const KEY_WORDS = 12;
/** States of processes told apart at a time; beyond it all are forgotten, and a state may get a second row. */
const MOST = 1 << 19;

/**
 * Numbers for the processes of a session's events, so that an event's row has one number in place of eight columns. Records are
 * looked up by their bytes, since making their texts would cost several times as much as all else.
 */
export class ProcessNumbers {
  #keys = new Uint32Array(1024 * KEY_WORDS);
  #ids = new Int32Array(1024);
  #size = 0;
  readonly #byText = new Map<string, number>();
  readonly #nextId: () => number;
  /** Made since the last `take`. */
  #made: ProcessRow[] = [];

  constructor(nextId: () => number) {
    this.#nextId = nextId;
  }

  /** `words` are the batch's bytes. */
  ofRecord(batch: RecordBatch, words: Uint32Array, at: number): number {
    const first = at >> 2;
    let hash = 0;
    for (let i = 0; i < 8; i++)
      hash = Math.imul(hash ^ (words[first + FIRST_WORD + i] ?? 0), 0x9e3779b1) ^ (hash >>> 15);
    for (let i = 0; i < 4; i++)
      hash = Math.imul(hash ^ (words[first + COMM_WORD + i] ?? 0), 0x9e3779b1) ^ (hash >>> 15);
    const mask = this.#ids.length - 1;
    for (let slot = (hash ^ (hash >>> 13)) & mask; ; slot = (slot + 1) & mask) {
      const id = this.#ids[slot] ?? 0;
      if (id === 0) return this.#add(batch, words, at, slot);
      if (this.#isAt(slot, words, first)) return id;
    }
  }

  /** `clock`: what its times are shown with. */
  ofView(process: ProcessView, clock: ClockOffset): number {
    const { pid, tid, ppid, uid, gid, comm, startTime, mountNs } = process;
    const key = [pid, tid, ppid, uid, gid, mountNs, startTime, comm].join(' ');
    const known = this.#byText.get(key);
    if (known !== undefined) return known;
    const id = this.#nextId();
    if (this.#byText.size >= MOST) this.#byText.clear();
    this.#byText.set(key, id);
    const start = nanosOf(startTime);
    const startNs = Number(start - offsetOf(clock));
    this.#made.push({ id, pid, tid, ppid, uid, gid, comm, startTime: start, startNs, mountNs });
    return id;
  }

  take(): readonly ProcessRow[] {
    const made = this.#made;
    this.#made = [];
    return made;
  }

  #isAt(slot: number, words: Uint32Array, first: number): boolean {
    const key = slot * KEY_WORDS;
    for (let i = 0; i < 8; i++) if (this.#keys[key + i] !== words[first + FIRST_WORD + i]) return false;
    for (let i = 0; i < 4; i++) if (this.#keys[key + 8 + i] !== words[first + COMM_WORD + i]) return false;
    return true;
  }

  #add(batch: RecordBatch, words: Uint32Array, at: number, slot: number): number {
    if (this.#size * 2 >= this.#ids.length) {
      this.#grow();
      return this.ofRecord(batch, words, at);
    }
    const first = at >> 2;
    const key = slot * KEY_WORDS;
    for (let i = 0; i < 8; i++) this.#keys[key + i] = words[first + FIRST_WORD + i] ?? 0;
    for (let i = 0; i < 4; i++) this.#keys[key + 8 + i] = words[first + COMM_WORD + i] ?? 0;
    const id = this.#nextId();
    this.#ids[slot] = id;
    this.#size++;
    this.#made.push(rowAt(batch, at, id));
    return id;
  }

  #grow(): void {
    const { length } = this.#ids;
    const keys = this.#keys;
    const ids = this.#ids;
    const forget = length >= MOST;
    this.#ids = new Int32Array(forget ? 1024 : length * 2);
    this.#keys = new Uint32Array(this.#ids.length * KEY_WORDS);
    this.#size = 0;
    if (forget) return;
    const mask = this.#ids.length - 1;
    ids.forEach((id, from) => {
      if (id === 0) return;
      const key = keys.subarray(from * KEY_WORDS, (from + 1) * KEY_WORDS);
      let hash = 0;
      for (const word of key) hash = Math.imul(hash ^ word, 0x9e3779b1) ^ (hash >>> 15);
      let slot = (hash ^ (hash >>> 13)) & mask;
      while (this.#ids[slot] !== 0) slot = (slot + 1) & mask;
      this.#ids[slot] = id;
      this.#keys.set(key, slot * KEY_WORDS);
      this.#size++;
    });
  }
}

function rowAt({ view, bytes, clock }: RecordBatch, at: number, id: number): ProcessRow {
  const word = (index: number): number => view.getUint32(at + index * 4, true);
  const comm = bytes.subarray(at + COMM_WORD * 4, at + COMM_WORD * 4 + COMM_BYTES);
  const end = comm.indexOf(0);
  const start = view.getBigUint64(at + FIRST_WORD * 4, true);
  return {
    id,
    startTime: start + offsetOf(clock),
    startNs: Number(start),
    pid: word(6),
    tid: word(7),
    ppid: word(8),
    uid: word(9),
    gid: word(10),
    mountNs: namespaceInode(word(11)),
    comm: textOfBytes(comm, 0, end < 0 ? comm.length : end),
  };
}

/** What the wall clock is ahead of the clock of boot, in nanoseconds. */
export function offsetOf({ seconds, nanoseconds }: ClockOffset): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
}

/** Numbers for the containers of a session's events. What is known of a container may change while its events are written. */
export class ContainerTable {
  readonly #ids = new Map<string, number>();
  readonly #told = new Map<number, string>();
  readonly #nextId: () => number;
  #changed = new Map<number, Container>();

  constructor(nextId: () => number) {
    this.#nextId = nextId;
  }

  idOf(container: Container): number {
    let id = this.#ids.get(container.id);
    if (id === undefined) this.#ids.set(container.id, (id = this.#nextId()));
    this.#changed.set(id, container);
    return id;
  }

  /** Rows of these, of those that have one, which say something else by now. */
  of(containers: readonly Container[]): ReturnType<ContainerTable['take']> {
    for (const container of containers) {
      const id = this.#ids.get(container.id);
      if (id !== undefined) this.#changed.set(id, container);
    }
    return this.take();
  }

  /** Rows that are new or say something else than when they were taken last. `known`: it has a row already. */
  take(): readonly { readonly id: number; readonly facts: string; readonly known: boolean }[] {
    const rows = [...this.#changed].flatMap(([id, container]) => {
      const facts = JSON.stringify(container);
      const before = this.#told.get(id);
      if (before === facts) return [];
      this.#told.set(id, facts);
      return [{ id, facts, known: before !== undefined }];
    });
    this.#changed = new Map();
    return rows;
  }
}
