import type { Gap } from '../event/event.js';
import type { AskedFrom } from '../session/asked.js';

/** What is told of the session with its events; plain JSON. */
export type Facts = Readonly<Record<string, unknown>>;

/** How an export ends. */
export interface Ending {
  /** Items written. */
  readonly items: number;
  /** Events that are missing in it: lost in the kernel, dropped before or while it was written. */
  readonly lost: number;
  readonly dropped: number;
  /** Whether nothing is missing. */
  readonly complete: boolean;
  /** The session's state at the end. */
  readonly state: string;
}

/** Makes a file of one format, piece by piece; each piece may be empty. */
export interface Encoder<Item> {
  readonly contentType: string;
  head(): string | Uint8Array;
  /** `gap` is what is missing just before the first of them. */
  items(items: readonly Item[], gap: Gap | null): string | Uint8Array;
  /** The session was changed at this place. */
  change(change: AskedFrom): string | Uint8Array;
  end(ending: Ending): string | Uint8Array;
}

/** Of events of any tracker, and of aggregates. */
const sheetFormats = ['ndjson', 'csv', 'parquet'] as const;
export type SheetFormat = (typeof sheetFormats)[number];
export const formats = [...sheetFormats, 'pcapng'] as const;
export type ExportFormat = (typeof formats)[number];
