import {
  coerceInputValue,
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isInputType,
  isLeafType,
  isListType,
  isObjectType,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { EunomiaError, invalid, suggest } from '../base/errors.js';
import { dataFields } from '../event/data-field.js';
import type { FieldValue, TraceEvent } from '../event/event.js';
import { sectionsOf, type AnyReportFeed } from '../event/report-feed.js';
import { unitOf, type Unit } from '../event/scalar.js';
import { eventTypeName } from '../base/names.js';
import { lineagePath, lineageValues, type Lineage } from '../event/lineage.js';
import { valueTypeOf, type ValueType } from './value-type.js';
import type { KernelAggregate, TrackerDefinition, TrackerOptions } from '../tracker/define.js';
import { listed } from '../base/listed.js';

export interface CatalogField {
  /** Dotted, as one would select it. */
  readonly path: string;
  /** The GraphQL type, printed. */
  readonly type: string;
  readonly valueType: ValueType;
  readonly description: string;
  readonly unit: Unit | null;
  /** Captured only while someone asks for it. */
  readonly onDemand: boolean;
}

export interface CatalogOption {
  readonly name: string;
  /** The GraphQL type, printed. */
  readonly type: string;
  readonly valueType: ValueType;
  readonly description: string;
  /** As a variable would have it; null when there is none. */
  readonly default: unknown;
}

export interface CatalogTracker {
  readonly name: string;
  readonly summary: string;
  readonly eventType: string;
  readonly minimumKernel: string;
  readonly fields: readonly CatalogField[];
  readonly options: readonly CatalogOption[];
  /** Where its events stand for many happenings, what of them is a total; else null. */
  readonly kernelAggregate: Pick<KernelAggregate, 'count' | 'totals' | 'values'> | null;
  /** Its fields that had another name → that name. */
  readonly formerNames: NonNullable<TrackerDefinition['formerNames']>;
  /** What of an event one line tells: see DetailsTemplate. */
  readonly details: string;
  /** Paths of the fields that a table shows where nobody chose. */
  readonly columns: readonly string[];
  /** Own fields with few different values. */
  readonly indexed: readonly string[];
  /** What sets fields that are null otherwise. */
  readonly optionFor: NonNullable<TrackerDefinition['optionFor']>;
  /** What of its kind it does not see on any kernel. */
  readonly blindSpots: readonly string[];
  /** Of a filter, what its object evaluates. */
  readonly pushed: TrackerDefinition['pushed'];
  /** Fields whose texts are names of a known set. */
  readonly names: NonNullable<TrackerDefinition['names']>;
  /** What its events contribute to behaviour reports. */
  readonly report: AnyReportFeed | null;
  /** The sections that these are counted in. */
  readonly reportSections: readonly string[];
  /** Trackers with which it contributes nothing, since they observe the same. */
  readonly supersededBy: readonly string[];
}

/** Reads a field's value from an event; null when the event has none. */
export type FieldReader = (event: TraceEvent) => FieldValue;

/** What the path of a container's label begins with. */
export const LABELS = 'container.labels.';

/** What the trackers of this build are to a client: joins the schema's types with the definitions. No I/O. */
export class Catalog {
  readonly trackers: readonly CatalogTracker[];
  /** What the composition knows of the processes of events, once it does. Null: nothing. */
  lineage: Lineage | null = null;
  readonly #schema: GraphQLSchema;
  readonly #byName: ReadonlyMap<string, CatalogTracker>;
  readonly #paths: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #inputs: ReadonlyMap<string, GraphQLInputObjectType>;
  readonly #checks: ReadonlyMap<string, TrackerDefinition['check']>;

  /** `onDemand`: whether the kernel captures this field (the first part of its path) of this tracker only on demand. */
  constructor(
    schema: GraphQLSchema,
    definitions: readonly TrackerDefinition[],
    onDemand: (tracker: string, field: string) => boolean,
  ) {
    this.#schema = schema;
    const inputs = definitions.map((definition) => [definition.name, optionsType(schema, definition.name)] as const);
    this.#inputs = new Map(inputs.map(([name, { type }]) => [name, type]));
    this.#checks = new Map(definitions.map(({ name, check }) => [name, check]));
    this.trackers = definitions.map((definition, index) => {
      const { name } = definition;
      const [, options] = inputs[index] ?? [];
      const fields = fieldsOf(eventType(schema, name), (field) => onDemand(name, field));
      const isUsual = (path: string): boolean => !definition.costly?.includes(path);
      const {
        columns = fields
          .filter(isTelling)
          .map(({ path }) => path)
          .filter(isUsual),
      } = definition;
      return {
        name,
        summary: options?.summary ?? '',
        eventType: eventTypeName(name),
        minimumKernel: definition.minimumKernel,
        fields,
        options: options ? optionsOf(options.type) : [],
        kernelAggregate: definition.kernelAggregate ?? null,
        formerNames: definition.formerNames ?? {},
        details: definition.details ?? columns.map((path) => `[{${path}}]`).join(' '),
        columns,
        indexed: definition.indexed ?? [],
        optionFor: definition.optionFor ?? {},
        blindSpots: definition.blindSpots,
        pushed: definition.pushed,
        names: definition.names ?? {},
        report: definition.report ?? null,
        reportSections: definition.report ? sectionsOf[definition.report.feeds] : [],
        supersededBy: definition.report?.supersededBy ?? [],
      };
    });
    this.#byName = new Map(this.trackers.map((tracker) => [tracker.name, tracker]));
    this.#paths = new Map(this.trackers.map(({ name, fields }) => [name, new Set(fields.map(({ path }) => path))]));
  }

  get(name: string): CatalogTracker | undefined {
    return this.#byName.get(name);
  }

  /** The tracker, or an error that names those that come near. `path` is that of the argument that named it. */
  need(name: string, path = 'tracker'): CatalogTracker {
    const tracker = this.#byName.get(name);
    if (tracker) return tracker;
    const known = [...this.#byName.keys()];
    throw new EunomiaError(
      'UNKNOWN_TRACKER',
      `${path}: there is no tracker "${name}"${suggest(name, known)}; there are ${known.join(', ')}`,
      {
        details: { argument: path, tracker: name, known },
      },
    );
  }

  /** Throws unless an event of one of these trackers has the field. `path` is that of the argument that named it. */
  checkField(path: string, trackers: readonly string[], argumentPath = 'field'): void {
    if (path.startsWith(LABELS) && path.length > LABELS.length) return;
    if (trackers.some((name) => this.#paths.get(name)?.has(path))) return;
    const known = new Set(trackers.flatMap((name) => [...(this.#paths.get(name) ?? [])]));
    const inside = [...known].filter((candidate) => candidate.startsWith(`${path}.`));
    if (inside.length > 0 || path === 'container.labels') {
      const example = inside[0] ?? 'container.labels.NAME';
      throw invalid(argumentPath, `"${path}" is not a single value; name one inside it, for example "${example}"`, {
        field: path,
      });
    }
    const elsewhere = this.trackers.filter(({ name }) => this.#paths.get(name)?.has(path)).map(({ name }) => name);
    const hint = elsewhere.length > 0 ? `; ${listed(elsewhere)} would` : suggest(path, known);
    const events = trackers.length === this.trackers.length ? 'no event' : `no event of ${trackers.join(', ')}`;
    throw invalid(argumentPath, `${events} has the field "${path}"${hint}`, { field: path });
  }

  /** As `checkField`, where what the table of processes has can be read too: in aggregates. */
  checkValue(path: string, trackers: readonly string[], argumentPath = 'field'): void {
    this.checkPath(path, trackers, argumentPath);
    const problem = lineagePath(path) === null ? null : (this.lineage?.problem ?? null);
    if (problem !== null)
      throw invalid(argumentPath, `"${path}" comes from the table of processes, and there is none: ${problem}`, {
        field: path,
      });
  }

  /** The same, whether or not there is a table. */
  checkPath(path: string, trackers: readonly string[], argumentPath: string): void {
    const inside = lineagePath(path);
    if (inside === null) return this.checkField(path, trackers, argumentPath);
    if (!lineageValues.has(path)) {
      const what =
        inside === 'parent' || inside.startsWith('ancestors') ? 'is not a single value' : 'is no value of it';
      const near = suggest(path, lineageValues.keys());
      throw invalid(argumentPath, `"${path}" ${what}; name one, for example "process.parent.comm"${near}`, {
        field: path,
      });
    }
  }

  /** The type, printed, of such a value, or of a field of a tracker's events; undefined where there is none. */
  typeOf(path: string, tracker: string): string | undefined {
    const name = lineageValues.get(path);
    const process = name === undefined ? undefined : this.#schema.getType('Process');
    if (name !== undefined && isObjectType(process)) return String(process.getFields()[name]?.type);
    return this.need(tracker).fields.find((field) => field.path === path)?.type;
  }

  /** A coerced value of an input type of the schema as JSON, as a client would send it. What is undefined is left out. */
  written(type: string, value: unknown): unknown {
    const input = this.#schema.getType(type);
    if (!isInputType(input)) throw new EunomiaError('BAD_SCHEMA', `the schema has no input type ${type}`);
    return writtenAs(value, input);
  }

  /**
   * Throws BAD_USER_INPUT for options, of the right types, that the tracker itself refuses or that select nothing.
   * `path` is theirs.
   */
  check(tracker: string, options: TrackerOptions, path = tracker): void {
    this.#checks.get(tracker)?.(options, path);
    // An empty list is neither all nor a session that sees nothing: whoever sent one made a mistake.
    for (const { name, type } of Object.values(this.#inputs.get(tracker)?.getFields() ?? {})) {
      const given = options[name];
      if (!Array.isArray(given) || given.length > 0) continue;
      const of = getNamedType(type);
      const example = isEnumType(of) ? `, for example [${of.getValues()[0]?.name}]` : '';
      throw invalid(`${path}.${name}`, `is empty; leave it out, or give at least one${example}`);
    }
  }

  /** Coerces options as the schema would: defaults filled in. Throws for an unknown option or a value of the wrong type. */
  checkOptions(tracker: string, options: Readonly<Record<string, unknown>>, argumentPath = tracker): TrackerOptions {
    this.need(tracker, argumentPath);
    const type = this.#inputs.get(tracker);
    if (!type) return options;
    const coerced: unknown = coerceInputValue(options, type, (path, _value, error) => {
      throw invalid([argumentPath, ...path].join('.'), error.message.replace(/ by type "\w+"/, ''));
    });
    this.check(tracker, coerced as TrackerOptions, argumentPath);
    return coerced as TrackerOptions;
  }
}

/** Compiles a path, checked before by `Catalog.checkField` or `checkValue`, into a reader for aggregates and tables. */
export function compileField(path: string, lineage: Lineage | null = null): FieldReader {
  const inside = lineagePath(path);
  if (inside !== null) {
    const ofParent = inside.startsWith('parent.');
    const name = ofParent ? inside.slice('parent.'.length) : inside;
    return (event) => {
      const process = lineage?.of(event) ?? null;
      const of = ofParent ? process?.parent : process;
      return of ? valueAt(of, name) : null;
    };
  }
  if (path.startsWith(LABELS)) {
    const label = path.slice(LABELS.length);
    return ({ container }) => {
      const labels: unknown = container && Reflect.get(container, 'labels');
      return typeof labels === 'object' && labels !== null && Object.hasOwn(labels, label)
        ? valueAt(labels, label)
        : null;
    };
  }
  const [first = path, second] = path.split('.');
  if (second === undefined) return (event) => valueAt(event, first);
  return (event) => {
    const inner: unknown = Reflect.get(event, first);
    return typeof inner === 'object' && inner !== null ? valueAt(inner, second) : null;
  };
}

function writtenAs(value: unknown, type: GraphQLInputType): unknown {
  const inner = getNullableType(type) as GraphQLInputType;
  if (value === undefined || value === null) return value;
  if (isListType(inner)) {
    const item = inner.ofType as GraphQLInputType;
    return Array.isArray(value) ? value.map((one) => writtenAs(one, item)) : [writtenAs(value, item)];
  }
  if (isLeafType(inner)) return inner.serialize(value);
  if (!isInputObjectType(inner)) return value;
  return Object.fromEntries(
    Object.values(inner.getFields())
      .map((field) => [field.name, writtenAs(Reflect.get(value, field.name), field.type)] as const)
      .filter(([, written]) => written !== undefined),
  );
}

function valueAt(object: object, key: string): FieldValue {
  const value = Reflect.get(object, key) as FieldValue | undefined;
  return value ?? null;
}

function eventType(schema: GraphQLSchema, tracker: string): GraphQLObjectType {
  const type = schema.getType(eventTypeName(tracker));
  if (isObjectType(type)) return type;
  throw new EunomiaError('BAD_TRACKER', `tracker ${tracker}: schema.graphql has no type ${eventTypeName(tracker)}`);
}

/** A tracker's options, and what the contract says of the tracker. */
function optionsType(
  schema: GraphQLSchema,
  tracker: string,
): { readonly type: GraphQLInputObjectType; readonly summary: string } {
  const input = schema.getType('TrackerInput');
  const field = isInputObjectType(input) ? input.getFields()[tracker] : undefined;
  const type = field && getNamedType(field.type);
  if (isInputObjectType(type)) return { type, summary: field?.description ?? '' };
  throw new EunomiaError(
    'BAD_TRACKER',
    `tracker ${tracker}: schema.graphql has no field \`${tracker}\` in TrackerInput with an input type`,
  );
}

function fieldsOf(type: GraphQLObjectType, onDemand: (field: string) => boolean): CatalogField[] {
  return dataFields(type).flatMap((field) => {
    const inner = getNullableType(field.type);
    const costly = (): boolean => onDemand(field.name);
    const common = type.getInterfaces().flatMap((known) => known.getFields()[field.name] ?? [])[0];
    const description = field.description ?? common?.description ?? '';
    if (!isObjectType(inner)) return [described(field.name, field.type, description, costly)];
    return dataFields(inner)
      .filter((below) => below.args.length === 0 && isValue(below.type))
      .map((below) => described(`${field.name}.${below.name}`, below.type, below.description ?? '', costly));
  });
}

function described(path: string, type: GraphQLOutputType, description: string, onDemand: () => boolean): CatalogField {
  return {
    path,
    type: String(type),
    valueType: valueTypeOf(type),
    description,
    unit: unitOf(path),
    // Reads the tracker's object: when somebody asks.
    get onDemand() {
      return onDemand();
    },
  };
}

/** A field of the tracker's own that says something by itself: no flag and no namespace. */
function isTelling({ path, type }: CatalogField): boolean {
  return !isShared(path) && !type.startsWith('Boolean') && !/^(pid|net|mount|user|ipc|uts|cgroup)Ns$/.test(path);
}

/** Whether events of all trackers have the field. */
export function isShared(path: string): boolean {
  return /^(tracker|time|bootNs|cgroupId|process\..*|container\..*)$/.test(path);
}

function isValue(type: GraphQLOutputType): boolean {
  const inner = getNullableType(type);
  return isLeafType(isListType(inner) ? getNullableType(inner.ofType) : inner);
}

function optionsOf(type: GraphQLInputObjectType): CatalogOption[] {
  return Object.values(type.getFields()).map((field) => ({
    name: field.name,
    type: String(field.type),
    valueType: valueTypeOf(field.type),
    description: field.description ?? '',
    default: writtenAs(field.defaultValue ?? null, field.type),
  }));
}
