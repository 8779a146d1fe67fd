import * as v from 'valibot';
import { readAsked } from '../session/asked.js';
import type { SessionEnd, SessionRecord } from './store.js';

/** What stores hold as text of sessions and containers. A file may be damaged, and a database has other writers. */

type Json = Readonly<Record<string, unknown>>;

const text = v.nullable(v.string());
const count = v.fallback(v.pipe(v.number(), v.minValue(0)), 0);
const time = v.custom<string>(isTime);
const object = v.custom<Json>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
const labels = v.fallback(v.array(v.object({ name: v.string(), value: v.string() })), []);
const options = v.fallback(v.record(v.string(), object), {});
const capture = v.fallback(v.picklist(['DEFAULT', 'DEMANDED', 'ALL']), 'DEFAULT');
const mode = v.fallback(v.picklist(['EVENTS', 'ROLLUP']), 'EVENTS');
const state = v.fallback(v.picklist(['STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED']), 'STOPPED');
const reason = v.picklist([
  'REQUESTED',
  'DURATION',
  'LIMIT',
  'UNUSED',
  'ABANDONED',
  'SHUTDOWN',
  'REPLAYED',
  'INTERRUPTED',
  'ERROR',
]);

const record = v.object({
  id: v.string(),
  name: v.fallback(text, null),
  labels,
  trackers: v.array(v.string()),
  options,
  capture,
  mode,
  createdAt: time,
  startedAt: v.fallback(v.nullable(time), null),
  asked: v.pipe(v.optional(v.unknown(), null), v.transform(readAsked)),
  boot: v.fallback(v.optional(text, null), null),
});
const end = v.object({
  startedAt: v.fallback(v.nullable(time), null),
  state,
  stoppedAt: time,
  stopReason: v.fallback(reason, 'ERROR'),
  error: v.fallback(text, null),
  lost: count,
  received: count,
  discarded: count,
  receivedBytes: count,
  processes: v.fallback(v.optional(v.nullable(v.object({ stored: count, dropped: count })), null), null),
});

/** RFC 3339 in UTC, of a moment that exists. */
export function isTime(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(value) &&
    !Number.isNaN(Date.parse(`${value.slice(0, 19)}Z`))
  );
}

/** JSON as it lies in a store; undefined for what is none. */
export function parsed(json: unknown): unknown {
  try {
    return JSON.parse(String(json)) as unknown;
  } catch {
    return undefined;
  }
}

/** Null when it does not tell which session it is. */
export function readRecord(json: unknown): SessionRecord | null {
  const read = v.safeParse(record, parsed(json));
  return read.success ? read.output : null;
}

/** How a session ended. What cannot be read is an end that nobody knows of, at `otherwise`. */
export function readEnd(json: unknown, otherwise: string): SessionEnd {
  const read = v.safeParse(end, parsed(json));
  if (read.success) return read.output;
  return {
    startedAt: null,
    state: 'STOPPED',
    stoppedAt: otherwise,
    stopReason: 'ERROR',
    error: 'how it ended cannot be read: the store is damaged',
    lost: 0,
    received: 0,
    discarded: 0,
    receivedBytes: 0,
    processes: null,
  };
}

/** An object with an id, as a container is; null for anything else. */
export function readIdentified(json: unknown): (Json & { readonly id: string }) | null {
  const read = v.safeParse(v.looseObject({ id: v.string() }), parsed(json));
  return read.success ? read.output : null;
}

export const readLabels = (json: unknown): SessionRecord['labels'] => v.parse(labels, parsed(json));
export const readOptions = (json: unknown): SessionRecord['options'] => v.parse(options, parsed(json));
export const readNames = (json: unknown): readonly string[] =>
  v.parse(v.fallback(v.array(v.string()), []), parsed(json));
export const readCapture = (value: unknown): SessionRecord['capture'] => v.parse(capture, value);
export const readMode = (value: unknown): SessionRecord['mode'] => v.parse(mode, value);
export const readState = (value: unknown): SessionEnd['state'] => v.parse(state, value);
export const readReason = (value: unknown): SessionEnd['stopReason'] | null =>
  v.parse(v.fallback(v.nullable(reason), null), value);
