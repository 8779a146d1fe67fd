import type { Gap } from '../event/event.js';
import type { Encoder, Facts } from './encoder.js';
import type { Sheet } from './sheet.js';

/** The number in a recording's first line. Another one is another format. */
export const RECORDING = 1;

/**
 * One JSON object a line: first `{"eunomia": …}`, the session's facts; then events as GraphQL has them, with `{"gap": …}` where some are
 * missing, and `{"change": …}` where the session was changed; last `{"end": …}`, without which the file was cut.
 */
export function ndjson<Item>(sheet: Sheet<Item>, facts: Facts): Encoder<Item> {
  return {
    contentType: 'application/x-ndjson; charset=utf-8',
    head: () => lineOf({ eunomia: { recording: RECORDING, ...facts } }),
    items: (items, gap) => {
      let text = gap ? lineOf({ gap: gapRecord(gap) }) : '';
      for (const item of items) text += lineOf(sheet.record(item));
      return text;
    },
    change: ({ at, input, where }) => lineOf({ change: { at, input, where } }),
    end: ({ items, lost, dropped, complete, state }) =>
      lineOf({ end: { items: String(items), lost: String(lost), dropped: String(dropped), complete, state } }),
  };
}

function gapRecord({ from, to, lost, dropped, where }: Gap): object {
  return { from, to, lost: String(lost), dropped: String(dropped), where };
}

function lineOf(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
