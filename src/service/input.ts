import { bytesOfText, textOfBytes } from '../base/bytes.js';
import { formatDuration } from '../base/duration.js';
import { EunomiaError, invalid } from '../base/errors.js';
import { sessionFilterOf, writtenOut, type FilterFields } from '../filter/index.js';
import type { CaptureMode } from '../event/event.js';
import type {
  InputMaybe,
  LabelInput,
  PersistInput,
  StartSessionInput,
  TargetInput,
  TrackerInput,
  UpdateSessionInput,
} from '../generated/schema.js';
import type { Asked, AskedInput } from '../session/asked.js';
import type { SessionSpec, TargetSpec } from '../session/spec.js';
import type { Catalog } from '../catalog/catalog.js';
import { DAYS_30, inRange, listInRange, spanInRange, textInRange } from './check.js';

const KIB = 1024;
const GIB = 1024 ** 3;
const MIN_RING = 64 * KIB;
const MAX_RING = 256 * KIB ** 2;
const MAX_TRACKERS = 16;
const MAX_LABELS = 32;
/** Each is kept with the session. */
const MAX_CHANGES = 100;
// The kernel's maps hold this many of each kind; more is a mistake of a program.
const MAX_TARGETS = 1024;
const MAX_COMM_BYTES = 15;

/** What `trace` adds to its input. */
export interface TraceLimits {
  readonly forMs: number | null;
  readonly ttlMs: number | null;
  readonly limit: number | null;
  readonly capture: CaptureMode;
  /** The fields that the request selects. */
  readonly fields: readonly string[];
}

/** Checks all that the schema's types cannot say, and makes the specification of a session. Throws BAD_USER_INPUT. */
export function sessionSpec(
  input: StartSessionInput,
  catalog: Catalog,
  filters: FilterFields,
  trace?: TraceLimits,
): SessionSpec {
  const forMs = input.for == null ? null : spanInRange('input.for', input.for, 10, DAYS_30);
  const ttlMs = input.ttl == null ? null : spanInRange('input.ttl', input.ttl, 1000, DAYS_30);
  const trackers = trackersOf(input.trackers, catalog);
  const spec = {
    trackers,
    target: input.target == null ? null : targetOf(input.target),
    where: sessionFilterOf(
      input.where,
      filters,
      trackers.map(({ name }) => catalog.need(name)),
      'input.where',
    ),
    capture: trace?.capture ?? input.capture ?? 'DEFAULT',
    fields:
      trace?.fields ??
      fieldsOf(
        input.fields,
        trackers.map(({ name }) => name),
        catalog,
      ),
    forMs: trace?.forMs ?? forMs,
    name: input.name == null ? null : textInRange('input.name', input.name, 100),
    labels: labelsOf(input.labels),
    ttlMs: ttlMs ?? trace?.ttlMs ?? null,
    bufferBytes: inRange('input.bufferBytes', input.bufferBytes ?? 32 * KIB ** 2, 64 * KIB, GIB, 'bytes'),
    ringBytes: ringBytes(input.ringBytes ?? 16 * KIB ** 2),
    limit: trace?.limit ?? null,
    persist: input.persist == null ? null : persistOf(input.persist),
  } satisfies Omit<SessionSpec, 'asked'>;
  return { ...spec, asked: askedOf(input, spec, catalog, filters) };
}

/** Of what a client may change, what it has given: null where it removes something. */
export type Update = { readonly [Field in keyof UpdateSessionInput]: UpdateSessionInput[Field] };

/**
 * Another specification of a running session. What is not given stays the same object. `passedMs`: for how long it has run. Throws
 * BAD_USER_INPUT.
 */
export function updatedSpec(
  before: SessionSpec,
  given: Update,
  {
    catalog,
    filters,
    passedMs,
  }: { readonly catalog: Catalog; readonly filters: FilterFields; readonly passedMs: number },
): SessionSpec {
  const update = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Update;
  const { asked } = before;
  if (!asked)
    throw new EunomiaError('NOT_RUNNING', 'what the session was asked for is not known, so that it cannot be changed');
  if (Object.keys(update).length === 0)
    throw invalid('input', 'is empty; give at least one field to change, for example { name: "web" }');
  if ((asked.changes?.length ?? 0) >= MAX_CHANGES)
    throw invalid('input', `the session was changed ${MAX_CHANGES} times, which is the most; start another one`);
  if (update.capture === null)
    throw invalid('input.capture', 'is null; give DEFAULT, DEMANDED or ALL, or leave it out');
  const names = before.trackers.map(({ name }) => name);
  const has = (field: keyof Update): boolean => Object.hasOwn(update, field);
  const forMs = has('for')
    ? update.for == null
      ? null
      : spanInRange('input.for', update.for, 10, DAYS_30)
    : before.forMs;
  if (has('for') && forMs !== null && forMs <= passedMs)
    throw invalid(
      'input.for',
      `"${formatDuration(forMs)}" has passed: the session has run for ${formatDuration(Math.round(passedMs))}; give more, or stop it`,
    );
  // What plugins read besides what the client has asked for.
  const others = before.fields.filter((field) => !asked.input.fields.includes(field));
  const fields = has('fields') ? fieldsOf(update.fields, names, catalog) : asked.input.fields;
  const spec: SessionSpec = {
    ...before,
    target: has('target') ? (update.target == null ? null : targetOf(update.target)) : before.target,
    where: has('where')
      ? sessionFilterOf(
          update.where,
          filters,
          before.trackers.map(({ name }) => catalog.need(name)),
          'input.where',
        )
      : before.where,
    capture: update.capture ?? before.capture,
    fields: has('fields') ? [...new Set([...fields, ...others])] : before.fields,
    forMs,
    name: has('name') ? (update.name == null ? null : textInRange('input.name', update.name, 100)) : before.name,
    labels: has('labels') ? labelsOf(update.labels) : before.labels,
    persist: has('persist') ? changedPersist(before.persist, update.persist) : before.persist,
  };
  const written = catalog.written('UpdateSessionInput', update) as Partial<AskedInput>;
  const { labels, capture, persist } = spec;
  const input = withoutNames({ ...asked.input, ...written, fields, labels, capture, persist }, filters);
  return { ...spec, asked: { ...asked, input, where: spec.where?.text ?? null } };
}

/** What can be read back of a session, and started again. */
function askedOf(
  input: StartSessionInput,
  spec: Omit<SessionSpec, 'asked'>,
  catalog: Catalog,
  filters: FilterFields,
): Asked {
  const { capture, fields, forMs, labels, ttlMs, bufferBytes, ringBytes, persist } = spec;
  const plugins = (input.plugins ?? []).map(({ restart, ...plugin }) => ({ ...plugin, restart: restart ?? 'NEVER' }));
  const whole = { ...input, capture, fields, for: forMs, labels, ttl: ttlMs, bufferBytes, ringBytes, persist, plugins };
  return {
    input: withoutNames(catalog.written('StartSessionInput', whole) as AskedInput, filters),
    where: spec.where?.text ?? null,
    limit: spec.limit,
  };
}

/** What saved filters are now: they may be others when the input is read. */
function withoutNames(input: AskedInput, filters: FilterFields): AskedInput {
  return input.where == null
    ? input
    : { ...input, where: writtenOut(input.where, filters, 'input.where') as AskedInput['where'] };
}

function persistOf({ store, mode }: PersistInput): SessionSpec['persist'] {
  const kind = store ?? 'EMBEDDED';
  if (kind === 'EMBEDDED' && mode === 'ROLLUP')
    throw invalid('input.persist.mode', 'the embedded store writes each event; give EVENTS, or leave it out');
  return { store: kind, mode: mode ?? (kind === 'EMBEDDED' ? 'EVENTS' : 'ROLLUP') };
}

/** The same object where it is the same. */
function changedPersist(
  before: SessionSpec['persist'],
  given: InputMaybe<PersistInput> | undefined,
): SessionSpec['persist'] {
  const after = given == null ? null : persistOf(given);
  return before && after?.store === before.store && after.mode === before.mode ? before : after;
}

/** Only a tracker's own fields can cost something; others are there anyway. */
function fieldsOf(
  fields: InputMaybe<readonly string[]> | undefined,
  names: readonly string[],
  catalog: Catalog,
): readonly string[] {
  fields?.forEach((path, index) => catalog.checkField(path, names, `input.fields[${index}]`));
  return fields ?? [];
}

function ringBytes(bytes: number): number {
  inRange('input.ringBytes', bytes, MIN_RING, MAX_RING, 'bytes');
  if ((bytes & (bytes - 1)) === 0) return bytes;
  const below = 2 ** Math.floor(Math.log2(bytes));
  throw invalid('input.ringBytes', `${bytes} is not a power of two; the next ones are ${below} and ${below * 2}`, {
    value: bytes,
  });
}

function trackersOf(trackers: readonly TrackerInput[], catalog: Catalog): SessionSpec['trackers'] {
  const known = catalog.trackers.map(({ name }) => name).join(', ');
  if (trackers.length === 0)
    throw invalid(
      'input.trackers',
      `is empty; name one to ${MAX_TRACKERS}, for example [{ exec: {} }]; there are ${known}`,
    );
  if (trackers.length > MAX_TRACKERS)
    throw invalid('input.trackers', `has ${trackers.length} entries; at most ${MAX_TRACKERS} are allowed`);
  const seen = new Map<string, number>();
  return trackers.map((entry, index) => {
    const where = `input.trackers[${index}]`;
    const given = Object.entries(entry).filter(([, options]) => options !== undefined);
    const [first, second] = given;
    // @oneOf says so too, but not every executor and no caller inside the process enforces it.
    if (!first || second || first[1] === null) {
      const names = given.map(([name, options]) => (options === null ? `${name}: null` : name)).join(', ');
      throw invalid(
        where,
        `needs exactly one tracker, for example { exec: {} }; it has ${names || 'none'}; there are ${known}`,
      );
    }
    const [name, options] = first;
    catalog.need(name, where);
    const before = seen.get(name);
    if (before !== undefined)
      throw invalid(
        where,
        `"${name}" is there already, in input.trackers[${before}]; a session has each tracker at most once`,
      );
    seen.set(name, index);
    catalog.check(name, options as SessionSpec['trackers'][number]['options'], `${where}.${name}`);
    return { name, options: { ...(options as Readonly<Record<string, unknown>>) } };
  });
}

function targetOf(target: TargetInput): TargetSpec {
  const where = 'input.target';
  const list = <Item>(
    name: string,
    items: InputMaybe<readonly Item[]> | undefined,
    example: string,
    check?: (at: string, item: Item) => void,
  ): readonly Item[] => {
    if (items == null) return [];
    listInRange(`${where}.${name}`, items, MAX_TARGETS, example);
    items.forEach((item, index) => check?.(`${where}.${name}[${index}]`, item));
    return items;
  };
  if (target.waitForContainers && target.containers == null)
    throw invalid(`${where}.waitForContainers`, 'waits for `containers`; name some, or leave it out');
  if (target.descendants === false && target.pids == null)
    throw invalid(`${where}.descendants`, 'belongs to `pids`; name some, or leave it out');
  return {
    containers: list('containers', target.containers, '[{ name: "web-*" }]', checkSelector),
    waitForContainers: target.waitForContainers ?? false,
    cgroups: list('cgroups', target.cgroups, '["4242"]', (at, id) =>
      inRange(at, Number(id), 1, Number.MAX_SAFE_INTEGER),
    ).map(Number),
    pids: list('pids', target.pids, '[4242]', (at, pid) => inRange(at, pid, 1, 2 ** 22)),
    descendants: target.descendants ?? true,
    uids: list('uids', target.uids, '[1000]', (at, uid) => inRange(at, uid, 0, 2 ** 32 - 1)),
    comms: list('comms', target.comms, '["nginx"]', checkComm),
  };
}

type Selector = NonNullable<TargetInput['containers']>[number];

/** What a field may hold, the registry checks when it compiles the selector. */
function checkSelector(path: string, { name, id, image, labels }: Selector): void {
  if (name == null && id == null && image == null && labels == null) {
    throw invalid(path, 'is empty; give at least one of name, id, image and labels, for example { name: "web-*" }');
  }
}

function checkComm(path: string, comm: string): void {
  const name = bytesOfText(comm);
  if (!name)
    throw invalid(
      path,
      `${JSON.stringify(comm)} is the name of no thread: a byte that is no UTF-8 is written as \\xff, all else as itself`,
    );
  const bytes = name.length;
  if (bytes === 0) throw invalid(path, 'is empty; give a thread name, for example "nginx"');
  if (bytes > MAX_COMM_BYTES) {
    const cut = textOfBytes(name, 0, MAX_COMM_BYTES);
    throw invalid(
      path,
      `"${comm}" has ${bytes} bytes; the kernel keeps ${MAX_COMM_BYTES} of a thread's name: "${cut}"`,
      { max: MAX_COMM_BYTES },
    );
  }
  if (comm.includes('\0')) throw invalid(path, 'contains a NUL character; a thread name has none');
}

function labelsOf(labels: InputMaybe<readonly LabelInput[]> | undefined): readonly LabelInput[] {
  if (labels == null) return [];
  if (labels.length > MAX_LABELS)
    throw invalid('input.labels', `has ${labels.length} labels; at most ${MAX_LABELS} are allowed`, {
      max: MAX_LABELS,
    });
  return labels.map(({ name, value }, index) => {
    textInRange(`input.labels[${index}].name`, name, 100);
    const first = labels.findIndex((label) => label.name === name);
    if (first < index)
      throw invalid(
        `input.labels[${index}].name`,
        `is "${name}", as input.labels[${first}].name is; give each label once`,
      );
    if (value.length > 1000)
      throw invalid(`input.labels[${index}].value`, `has ${value.length} characters; at most 1000 are allowed`, {
        max: 1000,
      });
    return { name, value };
  });
}
