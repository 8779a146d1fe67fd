import type { Caller } from '../access/caller.js';
import { EunomiaError } from '../base/errors.js';
import { turns } from '../base/turn.js';
import { filterOf, FilterFields, type EventFilter } from '../filter/index.js';
import { Shelf, type SnapshotPlace } from '../snapshot/shelf.js';
import { snapshotTypes, type SnapshotKind } from '../snapshot/reader.js';
import { recordsOf, type Owner, type Row } from '../snapshot/rows.js';
import type { Parts } from './parts.js';
import type { PageRequest } from './session/handle.js';
import { endOf } from './session/request.js';

const MAX_PAGE = 10_000;
const KEPT_MS = 60_000;
const KEPT_BYTES = 64 << 20;

export type SocketOwner = Owner;
export type { SnapshotKind } from '../snapshot/reader.js';

export type SnapshotRequest = Partial<PageRequest>;

/** A page of a snapshot's rows. */
export interface SnapshotPage {
  readonly takenAt: string;
  readonly complete: boolean;
  readonly rows: readonly Row[];
  /** All that match. */
  readonly total: number;
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  /** How many rows one of the page counts as, for what it takes to read it: a socket has a list of owners. */
  weightOf(index: number): number;
  /** The place behind a row of the page. */
  cursorAfter(index: number): string;
}

/** What there is now in all namespaces: processes, and the sockets and files that they have open. */
export class Snapshots {
  readonly #parts: Pick<Parts, 'snapshots' | 'schema' | 'catalog'>;
  readonly #shelf = new Shelf({ keptMs: KEPT_MS, bytes: KEPT_BYTES });
  readonly #fields = new Map<SnapshotKind, FilterFields>();

  constructor(parts: Pick<Parts, 'snapshots' | 'schema' | 'catalog'>) {
    this.#parts = parts;
  }

  /**
   * A page of what matches. Without a cursor the kernel is read; the pages around it are of the same moment. `container`: the id of the
   * only one whose processes count. Rejects with BAD_USER_INPUT, BAD_CURSOR, SNAPSHOT_GONE, NO_KERNEL or a KernelError.
   */
  async page(
    caller: Caller,
    kind: SnapshotKind,
    { where: asked, ...range }: SnapshotRequest,
    container: string | null = null,
  ): Promise<SnapshotPage> {
    const { limit, backwards } = endOf(range, MAX_PAGE);
    if (!turns.isOpen) await turns.next('REQUEST');
    const where = this.#filter(kind, asked);
    const of = JSON.stringify([kind, where?.text ?? null, container]);
    const after = this.#place(range.after, of, 'after');
    const before = this.#place(range.before, of, 'before');
    if (after && before && after.id !== before.id)
      throw new EunomiaError('BAD_CURSOR', 'before: the cursor is of another snapshot than `after`', {
        details: { argument: 'before' },
      });
    const known = after ?? before;
    const snapshot = known?.snapshot ?? (await this.#take(caller, kind, where, container));
    const { length } = snapshot.rows;
    const [oldest, end] = [after?.at ?? 0, Math.max(0, before ? before.at - 1 : length)];
    const from = backwards ? Math.max(oldest, end - limit) : Math.min(oldest, end);
    const to = Math.max(from, backwards ? end : Math.min(end, from + limit));
    // Kept once a client is given a cursor of it.
    let id = known?.id;
    const keep = (): string => (id ??= this.#shelf.keep(snapshot, of, to - from === length));
    const rows = snapshot.rows.slice(from, to);
    return {
      takenAt: snapshot.takenAt,
      complete: snapshot.complete,
      rows,
      total: length,
      hasNext: to < length,
      hasPrevious: from > 0,
      weightOf: (index) => recordsOf(rows[index]),
      cursorAfter: (index) => this.#shelf.cursorOf(keep(), from + index + 1),
    };
  }

  /** All there is of a kind, read now. Rejects with NO_KERNEL or a KernelError. */
  async all(caller: Caller, kind: SnapshotKind): Promise<readonly Row[]> {
    return (await this.#take(caller, kind, null, null)).rows;
  }

  /** Forgets all that is kept. */
  end(): void {
    this.#shelf.clear();
  }

  #place(cursor: string | undefined, of: string, argument: string): SnapshotPlace | null {
    return cursor === undefined ? null : this.#shelf.find(cursor, of, argument);
  }

  #take(caller: Caller, kind: SnapshotKind, where: EventFilter | null, container: string | null) {
    const { snapshots } = this.#parts;
    if (!snapshots)
      throw new EunomiaError('NO_KERNEL', 'this server replays a recording: it knows nothing of what runs now');
    const filter = where?.matches ?? null;
    const matches =
      container === null
        ? filter
        : (row: Row) =>
            row.container !== null && Reflect.get(row.container, 'id') === container && (!filter || filter(row));
    return snapshots.take(kind, matches, caller.signal, where?.ready);
  }

  #filter(kind: SnapshotKind, where: unknown): EventFilter | null {
    const { name, type, noun } = snapshotTypes[kind];
    const fields =
      this.#fields.get(kind) ??
      new FilterFields(
        this.#parts.schema,
        { trackers: [], get: () => undefined, lineage: this.#parts.catalog.lineage },
        { filter: `${type}Filter`, type, noun },
      );
    this.#fields.set(kind, fields);
    return where == null ? null : filterOf(where, fields, [name]);
  }
}
