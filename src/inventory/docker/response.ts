import * as v from 'valibot';

/**
 * What an engine's JSON must look like before anything reads it. The engine is another program, of any version, perhaps not Docker at all:
 * a field of another type than expected counts as missing, so that one odd field costs that field and not the connection.
 */

// Far above what engines send; below what one container could use to fill the server's memory.
const MAX_TEXT = 4096;
const MAX_LABELS = 1000;
const MAX_LABEL_CHARACTERS = 256 * 1024;
const MAX_NETWORKS = 256;
/** The last second that RFC 3339 can write: 9999-12-31T23:59:59Z. */
const LAST_SECOND = 253_402_300_799;
const BILLION = 1_000_000_000n;
/**
 * An engine on another machine may have a clock that is ahead. An event from beyond would hide all that follow: they
 * are asked for from the newest on.
 */
const MAX_AHEAD_SECONDS = 86_400;

type Json = Readonly<Record<string, unknown>>;

function optional<const Schema extends v.GenericSchema>(schema: Schema) {
  return v.fallback(v.optional(schema), undefined);
}

const text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const object = v.custom<Json>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
const containerId = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
/** Labels whose values are texts, until there are too many. */
const labels = v.pipe(
  object,
  v.transform((all): Readonly<Record<string, string>> => {
    let room = MAX_LABEL_CHARACTERS;
    const kept: [string, string][] = [];
    for (const [name, value] of Object.entries(all)) {
      if (typeof value !== 'string') continue;
      room -= name.length + value.length;
      if (room < 0 || kept.length === MAX_LABELS) break;
      kept.push([name, value]);
    }
    return Object.fromEntries(kept);
  }),
);
const addresses = v.object({ IPAddress: optional(text), GlobalIPv6Address: optional(text) });
const networks = v.pipe(
  object,
  v.transform((all) =>
    Object.values(all)
      .slice(0, MAX_NETWORKS)
      .flatMap((each) => {
        const read = v.safeParse(addresses, each);
        return read.success ? [read.output] : [];
      }),
  ),
);
const settings = v.object({ Networks: optional(networks) });
/** RFC 3339 as Go writes it, of a moment that exists. */
const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/),
  v.check(isMoment),
);

const listed = v.object({
  Id: containerId,
  Names: optional(v.pipe(v.array(text), v.maxLength(MAX_NETWORKS))),
  Image: optional(text),
  ImageID: optional(text),
  Created: optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(LAST_SECOND))),
  Labels: optional(labels),
  State: optional(text),
  NetworkSettings: optional(settings),
});

const inspected = v.object({
  Id: containerId,
  Name: optional(text),
  Image: optional(text),
  Created: optional(time),
  State: optional(
    v.object({
      Status: optional(text),
      Pid: optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 22))),
      StartedAt: optional(time),
      FinishedAt: optional(time),
    }),
  ),
  Config: optional(v.object({ Image: optional(text), Labels: optional(labels) })),
  HostConfig: optional(v.object({ Privileged: optional(v.boolean()) })),
  NetworkSettings: optional(settings),
});

const event = v.object({
  Type: optional(v.string()),
  Action: optional(text),
  status: optional(text),
  Actor: optional(v.object({ ID: optional(containerId), Attributes: optional(labels) })),
});

/** The parts that are read of `GET /containers/json`. */
export type ListedContainer = v.InferOutput<typeof listed>;
/** The parts that are read of `GET /containers/ID/json`. */
export type InspectedContainer = v.InferOutput<typeof inspected>;
/** The parts that are read of a line of `GET /events`; `nanos` is its time, null when it has none that can be. */
export type EngineEvent = v.InferOutput<typeof event> & { readonly nanos: bigint | null };

/** The containers of a list; null when it is no list. Entries without an id are left out. */
export function readList(response: unknown): ListedContainer[] | null {
  if (!Array.isArray(response)) return null;
  return response.flatMap((entry: unknown) => parse(listed, entry) ?? []);
}

/** Null for what is not about a container. */
export function readInspected(response: unknown): InspectedContainer | null {
  return parse(inspected, response);
}

/** Null for what is no event. */
export function readEvent(line: string): EngineEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const read = parse(event, value);
  return read && { ...read, nanos: nanosOf(line) };
}

/** As text, since the number has more digits than a double. */
function nanosOf(line: string): bigint | null {
  const digits = /"timeNano"\s*:\s*(\d{1,20})(?![\d.eE])/.exec(line)?.[1];
  if (digits === undefined) return null;
  const nanos = BigInt(digits);
  return nanos / BILLION > BigInt(Math.floor(Date.now() / 1000) + MAX_AHEAD_SECONDS) ? null : nanos;
}

function isMoment(text: string): boolean {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) return false;
  // Date takes the 31st of a short month for the next month's first.
  const [, day] = /^\d{4}-\d\d-(\d\d)/.exec(text) ?? [];
  const local = Date.parse(`${text.slice(0, 19)}Z`);
  return new Date(local).getUTCDate() === Number(day) && Math.abs(ms) < LAST_SECOND * 1000;
}

function parse<const Schema extends v.GenericSchema>(schema: Schema, value: unknown): v.InferOutput<Schema> | null {
  const read = v.safeParse(schema, value);
  return read.success ? read.output : null;
}
