import {
  getNamedType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { createContainer, type Container } from '../inventory/container.js';
import { cgroupIdOf } from '../event/cgroup-id.js';
import { dataFields } from '../event/data-field.js';
import type { TraceEvent } from '../event/event.js';
import { HISTOGRAM_BUCKET, rowOf, type ColumnType } from '../event/scalar.js';
import { eventTypeName } from '../base/names.js';
import type { TrackerDefinition } from '../tracker/define.js';
import { eventType } from './recorder.js';

/** A tracker whose events are in recordings. */
export type Recordable = Pick<TrackerDefinition, 'name' | 'formerNames'>;

/** Throws Unfit. `at` is the path in the line, for the message. */
type Revive = (value: unknown, at: string) => unknown;

/** A line has something else than its type says. */
export class Unfit extends Error {
  /** The path in the line, "container.labels[0].value". */
  readonly at: string;

  constructor(message: string, at: string) {
    super(message);
    this.at = at;
  }
}

const DIGITS = /^\d{1,20}$/;
const SIGNED = /^-?\d{1,19}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const whole = (value: unknown): boolean => Number.isSafeInteger(value);
const text = (value: unknown): boolean => typeof value === 'string';

/** By how the value would stand in a column. */
const leaves: Readonly<
  Record<Exclude<ColumnType, 'list'>, { readonly what: string; readonly fits: (value: unknown) => boolean }>
> = {
  bool: { what: 'true or false', fits: (value) => typeof value === 'boolean' },
  int32: { what: 'a whole number', fits: whole },
  uint32: { what: 'a whole number', fits: whole },
  double: { what: 'a number', fits: Number.isFinite },
  uint64: { what: 'decimal digits in a string', fits: (value) => typeof value === 'string' && DIGITS.test(value) },
  int64: { what: 'a decimal number in a string', fits: (value) => typeof value === 'string' && SIGNED.test(value) },
  time: {
    what: 'a time like 2026-01-31T08:15:30.123456789Z',
    fits: (value) => typeof value === 'string' && TIME.test(value) && !Number.isNaN(Date.parse(value)),
  },
  text: { what: 'a text', fits: text },
  // Its buckets are objects, whose fields are looked at.
  histogram: { what: 'a bucket of a histogram', fits: () => false },
};

/** Containers of a recording that are told apart; beyond it the oldest is made anew when it comes again. */
const CONTAINERS = 4096;

/** Makes events of a recording's lines, checked by the schema's types: whoever reads them cannot tell them from live ones. */
export class Reviver {
  readonly #partial: boolean;
  readonly #events: ReadonlyMap<string, Revive>;
  readonly #containers = new Map<string, Container>();

  /** `partial`: a line may lack fields, which are undefined in its event then; null where none is allowed is still an error. */
  constructor(schema: GraphQLSchema, trackers: readonly Recordable[], { partial = false } = {}) {
    this.#partial = partial;
    this.#events = new Map(
      trackers.map(({ name, formerNames }) => [name, this.#objectOf(eventType(schema, name), formerNames)]),
    );
  }

  /** Throws Unfit. */
  event(line: Readonly<Record<string, unknown>>): TraceEvent {
    const tracker = line['tracker'];
    const revive = typeof tracker === 'string' ? this.#events.get(tracker) : undefined;
    if (typeof tracker !== 'string' || !revive)
      throw new Unfit(
        `"tracker" is ${shown(tracker)}, and the recording's first line names ${[...this.#events.keys()].join(', ')}`,
        'tracker',
      );
    return { __typename: eventTypeName(tracker), ...(revive(line, '') as object) } as TraceEvent;
  }

  #objectOf(type: GraphQLObjectType, formerNames: Recordable['formerNames'] = {}): Revive {
    const fields = dataFields(type)
      .filter(({ args }) => args.length === 0)
      .map(({ name, type: of }) => [name, this.#valueOf(of), formerNames[name]] as const);
    return (value, at) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw new Unfit(`${quoted(at)} is ${shown(value)}, not an object`, at);
      const made: Record<string, unknown> = {};
      for (const [name, revive, former] of fields) {
        const known = former === undefined || Object.hasOwn(value, name) ? name : former;
        made[name] = revive(Reflect.get(value, known), at === '' ? name : `${at}.${name}`);
      }
      return made;
    };
  }

  #valueOf(type: GraphQLOutputType): Revive {
    const needed = isNonNullType(type);
    const inner = needed ? type.ofType : type;
    const revive = isListType(inner) ? this.#listOf(inner.ofType) : this.#singleOf(inner);
    return (value, at) => {
      if (value !== null && value !== undefined) return revive(value, at);
      if (this.#partial && value === undefined) return undefined;
      if (needed) throw new Unfit(`${quoted(at)} is missing`, at);
      return null;
    };
  }

  #listOf(element: GraphQLOutputType): Revive {
    const revive = this.#valueOf(element);
    const named = getNamedType(element);
    return (value, at) => {
      if (!Array.isArray(value)) throw new Unfit(`${quoted(at)} is ${shown(value)}, not a list`, at);
      const list = value.map((item, i) => revive(item, `${at}[${i}]`));
      if (!isObjectType(named) || named.name === HISTOGRAM_BUCKET) return list;
      return Object.fromEntries((list as { name: string; value: string }[]).map((label) => [label.name, label.value]));
    };
  }

  #singleOf(type: GraphQLOutputType): Revive {
    if (isObjectType(type)) {
      const revive = this.#objectOf(type);
      return type.name === 'Container' ? (value, at) => this.#container(value, at, revive) : revive;
    }
    const named = getNamedType(type);
    const values = isEnumType(named) ? new Set<unknown>(named.getValues().map(({ name }) => name)) : null;
    const { what, fits } = values
      ? { what: `one of ${[...values].join(', ')}`, fits: (value: unknown) => values.has(value) }
      : leaves[rowOf(named.name).column];
    return (value, at) => {
      if (fits(value)) return value;
      throw new Unfit(`${quoted(at)} is ${shown(value)}, not ${what}`, at);
    };
  }

  /** One object a container for as long as its facts do not change: events share it, as live ones do. */
  #container(value: unknown, at: string, revive: Revive): Container {
    const key = JSON.stringify(value);
    const known = this.#containers.get(key);
    if (known) return known;
    const facts = revive(value, at) as Container & { readonly cgroupId: string | null };
    const cgroupId = facts.cgroupId == null ? null : cgroupIdOf(facts.cgroupId);
    if (cgroupId === null && facts.cgroupId != null)
      throw new Unfit(
        `${quoted(`${at}.cgroupId`)} is ${shown(facts.cgroupId)}, not the id of a cgroup`,
        `${at}.cgroupId`,
      );
    const made = { ...createContainer(facts.id, facts.runtime), ...facts, cgroupId };
    this.#containers.set(key, made);
    if (this.#containers.size > CONTAINERS)
      for (const oldest of this.#containers.keys()) {
        this.#containers.delete(oldest);
        break;
      }
    return made;
  }
}

function quoted(at: string): string {
  return at === '' ? 'the line' : `"${at}"`;
}

export function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 60)}…` : json;
}
