import { csvCell, csvLine } from '../base/csv.js';
import { itemsAtOnce, type Encoder } from './encoder.js';
import type { Sheet } from './sheet.js';

/** RFC 4180 with a line of names first; see `csvCell` for what becomes of texts. Gaps and changes have no place in CSV: see NDJSON. */
export function csv<Item>({ columns, row }: Sheet<Item>): Encoder<Item> {
  const kinds = columns.map(({ type }) => (type === 'text' ? 'TEXT' : 'PLAIN'));
  return {
    contentType: 'text/csv; charset=utf-8; header=present',
    most: itemsAtOnce(columns),
    head: () => csvLine(columns.map(({ name }) => csvCell(name, 'TEXT'))),
    items: (items) =>
      items.map((item) => csvLine(row(item).map((value, i) => csvCell(value, kinds[i] ?? 'TEXT')))).join(''),
    change: () => '',
    end: () => '',
  };
}
