import { sha256 } from '../base/hash.js';
import { compileField, type Catalog } from '../catalog/catalog.js';
import { nanosecondsSince1970, wallTimeOf, type ClockOffset } from '../event/clock.js';
import type { FieldValue, TraceEvent } from '../event/event.js';
import type { Lineage, ProcessAt } from '../event/lineage.js';
import type { Severity } from '../event/severity.js';
import type { Action } from './action.js';
import { startOf } from './bond.js';
import type { CompiledRule, Reading, RuleContext } from './compile.js';

/** An ancestor of an alert's process, as it was when the event happened. */
export interface AncestorFacts {
  readonly pid: number;
  readonly comm: string;
  readonly uid: number;
  readonly executable: string | null;
  readonly args: readonly string[] | null;
  /** RFC 3339 with nanoseconds. */
  readonly startTime: string;
}

/** What was so at the moment of an alert, copied. */
export interface RuleEvidence {
  /** The event's own fields that were captured, by their names. */
  readonly event: Readonly<Record<string, FieldValue>>;
  /** The parent first. Empty where the process is not known. */
  readonly ancestors: readonly AncestorFacts[];
  readonly container: object | null;
  /**
   * Reads the events before it, the oldest first, with the fields that were captured and who caused them: they are many, and need not be
   * read where nobody is told of the alert. An alert that waits reads those that there still are.
   */
  readonly events: () => readonly object[];
}

/** Called at once, or not at all; what it returns reads the events before one, the oldest first, then or later. */
export type EventsBefore = () => () => readonly TraceEvent[];

/** What a rule raises. */
export interface RuleAlert {
  readonly rule: string;
  readonly severity: Severity;
  /** The rule's description. */
  readonly title: string;
  readonly message: string;
  readonly tags: readonly string[];
  readonly attack: readonly string[];
  /** RFC 3339 with nanoseconds. */
  readonly time: string;
  /** Null for an event of no session. */
  readonly eventId: string | null;
  readonly tracker: string;
  readonly process: object;
  readonly container: object | null;
  /** When the process started, in ns since boot: with its pid, which one it is. */
  readonly startNs: number;
  readonly actions: readonly Action[];
  /** Alerts of the rule with an equal key are combined for `intervalMs`. */
  readonly key: string;
  readonly intervalMs: number;
  /** Null in a repetition: it is told with the first one. */
  readonly evidence: RuleEvidence | null;
}

const BILLION = 1_000_000_000n;
const MAX_MESSAGE = 2000;
const MAX_TEXT = 4096;
const MAX_ITEMS = 100;
const MAX_ANCESTORS = 16;
/** The usual one, of a container and a process, stays readable. */
const MAX_KEY = 128;

/** Makes alerts of events. */
export class AlertWriter {
  readonly #catalog: Catalog;
  readonly #idOf: NonNullable<RuleContext['idOf']>;

  constructor(catalog: Catalog, idOf: RuleContext['idOf'] = () => null) {
    this.#catalog = catalog;
    this.#idOf = idOf;
  }

  write(rule: CompiledRule, event: TraceEvent, key: string, before: EventsBefore): RuleAlert {
    const { definition } = rule;
    const read = before();
    return {
      rule: definition.name,
      severity: definition.severity,
      title: definition.description,
      message: this.#message(rule, event).slice(0, MAX_MESSAGE),
      tags: definition.tags,
      attack: definition.attack,
      time: event.time,
      eventId: this.#idOf(event),
      tracker: event.tracker,
      process: copied(event.process, ['pid', 'tid', 'ppid', 'uid', 'gid', 'comm', 'startTime', 'mountNs']),
      container: event.container && copied(event.container, ['id', 'name', 'image']),
      startNs: startOf(event),
      actions: definition.actions,
      key,
      intervalMs: definition.intervalMs,
      evidence: {
        event: this.#fields(event),
        ancestors: ancestorsOf(this.#catalog.lineage, event),
        container: event.container && copied(event.container, ['id', 'name', 'image', 'labels']),
        events: () => read().map((other) => this.nearby(other)),
      },
    };
  }

  /** What is kept of an event near another one: the fields that were captured, and who caused it. */
  nearby(event: TraceEvent): object {
    return { ...this.#fields(event), process: copied(event.process, ['pid', 'comm']) };
  }

  #message({ message }: CompiledRule, event: TraceEvent): string {
    const { lineage } = this.#catalog;
    return message.render((field) => ({
      value: compileField(field, lineage)(event),
      type: this.#catalog.typeOf(field, event.tracker) ?? 'String',
    }));
  }

  #fields(event: TraceEvent): RuleEvidence['event'] {
    const own = this.#catalog.need(event.tracker).fields.filter(({ path }) => !path.includes('.'));
    const values = own
      .map(({ path }) => [path, cut(compileField(path)(event))] as const)
      .filter(([, value]) => value !== null);
    const id = this.#idOf(event);
    return { ...(id !== null && { id }), ...Object.fromEntries(values) };
  }
}

/** The values of some fields of an event, as one text; of a long one, its digest: as many as there are paths may be kept. */
export function keyOf({ readers }: Reading, event: TraceEvent): string {
  const key = JSON.stringify(readers.map((read) => read(event)));
  return key.length > MAX_KEY ? sha256(key) : key;
}

function ancestorsOf(lineage: Lineage | null, event: TraceEvent): readonly AncestorFacts[] {
  const ancestors: AncestorFacts[] = [];
  const offset = offsetAt(event);
  let one: ProcessAt | null = lineage?.of(event)?.parent ?? null;
  for (; one && ancestors.length < MAX_ANCESTORS; one = one.parent) {
    const { pid, comm, uid, executable, args, startNs } = one;
    const startTime = wallTimeOf(offset, startNs);
    ancestors.push({ pid, comm, uid, executable, args: args && [...args.slice(0, MAX_ITEMS)], startTime });
  }
  return ancestors;
}

/** Between the two clocks, when the event happened. */
function offsetAt({ time, bootNs }: TraceEvent): ClockOffset {
  const offsetNs = nanosecondsSince1970(time) - BigInt(bootNs);
  return { seconds: Number(offsetNs / BILLION), nanoseconds: Number(offsetNs % BILLION) };
}

function copied(object: object, names: readonly string[]): object {
  return Object.fromEntries(names.map((name) => [name, (Reflect.get(object, name) as unknown) ?? null]));
}

function cut(value: FieldValue): FieldValue {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT);
  return Array.isArray(value) ? value.slice(0, MAX_ITEMS) : value;
}
