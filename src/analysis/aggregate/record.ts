import { headerOffsets, type RecordBatch } from '../../record/batch.js';
import { kinds } from '../../btf/kind.js';
import { readInteger, type EventView } from '../../record/view.js';
import type { Group } from './pane.js';

/**
 * What an aggregate needs of a record, read from its bytes: events of a group that was seen a moment ago are told by
 * the bytes that their key is made of, before any value is. Generated code, as in pipeline/view.ts.
 */

type RecordSource = NonNullable<EventView['source']>;

/** How records of one tracker are taken without making events of them. */
export interface RecordAccess {
  readonly groups: GroupMemo;
  /** By cell; null where the event has to be asked. */
  readonly numbers: readonly (NumberReader | null)[];
}

/** Reads a number; NaN where only the event tells: there is none, or a double does not hold it. */
export type NumberReader = (view: DataView, at: number) => number;

/** As many keys as are in turn at once, about; a power of two. */
const SLOTS = 256;

/**
 * Groups by the bytes of their key, of the records of one tracker in one batch. What was known of another batch or pane
 * has to be forgotten: containers change their facts.
 */
export class GroupMemo {
  readonly #hash: (view: DataView, at: number) => number;
  readonly #same: (view: DataView, a: number, b: number) => boolean;
  readonly #groups = new Array<Group | null>(SLOTS).fill(null);
  /** Where a record of the group is. */
  readonly #places = new Float64Array(SLOTS);

  private constructor(words: readonly string[]) {
    const code = words
      .map((word) => `h = Math.imul(h ^ ${word.replaceAll('AT', 'at')}, 0x9e3779b1); h ^= h >>> 15;`)
      .join('\n');
    this.#hash = new Function('r', 'at', `let h = 0; ${code} return h & ${SLOTS - 1};`) as (
      view: DataView,
      at: number,
    ) => number;
    const equal = words.map((word) => `${word.replaceAll('AT', 'a')} === ${word.replaceAll('AT', 'b')}`).join(' && ');
    this.#same = new Function('r', 'a', 'b', `return ${equal || 'true'};`) as (
      view: DataView,
      a: number,
      b: number,
    ) => boolean;
  }

  /** Null when a field of the key has no fixed place in the tracker's records. */
  static create(source: RecordSource, paths: readonly string[]): GroupMemo | null {
    const words = paths.map((path) => wordsOf(source, path));
    return words.includes(null) ? null : new GroupMemo([...new Set(words.flatMap((some) => some ?? []))]);
  }

  find({ view }: RecordBatch, at: number): Group | null {
    const slot = this.#hash(view, at);
    const group = this.#groups[slot] ?? null;
    return group && this.#same(view, this.#places[slot] ?? 0, at) ? group : null;
  }

  keep({ view }: RecordBatch, at: number, group: Group): void {
    const slot = this.#hash(view, at);
    this.#groups[slot] = group;
    this.#places[slot] = at;
  }

  clear(): void {
    this.#groups.fill(null);
  }
}

/** Reads a field that is a number in the record as in the event; null where it is something else. */
export function compileNumber({ definition, layout }: RecordSource, path: string): NumberReader | null {
  const field = definition.fields?.[path] ? undefined : layout.fields.get(path);
  const word = (offset: number): string => `r.getUint32(at + ${offset}, true)`;
  const compile = (body: string): NumberReader => new Function('r', 'at', body) as NumberReader;
  const row = field && kinds[field.kind];
  // A total is more than a number: the event tells of how many.
  if (!row || row.isTotal) return null;
  if (row.form === 'integer') return compile(`return ${readInteger(field, 'r', 'at')};`);
  if (row.form !== 'wide' || row.signed) return null;
  // A value that is not known is all ones.
  return compile(
    `const high = ${word(field.offset + 4)}; return high < 0x200000 ? high * 4294967296 + ${word(field.offset)} : NaN;`,
  );
}

/** The bytes that a value is made of, as expressions of the record at AT; null when they have no fixed place. */
function wordsOf({ definition, layout }: RecordSource, path: string): string[] | null {
  if (path === 'tracker') return [];
  if (path.startsWith('container.'))
    return [
      ...wordsAt(headerOffsets.cgroupId, 8),
      ...wordsAt(headerOffsets.mountNs, 4),
      ...wordsAt(headerOffsets.initStart, 2),
      ...wordsAt(headerOffsets.initPid, 4),
    ];
  const [, inProcess] = /^process\.(\w+)$/.exec(path) ?? [];
  const header = layout.header.get(inProcess === 'startTime' ? 'startBootNs' : (inProcess ?? ''));
  if (header) return wordsAt(header.offset, header.size);
  const from = definition.fields?.[path]?.from ?? [path];
  const words = from.map((name) => {
    const field = layout.fields.get(name);
    return field && !kinds[field.kind].behind ? wordsAt(field.offset, field.size) : null;
  });
  return words.includes(null) ? null : words.flatMap((some) => some ?? []);
}

function wordsAt(offset: number, size: number): string[] {
  if (size % 4) return Array.from({ length: size }, (_, i) => `r.getUint8(AT + ${offset + i})`);
  return Array.from({ length: size / 4 }, (_, i) => `r.getInt32(AT + ${offset + 4 * i}, true)`);
}
