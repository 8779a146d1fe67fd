import { csv } from './csv.js';
import type { Encoder, SheetFormat, ExportFacts } from './encoder.js';
import { ndjson } from './ndjson.js';
import { parquet } from './parquet.js';
import type { Sheet } from './sheet.js';

export function createEncoder<Item>(format: SheetFormat, sheet: Sheet<Item>, facts: ExportFacts): Encoder<Item> {
  if (format === 'csv') return csv(sheet);
  return format === 'parquet' ? parquet(sheet, facts) : ndjson(sheet, facts);
}
