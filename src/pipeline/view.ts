import type { ProcessView, TraceEvent } from '../event.js';
import { EunomiaError } from '../errors.js';
import type { RecordField, RecordLayout } from '../kernel/layout.js';
import { eventTypeName, type FieldDefinition, type TrackerDefinition } from '../trackers/define.js';
import type { RecordBatch } from './batch.js';
import { decode } from './decode.js';

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
      .map((f) =>
        f.kind === 'eu_strs' || f.kind === 'eu_log2'
          ? onceGetter(f.name, read(f))
          : getter(f.name, `return ${read(f)}`),
      ),
    ...Object.entries(computed).map(([name, field]) =>
      onceGetter(name, `F.${name}(${field.from.map((from) => read(need(layout.fields, from))).join(', ')})`),
    ),
  ];
  const readers = Object.fromEntries(
    Object.entries(computed).map(([name, field]: [string, FieldDefinition]) => [name, field.read]),
  );
  const compiled: unknown = new Function(
    'D',
    'F',
    'Process',
    `return class { constructor(batch, at) { this.batch = batch; this.at = at; } ${getters.join('\n')} }`,
  )(decode, readers, Process);
  const View = compiled as EventView;
  Object.defineProperty(View, 'source', { value: { definition: tracker, layout } });
  Object.defineProperties(View.prototype, {
    __typename: { value: eventTypeName(tracker.name), enumerable: true },
    tracker: { value: tracker.name, enumerable: true },
  });
  return View;
}

function compileProcess(header: RecordLayout['header']): ProcessClass {
  const direct = ['pid', 'tid', 'ppid', 'uid', 'gid', 'comm'].map((name) =>
    getter(name, `return ${read(need(header, name))}`),
  );
  const compiled: unknown = new Function(
    'D',
    `return class { constructor(batch, at) { this.batch = batch; this.at = at; } ${direct.join('\n')}
    ${getter('startTime', `return D.time(this.batch.clock, ${word(header, 'startBootNs', 4)}, ${word(header, 'startBootNs', 0)})`)}
    ${getter('mountNs', `return ${read(need(header, 'mountNs'))} || null`)} }`,
  )(decode);
  return compiled as ProcessClass;
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

/** The expression that reads an integer of up to 32 bits; null where the field is something else. */
export function readInteger({ kind, offset, size }: RecordField, view: string, at: string): string | null {
  switch (kind) {
    case 'u8':
    case 's8':
    case 'u16':
    case 's16':
    case 'u32':
    case 's32':
      return `${view}.get${kind[0] === 'u' ? 'Uint' : 'Int'}${size * 8}(${at} + ${offset}${size > 1 ? ', true' : ''})`;
    default:
      return null;
  }
}

/** The expression that reads a field of the record at `this.at`. */
function read(field: RecordField): string {
  const { offset } = field;
  const at = `this.at + ${offset}`;
  const view = 'this.batch.view';
  switch (field.kind) {
    case 'u8':
    case 's8':
    case 'u16':
    case 's16':
    case 'u32':
    case 's32':
      return readInteger(field, view, 'this.at') ?? '';
    case 'u64':
    case 'eu_sum':
      return `D.decimal(${view}.getUint32(${at} + 4, true), ${view}.getUint32(${at}, true))`;
    case 's64':
      return `D.signed(${view}.getInt32(${at} + 4, true), ${view}.getUint32(${at}, true))`;
    case 'bool':
      return `(${view}.getUint8(${at}) !== 0)`;
    case 'chars':
      return `D.chars(this.batch.bytes, ${at}, ${field.size})`;
    case 'enum':
      return `(${JSON.stringify(Object.fromEntries(field.values))}[${view}.getUint32(${at}, true)] ?? null)`;
    case 'eu_str':
      return `D.text(this.batch.bytes, this.at, ${view}.getUint32(${at}, true))`;
    case 'eu_strs':
      return `D.texts(this.batch.bytes, this.at, ${view}.getUint32(${at}, true))`;
    case 'eu_errno':
      return `D.errno(${view}.getInt32(${at}, true))`;
    case 'eu_ip':
      return `D.ip(this.batch.bytes, ${at})`;
    case 'eu_boot_ns':
      return `D.timeOrNull(this.batch.clock, ${view}.getUint32(${at} + 4, true), ${view}.getUint32(${at}, true))`;
    case 'eu_log2':
      return `D.log2(${view}, ${at}, ${field.size / 8})`;
    case 'eu_duration_ns':
      return `D.duration(${view}.getUint32(${at} + 4, true), ${view}.getUint32(${at}, true))`;
  }
}
