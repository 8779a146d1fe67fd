import { visible } from '../base/visible.js';
import { shellWord } from '../event/details.js';
import type { Bucket } from '../event/event.js';
import { cutTo, padTo, widthOf } from './width.js';

/**
 * A value as text of a table's cell: a list's elements with blanks between them, nothing as "". A bucket of a histogram
 * is "1024..2048:7", without a bound where it has none.
 */
export function cellOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value)) return value.map(itemOf).join(' ');
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

function itemOf(item: unknown): string {
  if (isLabel(item)) return `${item.name}=${item.value}`;
  if (isBucket(item)) return `${item.from ?? ''}..${item.to ?? ''}:${item.count}`;
  return shellWord(cellOf(item));
}

function isBucket(item: unknown): item is Bucket {
  return typeof item === 'object' && item !== null && 'from' in item && 'to' in item && 'count' in item;
}

function isLabel(item: unknown): item is { name: string; value: string } {
  return typeof item === 'object' && item !== null && 'name' in item && 'value' in item;
}

const gutter = 2;
const narrowest = 8;
/** What other commands take, and when it was: narrowed for no other column. */
const WHOLE: ReadonlySet<string> = new Set(['id', 'session', 'time']);

/**
 * A table that is printed while it grows: columns widen with what they have seen. Nothing wraps: where not even narrow columns fit, the
 * last ones are cut off.
 */
export class Table {
  readonly #headers: readonly string[];
  readonly #widths: number[];
  readonly #terminal: number | null;
  #begun = false;

  /** `terminal` is the width that lines are cut to; null cuts nothing. */
  constructor(headers: readonly string[], terminal: number | null) {
    this.#headers = headers;
    this.#widths = headers.map((header) => header.length);
    this.#terminal = terminal;
  }

  /** The lines of these rows, the header's first when they are the first. */
  render(rows: readonly (readonly string[])[]): string {
    const cells = rows.map((row) => row.map((cell) => visible(cell) || '-'));
    for (const row of cells)
      row.forEach((cell, i) => (this.#widths[i] = Math.max(this.#widths[i] ?? 0, widthOf(cell))));
    const widths = this.#fit();
    const lines = this.#begun ? cells : [this.#headers, ...cells];
    this.#begun = true;
    const most = this.#terminal ?? Number.POSITIVE_INFINITY;
    return lines.map((row) => `${cutTo(line(row, widths), most)}\n`).join('');
  }

  /** Takes what is too much from the widest columns, but not from those that are whole. */
  #fit(): readonly number[] {
    if (this.#terminal === null) return this.#widths;
    const isWhole = this.#headers.map((header) => WHOLE.has(header));
    const widths = this.#widths.map((width, i) => (isWhole[i] ? 0 : width));
    let excess = this.#widths.reduce((sum, width) => sum + width, gutter * (widths.length - 1)) - this.#terminal;
    while (excess > 0) {
      const widest = Math.max(...widths);
      if (widest <= narrowest) break;
      const index = widths.lastIndexOf(widest);
      const next = Math.max(narrowest, ...widths.filter((width) => width < widest));
      const taken = Math.min(excess, widest - next || 1);
      widths[index] = widest - taken;
      excess -= taken;
    }
    return this.#widths.map((width, i) => (isWhole[i] ? width : (widths[i] ?? 0)));
  }
}

function line(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, i) => padTo(cutTo(cell, widths[i] ?? 0), widths[i] ?? 0))
    .join(' '.repeat(gutter))
    .trimEnd();
}
