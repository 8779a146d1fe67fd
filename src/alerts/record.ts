import * as v from 'valibot';
import { newerFormat } from '../base/format.js';
import { severities, type Alert } from './alert.js';

/** What the journal has, a line of JSON each. Each record may be read twice: what it tells is known then. */

const FORMAT = 1;
const text = v.string();
const textOrNull = v.nullable(text);
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const severity = v.picklist(severities);
const state = v.picklist(['OPEN', 'ACKNOWLEDGED', 'RESOLVED']);

const silence = v.object({
  id: text,
  rule: textOrNull,
  source: textOrNull,
  container: textOrNull,
  image: textOrNull,
  severityAtMost: v.nullable(severity),
  key: textOrNull,
  reason: text,
  by: text,
  createdAt: text,
  until: text,
  endedAt: textOrNull,
  endedBy: textOrNull,
});

const change = v.object({
  action: v.picklist(['ACKNOWLEDGED', 'RESOLVED', 'REOPENED', 'COMMENTED', 'ACTED']),
  by: text,
  at: text,
  comment: textOrNull,
  session: v.optional(textOrNull, null),
  revision: count,
});

const after = v.object({ events: text, isGathering: v.boolean(), problem: textOrNull });

const alert = v.object({
  id: text,
  seq: count,
  revision: count,
  severity,
  title: text,
  message: text,
  source: text,
  session: textOrNull,
  eventId: v.optional(textOrNull, null),
  tracker: textOrNull,
  process: v.nullable(
    v.object({
      pid: v.number(),
      ppid: v.nullable(v.number()),
      uid: v.nullable(v.number()),
      comm: textOrNull,
      startTime: textOrNull,
    }),
  ),
  container: v.nullable(v.object({ id: text, name: textOrNull, image: textOrNull })),
  key: textOrNull,
  intervalMs: v.number(),
  rule: textOrNull,
  tags: v.array(text),
  attack: v.array(text),
  webhooks: v.optional(v.nullable(v.array(text)), null),
  evidence: textOrNull,
  after: v.optional(v.nullable(after), null),
  silencedBy: v.nullable(silence),
  raisedAt: text,
  time: text,
  count,
  lastAt: text,
  state,
  history: v.array(change),
});

const record = v.variant('kind', [
  /** The first line. `seq` and `revision` are the next ones. */
  v.object({ kind: v.literal('head'), format: v.literal(FORMAT), seq: count, revision: count }),
  /** The last line of what a file had when it was made anew. */
  v.object({ kind: v.literal('whole') }),
  v.object({ kind: v.literal('alert'), alert }),
  v.object({ kind: v.literal('count'), seq: count, count, lastAt: text }),
  v.object({ kind: v.literal('change'), seq: count, change, state }),
  v.object({ kind: v.literal('after'), seq: count, after }),
  v.object({ kind: v.literal('silence'), silence }),
  /** Up to which revision a receiver was told; -1 of one that was there before anything had happened. */
  v.object({ kind: v.literal('place'), receiver: text, revision: v.pipe(v.number(), v.safeInteger(), v.minValue(-1)) }),
]);

export type AlertRecord = v.InferOutput<typeof record>;

export const wholeRecord: AlertRecord = { kind: 'whole' };

export function headRecord(seq: number, revision: number): AlertRecord {
  return { kind: 'head', format: FORMAT, seq, revision };
}

/** A copy, as it is now. */
export function alertRecord({ missedBefore: _missed, ...stored }: Alert): AlertRecord {
  return {
    kind: 'alert',
    alert: {
      ...stored,
      tags: [...stored.tags],
      attack: [...stored.attack],
      webhooks: stored.webhooks && [...stored.webhooks],
      history: [...stored.history],
    },
  };
}

/** Null for what is no record; `newer` for the first line of a newer version's file: why it is not read. */
export function readRecord(line: string): AlertRecord | { readonly newer: string } | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const read = v.safeParse(record, value);
  if (read.success) return read.output;
  const head = v.safeParse(v.object({ kind: v.literal('head'), format: v.number() }), value);
  const newer = head.success ? newerFormat(head.output, FORMAT) : null;
  return newer === null ? null : { newer };
}
