import * as v from 'valibot';
import type { Done, PluginError } from './protocol.js';

/**
 * What a plugin's thread sends, before anything reads it. A trusted plugin runs in the thread's own JavaScript: it
 * reaches the port, and what it sends there by itself must not end the server or be in a response to a client.
 */

const MAX_TEXT = 4096;
const MAX_PID = 2 ** 22;

const text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const duration = v.pipe(v.number(), v.finite(), v.minValue(0));
/** What an alert says of its event may be what the plugin has made up: what cannot be counts as missing. */
const orNull = <const Schema extends v.GenericSchema>(schema: Schema) => v.fallback(v.nullable(schema), null);
const id = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
const pid = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_PID));
const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/),
  v.check((moment) => !Number.isNaN(Date.parse(moment))),
);

const alert = v.object({
  severity: v.picklist(['INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL']),
  title: text,
  message: text,
  key: v.nullable(text),
  tracker: orNull(text),
  time: orNull(time),
  process: orNull(v.object({ pid, ppid: orNull(pid), uid: orNull(id), comm: orNull(text), startTime: orNull(time) })),
  container: orNull(v.object({ id: text, name: orNull(text), image: orNull(text) })),
  place: orNull(whole),
});

const outcome = v.object({
  results: v.array(
    v.object({
      kind: v.pipe(v.string(), v.regex(/^[a-zA-Z][\w.-]{0,63}$/)),
      json: v.pipe(v.string(), v.maxLength(65_536), v.check(isObject)),
      place: orNull(whole),
    }),
  ),
  alerts: v.array(alert),
  metrics: v.array(
    v.object({
      metric: text,
      labels: v.pipe(v.array(text), v.maxLength(64)),
      value: v.pipe(v.number(), v.finite()),
      buckets: v.pipe(v.array(whole), v.maxLength(256)),
    }),
  ),
  logs: v.array(text),
  suppressed: whole,
});

const error = v.object({ message: v.string(), at: v.nullable(v.string()) });
const done = v.object({ outcome, error: v.nullable(error), busyMs: duration, memoryBytes: duration });

/** What became of a call; null for what does not say that. */
export function readDone(reply: unknown): Done | null {
  return parse(done, reply);
}

/** Why the realm has ended; null for what does not say that. */
export function readError(note: unknown): PluginError | null {
  return parse(error, note);
}

/** What was evaluated, unchecked; null for what is no reply. */
export function readDefinition(reply: unknown): { readonly definition: unknown } | null {
  return parse(v.object({ definition: v.unknown() }), reply);
}

/** The kernel's id of the thread; null where it is not told. */
export function readThreadId(note: unknown): number | null {
  return parse(whole, note);
}

function parse<const Schema extends v.GenericSchema>(schema: Schema, value: unknown): v.InferOutput<Schema> | null {
  const read = v.safeParse(schema, value);
  return read.success ? read.output : null;
}

function isObject(json: string): boolean {
  try {
    return json.startsWith('{') && JSON.parse(json) !== null;
  } catch {
    return false;
  }
}
