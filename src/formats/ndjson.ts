import type { Gap } from '../event/event.js';
import { MOST_ITEMS, type Encoder, type ExportFacts } from './encoder.js';
import type { Sheet } from './sheet.js';

/**
 * One JSON object a line: first `{"eunomia": …}`, the facts; then events as GraphQL has them, with `{"gap": …}` where some are
 * missing, and `{"change": …}` where the session was changed; last `{"end": …}`, without which the file was cut.
 */
export function ndjson<Item>(sheet: Sheet<Item>, facts: ExportFacts): Encoder<Item> {
  return {
    contentType: 'application/x-ndjson; charset=utf-8',
    most: MOST_ITEMS,
    head: () => lineOf({ eunomia: facts }),
    items: (items, gap) => {
      let text = gap ? lineOf({ gap: gapRecord(gap) }) : '';
      for (const item of items) text += lineOf(sheet.record(item));
      return text;
    },
    change: ({ session, at, input, where }) => lineOf({ change: { session, at, input, where } }),
    end: ({ items, lost, dropped, complete, state }) =>
      lineOf({ end: { items: String(items), lost: String(lost), dropped: String(dropped), complete, state } }),
  };
}

function gapRecord({
  session,
  from,
  to,
  lost,
  dropped,
  where,
}: Gap & { readonly session?: string | undefined }): object {
  return { session, from, to, lost: String(lost), dropped: String(dropped), where };
}

function lineOf(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
