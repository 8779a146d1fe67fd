import type { Work } from '../base/turn.js';
import type { Gap } from '../event/event.js';
import type { AskedFrom } from '../session/asked.js';

/** What is told of the session with its events; plain JSON. */
export type ExportFacts = Readonly<Record<string, unknown>>;

/** Of an export of several sessions: which one. */
interface Whose {
  readonly session?: string | undefined;
}

/** How an export ends. */
export interface ExportEnd {
  /** Items written. */
  readonly items: number;
  /** Events that are missing in it: lost in the kernel, dropped before or while it was written. */
  readonly lost: number;
  readonly dropped: number;
  /** Whether nothing is missing. */
  readonly complete: boolean;
  /** The session's state at the end; of several sessions, nothing. */
  readonly state?: string | undefined;
}

/** Makes a file of one format, piece by piece; each piece may be empty. */
export interface Encoder<Item> {
  readonly contentType: string;
  /** Items of one call at most: a few milliseconds' work. */
  readonly most: number;
  head(): string | Uint8Array;
  /** `gap` is what is missing just before the first of them. */
  items(items: readonly Item[], gap: (Gap & Whose) | null): string | Uint8Array;
  /** The session was changed at this place. */
  change(change: AskedFrom & Whose): string | Uint8Array;
  /** What of the items so far is to be written now and takes long; null where nothing is. */
  due?(): Work<Uint8Array> | null;
  /** The same at the end, before `end`. */
  rest?(): Work<Uint8Array> | null;
  end(ending: ExportEnd): string | Uint8Array;
}

/** Cells that are made in a few milliseconds. */
const CELLS = 16_384;
export const MOST_ITEMS = 512;

/** Of formats with columns. */
export function itemsAtOnce(columns: readonly unknown[]): number {
  return Math.max(1, Math.min(MOST_ITEMS, Math.floor(CELLS / Math.max(1, columns.length))));
}

/** Of events of any tracker, and of aggregates. */
const sheetFormats = ['ndjson', 'csv', 'parquet'] as const;
export type SheetFormat = (typeof sheetFormats)[number];
export const formats = [...sheetFormats, 'pcapng'] as const;
export type ExportFormat = (typeof formats)[number];
