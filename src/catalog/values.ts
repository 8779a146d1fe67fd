import type { Bucket, FieldValue, TraceEvent } from '../event/event.js';
import type { Unit } from '../event/scalar.js';
import { textOf } from '../event/value-text.js';
import { compileField, LABELS, type Catalog, type FieldReader } from './catalog.js';
import { valueTypeOf, type ValueType } from './value-type.js';
import { GraphQLString } from 'graphql';

/** What one field is in the events of one tracker. `type` and `read` are null where they have none of this name. */
interface Asked {
  readonly field: string;
  readonly type: ValueType | null;
  readonly unit: Unit | null;
  readonly read: FieldReader | null;
}

/** The schema's `EventValue`. */
export class EventValue {
  readonly #asked: Asked;
  readonly json: FieldValue;

  constructor(asked: Asked, event: TraceEvent) {
    this.#asked = asked;
    this.json = asked.read?.(event) ?? null;
  }

  get field(): string {
    return this.#asked.field;
  }

  get type(): ValueType | null {
    return this.#asked.type;
  }

  get unit(): Unit | null {
    return this.#asked.unit;
  }

  get text(): string | null {
    return textOf(this.json);
  }

  get number(): number | null {
    const { type } = this.#asked;
    if (this.json === null || typeof this.json === 'object') return null;
    return type?.kind === 'INTEGER' || type?.kind === 'NUMBER' ? Number(this.json) : null;
  }

  get list(): readonly string[] | null {
    return this.#asked.type?.list ? (this.json as readonly string[] | null) : null;
  }

  get buckets(): readonly Bucket[] | null {
    return this.#asked.type?.kind === 'HISTOGRAM' ? (this.json as readonly Bucket[] | null) : null;
  }
}

const label = valueTypeOf(GraphQLString);

/** Reads fields that are named at run time from events of any tracker. */
export class ValueReader {
  readonly #catalog: Catalog;
  readonly #fields: readonly string[];
  /** Made when the first event of the tracker is read: few of all trackers are in one session. */
  readonly #byTracker = new Map<string, readonly Asked[]>();

  /** Throws BAD_USER_INPUT for a name that no tracker's events have. `path` is that of the argument. */
  constructor(catalog: Catalog, fields: readonly string[], path = 'fields') {
    const names = catalog.trackers.map(({ name }) => name);
    fields.forEach((field, index) => catalog.checkField(field, names, `${path}[${index}]`));
    this.#catalog = catalog;
    this.#fields = fields;
  }

  /** In the order of the fields. */
  of(event: TraceEvent): readonly EventValue[] {
    return this.#askedOf(event.tracker).map((asked) => new EventValue(asked, event));
  }

  #askedOf(tracker: string): readonly Asked[] {
    const known = this.#byTracker.get(tracker);
    if (known) return known;
    const own = new Map((this.#catalog.get(tracker)?.fields ?? []).map((field) => [field.path, field]));
    const made = this.#fields.map((field): Asked => {
      const { valueType: type = null, unit = null } = own.get(field) ?? {};
      if (type) return { field, type, unit, read: compileField(field) };
      if (field.startsWith(LABELS)) return { field, type: label, unit: null, read: compileField(field) };
      return { field, type: null, unit: null, read: null };
    });
    this.#byTracker.set(tracker, made);
    return made;
  }
}
