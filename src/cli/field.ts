import { invalid, suggest } from '../base/errors.js';
import type { Client } from '../client/client.js';
import { lineageValues } from '../event/lineage.js';
import { fieldType } from '../event/scalar.js';
import { cellOf } from './format.js';
import { UsageError } from './usage.js';

/** What `Query.trackers` tells of a tracker and its events. */
export interface TrackerInfo {
  readonly name: string;
  readonly eventType: string;
  /** A template: DetailsTemplate. */
  readonly details: string;
  readonly columns: readonly string[];
  readonly options: readonly {
    readonly name: string;
    /** `values`: of an enumeration. */
    readonly type: { readonly name: string; readonly values?: readonly { readonly name: string }[] | null };
  }[];
  readonly fields: readonly { readonly path: string; readonly type: { readonly name: string } }[];
}

const trackerFields =
  'name eventType details columns options { name type { name values { name } } } fields { path type { name } }';

/** These trackers, each once, in this order. One that the server has not is a UsageError. `fields`: a selection of Query.trackers. */
export async function describeTrackers<Info = TrackerInfo>(
  client: Client,
  names: readonly string[],
  fields = trackerFields,
): Promise<readonly Info[]> {
  const chosen = [...new Set(names)];
  // Those alone: of all thirty, it takes the server longer than to start a session. And few at once: a server limits the cost of a query.
  const groups = Array.from({ length: Math.ceil(chosen.length / AT_ONCE) }, (_, i) =>
    chosen.slice(i * AT_ONCE, (i + 1) * AT_ONCE),
  );
  const found = await Promise.all(groups.map((group) => describeFew<Info>(client, group, fields)));
  return found.flat();
}

/** What these cost together, with all that is selected of each, is less than the limit that a server has by default. */
const AT_ONCE = 4;

async function describeFew<Info>(client: Client, names: readonly string[], fields: string): Promise<readonly Info[]> {
  const variables = names.map((_name, i) => `$name${i}: String`).join(' ');
  const parts = names.map((_name, i) => `tracker${i}: trackers(name: $name${i}) { ${fields} }`);
  const { all, ...found } = await client.query<
    { all: readonly { readonly name: string }[] } & Record<string, readonly Info[]>
  >(
    `query Trackers(${variables}) { all: trackers { name } ${parts.join(' ')} }`,
    Object.fromEntries(names.map((name, i) => [`name${i}`, name])),
  );
  const known = all.map(({ name }) => name);
  return names.map((name, i) => {
    const [tracker] = found[`tracker${i}`] ?? [];
    if (!tracker)
      throw new UsageError(
        `no tracker ${JSON.stringify(name)}${suggest(name, known) || `; there are ${known.join(', ')}`}`,
      );
    return tracker;
  });
}

/** An event as the server sent it. */
export type EventFields = Readonly<Record<string, unknown>>;

/** A field that was chosen: its path as the user wrote it, and the keys that lead to it. */
export interface FieldColumn {
  readonly path: string;
  readonly keys: readonly string[];
}

const labels = 'container.labels.';

/** "container.labels.com.example" has three keys: a label's name may hold dots. */
export function columnOf(path: string): FieldColumn {
  if (path.startsWith(labels)) return { path, keys: ['container', 'labels', path.slice(labels.length)] };
  return { path, keys: path.split('.') };
}

/** The columns that `--fields` names; "process" stands for all of its fields. A name that no tracker has is a UsageError. */
export function chosenColumns(trackers: readonly TrackerInfo[], paths: readonly string[]): readonly FieldColumn[] {
  const known = knownPaths(trackers);
  const chosen = paths.flatMap((given) => {
    const path = wholePath(given, known);
    if (known.has(path) || isLabel(path)) return [path];
    const below = [...known].filter((field) => field.startsWith(`${path}.`));
    if (below.length) return below;
    throw new UsageError(`--fields: ${unknownField(path, known, trackers)}`);
  });
  return [...new Set(chosen)].map(columnOf);
}

interface WithPaths {
  readonly fields: readonly { readonly path: string }[];
}

export function knownPaths(trackers: readonly WithPaths[]): ReadonlySet<string> {
  return new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)));
}

/** What filters and groups can name: the table of processes has more of a process than its events. */
export function readablePaths(trackers: readonly WithPaths[]): ReadonlySet<string> {
  return new Set([...knownPaths(trackers), ...lineageValues.keys(), 'process.ancestors']);
}

/** Those of these trackers. */
export async function pathsOf(client: Client, trackers: readonly string[]): Promise<ReadonlySet<string>> {
  return readablePaths(await describeTrackers<WithPaths>(client, trackers, 'name fields { path }'));
}

export async function allTrackers(client: Client): Promise<readonly string[]> {
  const { trackers } = await client.query<{ trackers: readonly { readonly name: string }[] }>('{ trackers { name } }');
  return trackers.map(({ name }) => name);
}

/** Those of the trackers of a session; none where there is no such session. */
export async function pathsOfSession(client: Client, id: string): Promise<ReadonlySet<string>> {
  const { session } = await client.query<{ session: { readonly trackers: readonly string[] } | null }>(
    'query Recorded($id: ID!) { session(id: $id) { trackers } }',
    { id },
  );
  return pathsOf(client, session?.trackers ?? []);
}

/**
 * Where people leave out what is plain: `pid` is `process.pid`, `image` is `container.image`, `labels.tier` is `container.labels.tier`,
 * unless events have a field of that name.
 */
export function wholePath(given: string, known: ReadonlySet<string>): string {
  const paths = [given, ...parents.map((parent) => `${parent}${given}`)];
  // No tracker lists the labels: any name may be one.
  const isLabel = `container.${given}.`.startsWith(labels) && known.has('container.name');
  return paths.find((path) => known.has(path)) ?? (isLabel ? `container.${given}` : given);
}

/** The fields that a flag names for this argument of an aggregate. A name that no tracker has is BAD_USER_INPUT. */
export function countedPaths(
  argument: string,
  given: readonly string[],
  trackers: readonly TrackerInfo[],
): readonly string[] {
  const known = readablePaths(trackers);
  return given.map((name) => {
    const path = wholePath(name, known);
    if (known.has(path) || isLabel(path)) return path;
    throw invalid(argument, unknownField(name, known, trackers));
  });
}

function isLabel(path: string): boolean {
  return path.startsWith(labels) && path.length > labels.length;
}

function unknownField(name: string, known: ReadonlySet<string>, trackers: readonly TrackerInfo[]): string {
  const near = suggest(name, [...known, ...shortNames(known)]) || `; there are ${[...known].join(', ')}`;
  return `no field ${JSON.stringify(name)} in ${trackers.map((tracker) => tracker.name).join(', ')}${near}`;
}

const parents = ['process.', 'container.'];

/**
 * Headers of a table's columns: short names that lead to the same fields, each once, and "container" for its name. Others have the whole
 * path.
 */
export function headersOf(paths: readonly string[], known: ReadonlySet<string>): readonly string[] {
  const names = paths.map((path) => {
    const parent = parents.find((each) => path.startsWith(each));
    if (path === 'container.name') return 'container';
    const short = path.slice(parent?.length ?? 0);
    return wholePath(short, known) === path ? short : path;
  });
  return names.map((name, i) => (names.filter((each) => each === name).length > 1 ? (paths[i] ?? name) : name));
}

/** What `wholePath` knows besides the paths themselves. */
function shortNames(known: ReadonlySet<string>): readonly string[] {
  return [...known].flatMap((path) => {
    const parent = parents.find((each) => path.startsWith(each));
    return parent === undefined ? [] : [path.slice(parent.length)];
  });
}

export function allColumns(trackers: readonly TrackerInfo[]): readonly FieldColumn[] {
  return [...new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)))].map(columnOf);
}

/** A field in the tree of a selection. */
interface Node {
  readonly key: string;
  /** The response key: two trackers may have fields of one name and different types, which GraphQL does not merge. */
  readonly alias: string;
  readonly children: Map<string, Node>;
  /** `container.labels`: all labels, or by name. */
  readonly labels: boolean;
  /** A histogram: its buckets. */
  readonly buckets: boolean;
}

/** What is selected of one tracker's events, and how to read it from an event. */
export interface Selection {
  /** The fragment for `events { … }`. */
  readonly fragment: string;
  /** The event as nested objects, with just the chosen fields that this tracker has. */
  read(event: EventFields): Record<string, unknown>;
}

export function selectionOf(
  tracker: TrackerInfo,
  columns: readonly FieldColumn[],
  others: readonly TrackerInfo[],
): Selection {
  const types = new Map(tracker.fields.map(({ path, type }) => [path, type.name]));
  const tree = new Map<string, Node>();
  for (const { path, keys } of columns) {
    const isLabel = path.startsWith(labels);
    if (!isLabel && !types.has(path)) continue;
    const clashes = others.some(({ fields }) =>
      fields.some((field) => field.path === path && field.type.name !== types.get(path)),
    );
    let level = tree;
    keys.forEach((key, i) => {
      const leaf = i === keys.length - 1;
      const node: Node = level.get(key) ?? {
        key,
        alias: leaf && clashes && !isLabel ? `${tracker.name}_${key}` : key,
        children: new Map(),
        labels: key === 'labels' && keys[0] === 'container',
        buckets: leaf && fieldType(types.get(path) ?? '').column === 'histogram',
      };
      level.set(key, node);
      level = node.children;
    });
  }
  return {
    fragment: `... on ${tracker.eventType} { ${print(tree) || '__typename'} }`,
    read: (event) => pick(event, tree),
  };
}

function print(tree: ReadonlyMap<string, Node>): string {
  return [...tree.values()]
    .map(({ key, alias, children, labels: isLabels, buckets }) => {
      const name = alias === key ? key : `${alias}: ${key}`;
      if (buckets) return `${name} { from to count }`;
      if (isLabels) return `${name} { name value }`;
      return children.size ? `${name} { ${print(children)} }` : name;
    })
    .join(' ');
}

function pick(source: EventFields, tree: ReadonlyMap<string, Node>): Record<string, unknown> {
  const picked: Record<string, unknown> = {};
  for (const { key, alias, children, labels: isLabels } of tree.values()) {
    const value = source[alias];
    if (!isRecord(value) && !Array.isArray(value)) picked[key] = value ?? null;
    else if (isLabels && Array.isArray(value) && children.size) picked[key] = labelsNamed([...children.keys()], value);
    else picked[key] = children.size && isRecord(value) ? pick(value, children) : value;
  }
  return picked;
}

function labelsNamed(names: readonly string[], list: readonly unknown[]): Record<string, unknown> {
  const values = new Map(list.filter(isRecord).map(({ name, value }) => [name, value]));
  return Object.fromEntries(names.map((name) => [name, values.get(name) ?? null]));
}

/** The value at a column of a picked event; undefined where its tracker has no such field. */
export function valueAt(event: EventFields, { keys }: FieldColumn): unknown {
  let value: unknown = event;
  for (const key of keys) {
    if (!isRecord(value)) return undefined;
    value = value[key];
  }
  return value;
}

/** For people: of the time just its clock, in UTC. */
export function textAt(event: EventFields, column: FieldColumn): string {
  const value = valueAt(event, column);
  const clock =
    column.path === 'time' && typeof value === 'string' ? /T(\d\d:\d\d:\d\d\.\d{3})\d*Z$/.exec(value)?.[1] : undefined;
  return clock === undefined ? cellOf(value) : `${clock}Z`;
}

function isRecord(value: unknown): value is EventFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
