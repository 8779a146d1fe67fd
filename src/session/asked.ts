import * as v from 'valibot';

/** What a client asked of a session, kept with its events wherever they go: into a store, a recording, another server. */
export interface Asked {
  /** The `StartSessionInput`, as a client would send it, with the defaults in it: a session that is started with it is the same. */
  readonly input: AskedInput;
  /** `input.where` as a simplified CEL expression; null where it takes all events of its target. */
  readonly where: string | null;
  /** Of `trace`: the events at which it stopped. */
  readonly limit: number | null;
  /** What it was asked for before it was changed, oldest first. */
  readonly changes?: readonly AskedBefore[] | undefined;
}

/** What a session was asked for up to a change. */
export interface AskedBefore extends Pick<Asked, 'input' | 'where'> {
  /** When it was changed. */
  readonly at: string;
  /** The place of the first event behind the change. */
  readonly seq: number;
}

/** What a session was changed to. */
export interface AskedFrom extends Pick<Asked, 'input' | 'where'> {
  /** When it was changed. */
  readonly at: string;
}

type Json = Readonly<Record<string, unknown>>;

/** `StartSessionInput` as JSON: durations are texts, and so are integers of 64 bits. */
export interface AskedInput {
  /** Each has one field: the tracker's name, with its options. */
  readonly trackers: readonly Readonly<Record<string, Json>>[];
  readonly target?: AskedTarget | null | undefined;
  readonly where?: Json | null | undefined;
  readonly capture: 'DEFAULT' | 'DEMANDED' | 'ALL';
  readonly fields: readonly string[];
  readonly for?: string | null | undefined;
  readonly name?: string | null | undefined;
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  readonly ttl?: string | null | undefined;
  readonly bufferBytes: number;
  readonly ringBytes: number;
  readonly persist?: { readonly store: 'EMBEDDED' | 'INFLUX'; readonly mode: 'EVENTS' | 'ROLLUP' } | null | undefined;
  readonly plugins: readonly {
    readonly name: string;
    readonly options?: unknown;
    readonly restart: 'NEVER' | 'ON_FAILURE';
  }[];
}

/** `TargetInput` as JSON. A list that is there is not empty. */
export interface AskedTarget {
  readonly containers?: readonly AskedSelector[] | null | undefined;
  readonly waitForContainers?: boolean | null | undefined;
  readonly cgroups?: readonly string[] | null | undefined;
  readonly pids?: readonly number[] | null | undefined;
  readonly descendants?: boolean | null | undefined;
  readonly uids?: readonly number[] | null | undefined;
  readonly comms?: readonly string[] | null | undefined;
}

export interface AskedSelector {
  readonly name?: string | null | undefined;
  readonly id?: string | null | undefined;
  readonly image?: string | null | undefined;
  readonly labels?: readonly { readonly name: string; readonly value?: string | null | undefined }[] | null | undefined;
}

const text = v.nullish(v.string());
const json = v.custom<Json>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
const listOf = <Item extends v.GenericSchema>(item: Item) => v.nullish(v.array(item));
const label = v.object({ name: v.string(), value: v.string() });

const selector = v.object({
  name: text,
  id: text,
  image: text,
  labels: listOf(v.object({ name: v.string(), value: text })),
});
const target = v.object({
  containers: listOf(selector),
  waitForContainers: v.nullish(v.boolean()),
  cgroups: listOf(v.string()),
  pids: listOf(v.number()),
  descendants: v.nullish(v.boolean()),
  uids: listOf(v.number()),
  comms: listOf(v.string()),
});
const input = v.object({
  trackers: v.array(v.record(v.string(), json)),
  target: v.nullish(target),
  where: v.nullish(json),
  capture: v.picklist(['DEFAULT', 'DEMANDED', 'ALL']),
  fields: v.array(v.string()),
  for: text,
  name: text,
  labels: v.array(label),
  ttl: text,
  bufferBytes: v.number(),
  ringBytes: v.number(),
  persist: v.nullish(v.object({ store: v.picklist(['EMBEDDED', 'INFLUX']), mode: v.picklist(['EVENTS', 'ROLLUP']) })),
  plugins: v.array(
    v.object({ name: v.string(), options: v.optional(v.unknown()), restart: v.picklist(['NEVER', 'ON_FAILURE']) }),
  ),
});
const cel = v.nullable(v.string());
const change = v.object({ at: v.string(), seq: v.number(), input, where: cel });
const asked = v.object({ input, where: cel, limit: v.nullable(v.number()), changes: v.optional(v.array(change)) });

/** Null for what is none: a store or a recording of a version that did not keep it, or one that is damaged. */
export function readAsked(value: unknown): Asked | null {
  const read = v.safeParse(asked, value);
  return read.success ? read.output : null;
}

/** The same of a change. */
export function readAskedFrom(value: unknown): AskedFrom | null {
  const read = v.safeParse(v.object({ at: v.string(), input, where: cel }), value);
  return read.success ? read.output : null;
}

/** What a session was asked for at first, of one that was changed since. */
export function firstAsked(asked: Asked): Asked {
  const { input, where } = asked.changes?.[0] ?? asked;
  return { ...asked, input, where, changes: [] };
}

/** The changes of a session, each with what holds from then on. */
export function changesOf(asked: Asked | null): readonly (AskedFrom & Pick<AskedBefore, 'seq'>)[] {
  const { changes = [] } = asked ?? {};
  return changes.flatMap(({ at, seq }, i) => {
    const after = changes[i + 1] ?? asked;
    return after ? [{ at, seq, input: after.input, where: after.where }] : [];
  });
}

/** What is asked now, with what was before. */
export function changedAsked(
  asked: Asked,
  { input, where, changes = [] }: Asked,
  change: Pick<AskedBefore, 'at' | 'seq'>,
): Asked {
  return { ...asked, changes: [...changes, { ...change, input, where }] };
}
