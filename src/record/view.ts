import type { ProcessView, TraceEvent } from '../event/event.js';
import { EunomiaError } from '../base/errors.js';
import type { RecordField, RecordLayout } from '../btf/layout.js';
import { eventTypeName } from '../base/names.js';
import { namespaceInode, type FieldDefinition, type TrackerDefinition } from '../tracker/define.js';
import type { RecordBatch } from './batch.js';
import { PLACE } from './place.js';
import { SIGHTING, type Sighting } from '../event/sighting.js';
import { decode } from '../btf/decode.js';
import { kinds } from '../btf/kind.js';

/** Makes the event at a place of a batch. */
export interface EventView {
  new (batch: RecordBatch, at: number): TraceEvent;
  /** What it reads, for those that read records without it; a view that was not compiled from a layout has none. */
  readonly source?: { readonly definition: TrackerDefinition; readonly layout: RecordLayout };
}
type ProcessClass = new (batch: RecordBatch, at: number) => ProcessView;

/**
 * Compiles a class whose getters read a record in place: a field that nobody reads costs nothing. Generated
 * code, since a getter with its offset as a constant is several times as fast as one that looks it up.
 */
export function compileView(tracker: TrackerDefinition, layout: RecordLayout): EventView {
  const header = layout.header;
  const computed = tracker.fields ?? {};
  const Process = compileProcess(header);
  const getters = [
    getter('time', `return D.time(this.batch.clock, ${word(header, 'bootNs', 4)}, ${word(header, 'bootNs', 0)})`),
    getter('bootNs', `return ${read(need(header, 'bootNs'))}`),
    getter('cgroupId', `return ${read(need(header, 'cgroupId'))}`),
    getter('process', 'return new Process(this.batch, this.at)'),
    getter('container', 'return this.batch.containerAt(this.at)'),
    ...[...layout.fields.values()]
      .filter((f) => !(f.name in computed))
      .map((f) => (kinds[f.kind].list ? onceGetter(f.name, read(f)) : getter(f.name, `return ${read(f)}`))),
    ...Object.entries(computed).map(([name, field]) =>
      onceGetter(name, `F.${name}(${field.from.map((from) => read(need(layout.fields, from))).join(', ')})`),
    ),
  ];
  const readers = Object.fromEntries(
    Object.entries(computed).map(([name, field]: [string, FieldDefinition]) => [name, field.read]),
  );
  const compiled: unknown = new Function(
    'D',
    'M',
    'F',
    'Process',
    `return class { constructor(batch, at) { this.batch = batch; this.at = at; } ${getters.join('\n')} }`,
  )(decode, makers, readers, Process);
  const View = compiled as EventView;
  Object.defineProperty(View, 'source', { value: { definition: tracker, layout } });
  Object.defineProperties(View.prototype, {
    __typename: { value: eventTypeName(tracker.name), enumerable: true },
    tracker: { value: tracker.name, enumerable: true },
    [PLACE]: {
      get(this: { readonly batch: RecordBatch; readonly at: number }) {
        return this.batch.placeAt(this.at);
      },
    },
  });
  return View;
}

function compileProcess(header: RecordLayout['header']): ProcessClass {
  const direct = ['pid', 'tid', 'ppid', 'uid', 'gid', 'comm'].map((name) =>
    getter(name, `return ${read(need(header, name))}`),
  );
  const compiled: unknown = new Function(
    'D',
    'M',
    'N',
    `return class { constructor(batch, at) { this.batch = batch; this.at = at; } ${direct.join('\n')}
    ${getter('startTime', `return D.time(this.batch.clock, ${word(header, 'startBootNs', 4)}, ${word(header, 'startBootNs', 0)})`)}
    ${getter('mountNs', `return N(${read(need(header, 'mountNs'))})`)} }`,
  )(decode, makers, namespaceInode);
  const Process = compiled as ProcessClass;
  const [start, seen] = [need(header, 'startBootNs').offset, need(header, 'bootNs').offset];
  Object.defineProperty(Process.prototype, SIGHTING, {
    get(this: { readonly batch: RecordBatch; readonly at: number; readonly pid: number }): Sighting {
      const { batch, at, pid } = this;
      const nanoseconds = (from: number): number =>
        batch.view.getUint32(from + 4, true) * 4294967296 + batch.view.getUint32(from, true);
      return {
        pid,
        startNs: nanoseconds(at + start),
        toleranceNs: 0,
        atNs: nanoseconds(at + seen),
        clock: batch.clock,
        session: batch.context.session ?? null,
        container: batch.containerAt(at),
      };
    },
  });
  return Process;
}

function getter(name: string, body: string): string {
  return `get ${name}() { ${body} }`;
}

/** A value that costs something is kept: executors read a list's property several times. */
function onceGetter(name: string, expression: string): string {
  return getter(name, `return this.$${name} !== undefined ? this.$${name} : (this.$${name} = ${expression})`);
}

function need(fields: ReadonlyMap<string, RecordField>, name: string): RecordField {
  const field = fields.get(name);
  if (!field)
    throw new EunomiaError('BAD_OBJECT', `the record has no field ${name}; it has ${[...fields.keys()].join(', ')}`);
  return field;
}

function word(fields: ReadonlyMap<string, RecordField>, name: string, more: number): string {
  return `this.batch.view.getUint32(this.at + ${need(fields, name).offset + more}, true)`;
}

/** The expression that reads a whole number of at most 32 bits; null where the field is something else. */
export function readInteger(field: RecordField, view: string, at: string): string | null {
  return kinds[field.kind].form === 'integer' ? readCode(field, view, at) : null;
}

/** As `readInteger`, and also of a number that stands for a text. */
export function readCode({ kind, offset, size }: RecordField, view: string, at: string): string | null {
  const row = kinds[kind];
  if (row.form !== 'integer' && row.form !== 'code') return null;
  return `${view}.get${row.signed ? 'Int' : 'Uint'}${size * 8}(${at} + ${offset}${size > 1 ? ', true' : ''})`;
}

/** What the code of `read` calls as `M.KIND`. */
const makers: Readonly<Record<string, unknown>> = Object.fromEntries(
  Object.entries(kinds).map(([kind, row]) => [
    kind,
    row.form === 'made' ? row.make : row.form === 'code' ? row.name : undefined,
  ]),
);

/** The expression that reads a field of the record at `this.at`. */
function read(field: RecordField): string {
  const at = `this.at + ${field.offset}`;
  const view = 'this.batch.view';
  const word = `${view}.getUint32(${at}, true)`;
  const high = `${view}.getUint32(${at} + 4, true)`;
  const row = kinds[field.kind];
  switch (row.form) {
    case 'integer':
      return readCode(field, view, 'this.at') ?? '';
    case 'code': {
      const code = readCode(field, view, 'this.at');
      return row.name
        ? `M.${field.kind}(${code})`
        : `(${JSON.stringify(Object.fromEntries(field.values))}[${code}] ?? null)`;
    }
    case 'wide':
      if (row.signed) return `D.signed(${view}.getInt32(${at} + 4, true), ${word})`;
      return `D.${row.none ? 'duration' : 'decimal'}(${high}, ${word})`;
    case 'flag':
      return `(${view}.getUint8(${at}) !== 0)`;
    case 'fixed':
      return `D.chars(this.batch.bytes, ${at}, ${field.size})`;
    case 'text':
      return `D.text(this.batch.bytes, this.at, ${word})`;
    case 'time':
      return `D.timeOrNull(this.batch.clock, ${high}, ${word})`;
    case 'container':
      return `D.factOf(this.batch.containerAt(${at}), '${row.fact}')`;
    case 'made':
      return `M.${field.kind}(this.batch.bytes, ${view}, this.at, ${at}, ${field.size})`;
  }
}
