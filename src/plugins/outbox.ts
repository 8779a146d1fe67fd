import type { AlertContainer, AlertProcess } from '../event/alert.js';
import { severities } from '../event/severity.js';
import { Budget } from '../base/budget.js';
import type { MetricDefinition, PluginAlert } from '../plugin.js';
import { placeOf, placeOfId } from '../record/place.js';
import type { EmittedResult, MetricChange, CallOutcome, OutgoingAlert } from './protocol.js';

const RESULTS_PER_SECOND = 1000;
const BYTES_PER_SECOND = 1 << 20;
const ALERTS_PER_SECOND = 100;
const LOGS_PER_SECOND = 50;
const RESULT_BYTES = 65_536;
const RESULT_DEPTH = 32;
const SERIES = 100;

/** Collects what a plugin says during a call, within limits: the rest is counted. Lives in the plugin's thread. */
export class Outbox {
  readonly #session: string;
  readonly #metrics: Readonly<Record<string, MetricDefinition>>;
  readonly #budgets = {
    results: new Budget(RESULTS_PER_SECOND),
    bytes: new Budget(BYTES_PER_SECOND),
    alerts: new Budget(ALERTS_PER_SECOND),
    logs: new Budget(LOGS_PER_SECOND),
  };
  /** All series that ever were, by metric. */
  readonly #series = new Map<string, Set<string>>();
  #results: EmittedResult[] = [];
  #alerts: OutgoingAlert[] = [];
  #logs: string[] = [];
  #changes = new Map<string, MetricChange>();
  #suppressed = 0;

  /** `session`: the id of the one whose events the plugin is given. */
  constructor(metrics: Readonly<Record<string, MetricDefinition>>, session: string) {
    this.#session = session;
    this.#metrics = metrics;
  }

  /** `about` and `event`: as the plugin says it, but the event itself where it was given a view of one. */
  emit(kind: unknown, json: string | undefined, about: unknown = null): void {
    if (typeof kind !== 'string' || !/^[a-zA-Z][\w.-]{0,63}$/.test(kind))
      throw new TypeError(`emit: the kind is up to 64 letters, digits, ".", "_" and "-"; it is ${show(kind)}`);
    if (!json?.startsWith('{')) throw new TypeError(`emit: the value of "${kind}" must be an object`);
    if (json.length > RESULT_BYTES)
      throw new RangeError(
        `emit: the value of "${kind}" has ${json.length} bytes as JSON; at most ${RESULT_BYTES} are allowed`,
      );
    if (depthOf(json) > RESULT_DEPTH)
      throw new RangeError(`emit: the value of "${kind}" is nested more than ${RESULT_DEPTH} deep`);
    if (about !== null && !isAbout(about))
      throw new TypeError(`emit: the third argument is { event }; it is ${show(about)}`);
    const place = this.#placeOf(eventOf('emit', about?.event));
    if (this.#budgets.results.take(1) && this.#budgets.bytes.take(json.length))
      this.#results.push({ kind, json, place });
    else this.#suppressed++;
  }

  alert({ severity, title, message, key }: Omit<PluginAlert, 'event'>, about: unknown): void {
    if (!severities.includes(severity))
      throw new TypeError(`alert: the severity is one of ${severities.join(', ')}; it is ${show(severity)}`);
    if (typeof title !== 'string' || !title || typeof message !== 'string')
      throw new TypeError('alert: needs a title and a message');
    if (key !== undefined && typeof key !== 'string')
      throw new TypeError(`alert: the key is a text; it is ${show(key)}`);
    const event = eventOf('alert', about);
    if (!this.#budgets.alerts.take(1)) return void this.#suppressed++;
    this.#alerts.push({
      severity,
      title: title.slice(0, 200),
      message: message.slice(0, 2000),
      key: key?.slice(0, 500) ?? null,
      ...factsOf(event),
      place: this.#placeOf(event),
    });
  }

  metric(
    type: MetricDefinition['type'],
    name: unknown,
    value: unknown,
    given: Readonly<Record<string, unknown>> = {},
  ): void {
    const definition = typeof name === 'string' && Object.hasOwn(this.#metrics, name) ? this.#metrics[name] : undefined;
    if (typeof name !== 'string' || !definition)
      throw new TypeError(
        `there is no metric ${show(name)}; declared are ${Object.keys(this.#metrics).join(', ') || 'none'}`,
      );
    if (definition.type !== type) throw new TypeError(`the metric "${name}" is a ${definition.type}`);
    if (typeof value !== 'number' || !Number.isFinite(value) || (type === 'counter' && value < 0))
      throw new TypeError(`the metric "${name}" takes a number; it is ${show(value)}`);
    const names = definition.labels ?? [];
    for (const label of Object.keys(given))
      if (!names.includes(label))
        throw new TypeError(`the metric "${name}" has no label "${label}"; it has ${names.join(', ') || 'none'}`);
    const labels = this.#within(
      name,
      names.map((label) => String(given[label] ?? '').slice(0, 100)),
    );
    const change = this.#change(name, labels, definition);
    if (type === 'gauge') change.value = value;
    else change.value += value;
    if (type !== 'histogram') return;
    const bounds = definition.buckets ?? [];
    const bucket = bounds.findIndex((bound) => value <= bound);
    const index = bucket < 0 ? bounds.length : bucket;
    change.buckets[index] = (change.buckets[index] ?? 0) + 1;
  }

  log(text: unknown): void {
    if (this.#budgets.logs.take(1)) this.#logs.push(String(text).slice(0, 1000));
    else this.#suppressed++;
  }

  /** All since the last call. */
  take(): CallOutcome {
    const outcome = {
      results: this.#results,
      alerts: this.#alerts,
      metrics: [...this.#changes.values()],
      logs: this.#logs,
      suppressed: this.#suppressed,
    };
    this.#results = [];
    this.#alerts = [];
    this.#logs = [];
    this.#changes = new Map();
    this.#suppressed = 0;
    return outcome;
  }

  /** In the session. Of what the plugin made or kept, by its id: no other session's. */
  #placeOf(event: object | null): number | null {
    if (event === null) return null;
    const id: unknown = Reflect.get(event, 'id');
    const place = placeOf(event) ?? (typeof id === 'string' ? placeOfId(id) : null);
    return place?.session === this.#session ? place.seq : null;
  }

  /** Values of labels that would make one series too many are "other". */
  #within(name: string, labels: readonly string[]): readonly string[] {
    const known = this.#series.get(name) ?? new Set();
    this.#series.set(name, known);
    const key = JSON.stringify(labels);
    if (known.has(key)) return labels;
    if (known.size >= SERIES) return labels.map(() => 'other');
    known.add(key);
    return labels;
  }

  #change(metric: string, labels: readonly string[], { buckets }: MetricDefinition): MetricChange {
    const key = JSON.stringify([metric, labels]);
    const change = this.#changes.get(key) ?? {
      metric,
      labels,
      value: 0,
      buckets: new Array((buckets?.length ?? -1) + 1).fill(0) as number[],
    };
    this.#changes.set(key, change);
    return change;
  }
}

/** What is nested deeper than a stack is, would end whoever writes it as JSON. */
function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i);
    if (quoted) {
      if (c === 92) i++;
      else if (c === 34) quoted = false;
    } else if (c === 34) quoted = true;
    else if (c === 123 || c === 91) deepest = Math.max(deepest, ++depth);
    else if (c === 125 || c === 93) depth--;
  }
  return deepest;
}

/** An event itself, given in place of `{ event }`, is none. */
function isAbout(about: unknown): about is { readonly event?: unknown } {
  if (typeof about !== 'object' || about === null) return false;
  return 'event' in about || (Object.keys(about).length === 0 && !('tracker' in about));
}

/** Null for none. */
function eventOf(what: string, event: unknown): object | null {
  if (event === undefined || event === null) return null;
  if (typeof event === 'object') return event;
  throw new TypeError(
    `${what}: the event is one that the plugin was given, or an object with its id; it is ${show(event)}`,
  );
}

/** What an alert tells of its event: of a whole event all, of one that a plugin made or kept what it has. */
function factsOf(event: object | null): Pick<OutgoingAlert, 'tracker' | 'time' | 'process' | 'container'> {
  const text = (from: unknown, key: string): string | null => {
    const value: unknown = typeof from === 'object' && from !== null ? Reflect.get(from, key) : null;
    return typeof value === 'string' ? value.slice(0, 500) : null;
  };
  const number = (from: object, key: string): number | null => {
    const value: unknown = Reflect.get(from, key);
    return typeof value === 'number' ? value : null;
  };
  const process: unknown = event && Reflect.get(event, 'process');
  const container: unknown = event && Reflect.get(event, 'container');
  let who: AlertProcess | null = null;
  if (typeof process === 'object' && process !== null) {
    const pid = number(process, 'pid');
    if (pid !== null)
      who = {
        pid,
        ppid: number(process, 'ppid'),
        uid: number(process, 'uid'),
        comm: text(process, 'comm'),
        startTime: text(process, 'startTime'),
      };
  }
  const id = text(container, 'id');
  const where: AlertContainer | null =
    id === null ? null : { id, name: text(container, 'name'), image: text(container, 'image') };
  return { tracker: text(event, 'tracker'), time: text(event, 'time'), process: who, container: where };
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 100);
}
