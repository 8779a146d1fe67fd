import type { HrTime } from '@opentelemetry/api';
import type { ReadableLogRecord } from '@opentelemetry/sdk-logs';
import { counted } from '../../base/listed.js';
import type { Container } from '../../inventory/container.js';
import type { Bucket, Gap, TraceEvent } from '../../event/event.js';
import { compileField, type FieldReader } from '../../catalog/catalog.js';
import type { ExportedAlert, ExportedField, ExportedSession } from './protocol.js';
import type { OtlpResources } from './resource.js';

type Attributes = Record<string, ReadableLogRecord['attributes'][string]>;

/**
 * What of a process OpenTelemetry's conventions name otherwise than the schema. `comm` is what they take
 * `executable.name` from on Linux.
 */
const CONVENTION: Readonly<Record<string, string>> = {
  'process.tid': 'thread.id',
  'process.ppid': 'process.parent_pid',
  'process.uid': 'process.real_user.id',
  'process.comm': 'process.executable.name',
  'process.startTime': 'process.creation.time',
};
/** Fields that the conventions have a name for as well: the event keeps the schema's beside it. */
const TWICE: Readonly<Record<string, string>> = {
  'exec.executable': 'process.executable.path',
  'exec.args': 'process.command_args',
  'exec.cwd': 'process.working_directory',
};
/** The record's own time, and what is told as its resource. `bootNs` does not fit a double for long, and says the same as `time`. */
const LEFT_OUT = /^(time|bootNs|container\..*)$/;

/** Of OpenTelemetry's 24: INFO, WARN, WARN2, ERROR, FATAL. */
const SEVERITY = { INFO: 9, LOW: 13, MEDIUM: 14, HIGH: 17, CRITICAL: 21 } as const;
const WARN = 13;

interface Attribute {
  readonly name: string;
  readonly also: string | null;
  readonly wide: boolean;
  readonly read: FieldReader;
}

/** Makes log records of events, gaps and alerts. */
export class RecordMaker {
  readonly #resources: OtlpResources;
  readonly #scope: { readonly name: string; readonly version: string };
  readonly #attributes: ReadonlyMap<string, readonly Attribute[]>;

  constructor(resources: OtlpResources, version: string, fields: Readonly<Record<string, readonly ExportedField[]>>) {
    this.#resources = resources;
    this.#scope = { name: 'eunomia', version };
    this.#attributes = new Map(
      Object.entries(fields).map(([tracker, its]) => [
        tracker,
        its.filter(({ path }) => !LEFT_OUT.test(path)).map((field) => attributeOf(tracker, field)),
      ]),
    );
  }

  /** `place` is the event's in its session. What was not captured is left out. */
  event(event: TraceEvent, place: number, session: ExportedSession): ReadableLogRecord {
    const attributes = sessionAttributes(session);
    attributes['eunomia.seq'] = place;
    for (const { name, also, wide, read } of this.#attributes.get(event.tracker) ?? []) {
      const value = read(event);
      if (value === null) continue;
      attributes[name] = typeof value === 'object' ? value.map(elementOf) : wide ? numberOf(value) : value;
      if (also !== null) attributes[also] = attributes[name];
    }
    const args = attributes['process.command_args'];
    if (Array.isArray(args) && args[0] !== undefined) attributes['process.command'] = args[0];
    const { comm, pid } = event.process;
    return this.#record(
      `eunomia.${event.tracker}`,
      event.time,
      SEVERITY.INFO,
      'INFO',
      `${event.tracker} ${comm} (${pid})`,
      attributes,
      event.container,
    );
  }

  /** Events that are missing in what is sent. */
  gap({ from, to, lost, dropped, where }: Gap, session: ExportedSession): ReadableLogRecord {
    return this.#record(
      'eunomia.gap',
      to,
      WARN,
      'WARN',
      `${counted(lost + dropped, 'event')} missing`,
      { ...sessionAttributes(session), from, to, lost, dropped, where },
      null,
    );
  }

  alert({
    id,
    severity,
    title,
    message,
    source,
    session,
    time,
    raisedAt,
    tracker,
    process,
    container,
    rule = null,
    tags = [],
    attack = [],
  }: ExportedAlert): ReadableLogRecord {
    const attributes: Attributes = {
      ...(session === null ? {} : { 'eunomia.session.id': session }),
      'alert.id': id,
      'alert.title': title,
      'alert.source': source,
      ...(rule === null ? {} : { 'alert.rule': rule }),
      ...(tags.length === 0 ? {} : { 'alert.tags': [...tags] }),
      ...(attack.length === 0 ? {} : { 'alert.attack': [...attack] }),
      ...(tracker === null ? {} : { tracker }),
    };
    for (const [name, value] of Object.entries(process ?? {})) {
      if (typeof value === 'number' || typeof value === 'string')
        attributes[CONVENTION[`process.${name}`] ?? `process.${name}`] = value;
    }
    return {
      ...this.#record('eunomia.alert', time, SEVERITY[severity], severity, message, attributes, container),
      hrTimeObserved: hrTimeOf(raisedAt),
    };
  }

  #record(
    eventName: string,
    time: string,
    severityNumber: number,
    severityText: string,
    body: string,
    attributes: Attributes,
    container: object | null,
  ): ReadableLogRecord {
    const hrTime = hrTimeOf(time);
    return {
      eventName,
      hrTime,
      hrTimeObserved: hrTime,
      severityNumber,
      severityText,
      body,
      attributes,
      resource: this.#resources.of(container as Partial<Container> | null),
      instrumentationScope: this.#scope,
      droppedAttributesCount: 0,
    };
  }
}

function attributeOf(tracker: string, { path, wide }: ExportedField): Attribute {
  return { name: CONVENTION[path] ?? path, also: TWICE[`${tracker}.${path}`] ?? null, wide, read: compileField(path) };
}

function sessionAttributes({ id, name }: ExportedSession): Attributes {
  return name === null ? { 'eunomia.session.id': id } : { 'eunomia.session.id': id, 'eunomia.session.name': name };
}

/** A decimal as a number while it is one exactly. */
function numberOf(value: string | number | boolean): string | number | boolean {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

let lastSecond = '';
let lastSeconds = 0;

/** RFC 3339 in UTC with nanoseconds → seconds and nanoseconds. */
export function hrTimeOf(time: string): HrTime {
  const second = time.slice(0, 19);
  if (second !== lastSecond) {
    lastSeconds = Date.parse(`${second}Z`) / 1000;
    lastSecond = second;
  }
  const fraction = /^\.(\d{1,9})/.exec(time.slice(19))?.[1] ?? '0';
  return [lastSeconds, Number(fraction.padEnd(9, '0'))];
}

/** Of a list: a text, or a bucket of a histogram. */
function elementOf(item: string | Bucket): string | Readonly<Record<keyof Bucket, number | null>> {
  return typeof item === 'string' ? item : { from: item.from, to: item.to, count: Number(item.count) };
}
