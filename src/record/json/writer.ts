import type { RecordField, RecordLayout } from '../../btf/layout.js';
import { namespaceInode, type FieldDefinition, type TrackerDefinition } from '../../tracker/define.js';
import { headerOffsets, RecordBatch } from '../batch.js';
import { decode } from '../../btf/decode.js';
import { kinds } from '../../btf/kind.js';
import { ESCAPED_BYTES, SLACK, write, type JsonBytes } from './bytes.js';
import { objectJson, Unwritable, type JsonEntry, type JsonLeaf, type JsonShape } from './shape.js';
import type { Slice } from '../batch-buffer.js';
import { readCode, readInteger, type EventView } from '../view.js';

type WriteEvent = (batch: RecordBatch, at: number, out: JsonBytes) => void;

/** Values that are made from one integer of a record are kept by it; in a field with more of them the newest are made anew. */
const MEMO_ENTRIES = 4096;

/**
 * Writes events as JSON, straight from their records. Like the views, the code is generated: a selection becomes a
 * function with its constants, offsets and keys in it. A field without a fast way is read through the event's getter.
 */
export class JsonWriter {
  readonly #shape: JsonShape;
  readonly #compiled = new Map<EventView, WriteEvent | null>();
  /** Texts of containers: their facts may change between two runs, not during one. */
  readonly #containers: Map<object | null, string>[] = [];
  readonly #memos: Map<number, string>[] = [];

  constructor(shape: JsonShape) {
    this.#shape = shape;
  }

  /** Whether all events of the slices are records that it can write. */
  canWrite(slices: readonly Slice[]): boolean {
    return slices.every(
      ({ batch }) => batch instanceof RecordBatch && batch.context.views.every((view) => this.#writerOf(view) !== null),
    );
  }

  /**
   * Adds the events, with commas between them. Throws when one of them cannot be written.
   */
  write({ batch, from, to }: Slice, out: JsonBytes): void {
    for (const texts of this.#containers) texts.clear();
    if (!(batch instanceof RecordBatch)) throw new Unwritable('the batch has no records');
    const { offsets, view, context } = batch;
    const writers = context.views.map((each) => this.#writerOf(each));
    for (let i = from; i < to; i++) {
      const at = offsets[i] ?? 0;
      const writeEvent = writers[view.getUint16(at + headerOffsets.tracker, true)];
      if (!writeEvent) throw new Unwritable(`record ${i} of the batch is of no tracker that is known`);
      writeEvent(batch, at, out);
    }
    if (to > from) out.at -= 1; // the last one's comma
  }

  #writerOf(view: EventView): WriteEvent | null {
    const known = this.#compiled.get(view);
    if (known !== undefined) return known;
    const source = view.source;
    const entries = source && this.#shape.get(source.definition.name);
    const compiled =
      source && entries
        ? new Compiler(view, source.definition, source.layout, this.#containers, this.#memos).compile(entries)
        : null;
    this.#compiled.set(view, compiled);
    return compiled;
  }
}

/**
 * Generates the function for one tracker. `p` is where it writes, `o` the bytes, `v` a view of them, `r` and `b` those
 * of the record at `at`.
 */
class Compiler {
  readonly #view: EventView;
  readonly #definition: TrackerDefinition;
  readonly #layout: RecordLayout;
  readonly #containers: Map<object | null, string>[];
  readonly #memos: Map<number, string>[];
  readonly #code: string[] = [];
  /** What the code calls by place. */
  readonly #constants: unknown[] = [];
  /** Bytes that an event needs at most, texts of variable length aside. */
  #room = SLACK;
  /** Record fields with texts of variable length. */
  readonly #texts: string[] = [];
  #pending = '';

  constructor(
    view: EventView,
    definition: TrackerDefinition,
    layout: RecordLayout,
    containers: Map<object | null, string>[],
    memos: Map<number, string>[],
  ) {
    this.#view = view;
    this.#definition = definition;
    this.#layout = layout;
    this.#containers = containers;
    this.#memos = memos;
  }

  compile(entries: readonly JsonEntry[]): WriteEvent {
    this.#object(entries, (leaf) => this.#eventLeaf(leaf));
    this.#constant(',');
    this.#flush();
    const source = `return function (batch, at, out) {
      const r = batch.view, b = batch.bytes;
      let p = out.at, e = null;
      const room = ${[this.#room, ...this.#texts].join(' + ')};
      out.ensure(p, room);
      let o = out.bytes, v = out.view;
      ${this.#code.join('\n')}
      out.at = p;
    }`;
    return new Function('W', 'D', 'View', 'K', source)(write, decode, this.#view, this.#constants) as WriteEvent;
  }

  #object(entries: readonly JsonEntry[], leaf: (entry: JsonLeaf) => void): void {
    this.#constant('{');
    entries.forEach((entry, i) => {
      this.#constant(`${i ? ',' : ''}${JSON.stringify(entry.key)}:`);
      if (entry.kind === 'constant') this.#constant(entry.json);
      else if (entry.kind === 'process') this.#object(entry.entries, (inner) => this.#processLeaf(inner));
      else if (entry.kind === 'container') this.#container(entry.entries);
      else leaf(entry);
    });
    this.#constant('}');
  }

  #constant(json: string): void {
    this.#pending += json;
  }

  /** Eight bytes of ASCII are the bits of a number, never of a NaN: one instruction writes them. */
  #flush(): void {
    const text = this.#pending;
    this.#pending = '';
    if (!text) return;
    this.#room += text.length;
    for (let i = 0; i < text.length; i += 8) {
      const eight = Buffer.from(text.slice(i, i + 8).padEnd(8), 'latin1').readDoubleLE();
      this.#code.push(`v.setFloat64(p + ${i}, ${eight}, true);`);
    }
    this.#code.push(`p += ${text.length};`);
  }

  #add(room: number, code: string): void {
    this.#flush();
    this.#room += room;
    this.#code.push(code);
  }

  #eventLeaf(leaf: JsonLeaf): void {
    const { header, fields } = this.#layout;
    const computed = this.#definition.fields?.[leaf.field];
    if (leaf.field === 'time' && leaf.scalar === 'DateTime') return this.#time(need(header.get('bootNs')), '');
    if (leaf.field === 'bootNs' || leaf.field === 'cgroupId')
      return this.#value(leaf, need(header.get(leaf.field)), `e.${leaf.field}`);
    if (computed) return this.#computed(leaf, computed);
    const field = fields.get(leaf.field);
    if (field) return this.#value(leaf, field, `e.${leaf.field}`);
    this.#getter(leaf, `e.${leaf.field}`);
  }

  #processLeaf(leaf: JsonLeaf): void {
    const { header } = this.#layout;
    const getter = `e.process.${leaf.field}`;
    if (leaf.field === 'startTime' && leaf.scalar === 'DateTime')
      return this.#time(need(header.get('startBootNs')), '');
    const field = header.get(leaf.field);
    // 0 is no namespace.
    if (field && leaf.field === 'mountNs') return this.#memo(field, (value) => leaf.json(namespaceInode(value)));
    if (field) return this.#value(leaf, field, getter);
    this.#getter(leaf, getter);
  }

  #value(leaf: JsonLeaf, field: RecordField, getter: string): void {
    const { offset, size } = field;
    const row = kinds[field.kind];
    const unsigned = (row.form === 'integer' || row.form === 'wide') && !row.signed;
    const word = `r.getUint32(at + ${offset}, true)`;
    const highWord = `r.getUint32(at + ${offset + 4}, true)`;
    const integer = readInteger(field, 'r', 'at');
    switch (leaf.scalar) {
      case 'Int':
      case 'UInt32':
        // A number that the type has no room for is the getter's, whose way tells of it.
        if (integer && unsigned && !(leaf.scalar === 'Int' && size === 4))
          return this.#add(10, `p = W.unsigned(o, p, ${integer});`);
        if (integer && leaf.scalar === 'Int') {
          const negative = unsigned
            ? this.#putCode(`${this.#name(leaf.json)}(${integer})`)
            : `o[p++] = 45; p = W.unsigned(o, p, -n);`;
          return this.#add(
            11,
            `{ const n = r.getInt${size * 8}(at + ${offset}, true); if (n >= 0) p = W.unsigned(o, p, n); else { ${negative} } }`,
          );
        }
        break;
      case 'UInt64':
        if (row.form === 'wide' && unsigned && !row.none)
          return this.#add(22, `o[p++] = 34; p = W.decimal(out, p, ${highWord}, ${word}); o[p++] = 34;`);
        if (row.form === 'wide' && row.none && leaf.nullable) {
          const value = `o[p++] = 34; p = W.decimal(out, p, high, low); o[p++] = 34;`;
          return this.#add(
            22,
            `{ const low = ${word}, high = ${highWord}; if (high === 0xffffffff && low === 0xffffffff) { ${nothing} } else { ${value} } }`,
          );
        }
        break;
      case 'Int64':
        if (row.form === 'wide' && row.signed) {
          const other = this.#putCode(`'"' + D.signed(high, low) + '"'`);
          return this.#add(
            14,
            `{ const low = ${word}, high = r.getInt32(at + ${offset + 4}, true);
            if (high === 0) { o[p++] = 34; p = W.unsigned(o, p, low); o[p++] = 34; }
            else if (high === -1 && low !== 0) { v.setUint16(p, 0x2d22, true); p = W.unsigned(o, p + 2, 4294967296 - low); o[p++] = 34; }
            else { ${other} } }`,
          );
        }
        break;
      case 'Boolean':
        if (row.form === 'flag')
          return this.#add(
            5 + SLACK,
            `if (r.getUint8(at + ${offset}) !== 0) { v.setUint32(p, 0x65757274, true); p += 4; } else { ` +
              'v.setUint32(p, 0x736c6166, true); o[p + 4] = 101; p += 5; }',
          );
        break;
      case 'String':
        if (row.form === 'fixed')
          return this.#add(
            size * ESCAPED_BYTES + 2,
            `{ let end = at + ${offset}; while (end < at + ${offset + size} && b[end] !== 0) end++; p = ` +
              `W.text(out, p, b, at + ${offset}, end); }`,
          );
        if (row.form === 'text') return this.#text(leaf, word);
        break;
      case 'DateTime':
        if (row.form === 'time' && leaf.nullable) return this.#time(field, nothing);
    }
    if (row.form === 'code') {
      const { name } = row;
      return this.#memo(field, (value) => leaf.json(name ? name(value) : (field.values.get(value) ?? null)));
    }
    this.#getter(leaf, getter);
  }

  #text(leaf: JsonLeaf, word: string): void {
    this.#texts.push(`(${word} >>> 16) * ${ESCAPED_BYTES}`);
    const absent = leaf.nullable ? nothing : this.#putCode(`${this.#name(leaf.json)}(null)`);
    this.#add(
      6,
      `{ const w = ${word}; if (w === 0) { ${absent} } else { const start = at + (w & 0xffff); p = W.text(out, ` +
        'p, b, start, start + (w >>> 16)); } }',
    );
  }

  /** `whenZero`: what stands for a time that is not known. */
  #time({ offset }: RecordField, whenZero: string): void {
    const value = 'p = W.time(out, p, batch.clock, high, low);';
    const guarded = whenZero ? `if (high === 0 && low === 0) { ${whenZero} } else { ${value} }` : value;
    this.#add(
      32 + SLACK,
      `{ const low = r.getUint32(at + ${offset}, true), high = r.getUint32(at + ${offset + 4}, true); ${guarded} }`,
    );
  }

  /** A value computed from one integer is kept by it. */
  #computed(leaf: JsonLeaf, { from, read }: FieldDefinition): void {
    const field = from.length === 1 ? this.#layout.fields.get(from[0] ?? '') : undefined;
    const compute = read as (value: number) => unknown;
    const row = field && kinds[field.kind];
    if (field && row?.form === 'wide' && !row.signed && !row.none)
      this.#computedOfWords(leaf, field, read as (value: string) => unknown);
    else if (field && readInteger(field, 'r', 'at')) this.#memo(field, (value) => leaf.json(compute(value)));
    else this.#getter(leaf, `e.${leaf.field}`);
  }

  /** Of a 64-bit integer, which is read as a decimal: kept by its low half where the high one is 0, as of flags. */
  #computedOfWords(leaf: JsonLeaf, { offset }: RecordField, read: (value: string) => unknown): void {
    const low = `r.getUint32(at + ${offset}, true)`;
    const high = `r.getUint32(at + ${offset + 4}, true)`;
    const small = this.#putCode(`${this.#name(this.#memoized((value) => leaf.json(read(String(value)))))}(${low})`);
    const large = this.#putCode(
      `${this.#name((upper: number, lower: number) => leaf.json(read(decode.decimal(upper, lower))))}(${high}, ${low})`,
    );
    this.#add(0, `if (${high} === 0) { ${small} } else { ${large} }`);
  }

  #memo(field: RecordField, json: (value: number) => string): void {
    const integer = readCode(field, 'r', 'at') ?? `r.getUint32(at + ${field.offset}, true)`;
    this.#add(0, this.#putCode(`${this.#name(this.#memoized(json))}(${integer})`));
  }

  #memoized(json: (value: number) => string): (value: number) => string {
    const memo = new Map<number, string>();
    this.#memos.push(memo);
    return (value) => {
      const known = memo.get(value);
      if (known !== undefined) return known;
      if (memo.size >= MEMO_ENTRIES) memo.clear();
      const made = json(value);
      memo.set(value, made);
      return made;
    };
  }

  #getter(leaf: JsonLeaf, expression: string): void {
    this.#add(0, `e ??= new View(batch, at); ${this.#putCode(`${this.#name(leaf.json)}(${expression})`)}`);
  }

  #container(entries: readonly JsonEntry[]): void {
    const texts = new Map<object | null, string>();
    this.#containers.push(texts);
    const containerText = (batch: RecordBatch, at: number): string => {
      const container = batch.containerAt(at);
      const known = texts.get(container);
      if (known !== undefined) return known;
      const made = container ? objectJson(container, entries) : 'null';
      texts.set(container, made);
      return made;
    };
    this.#add(0, this.#putCode(`${this.#name(containerText)}(batch, at)`));
  }

  /** Text of any length: behind it there must be the room that the rest of the event needs. */
  #putCode(expression: string): string {
    return `p = out.put(${expression}, p, room); o = out.bytes; v = out.view;`;
  }

  #name(value: unknown): string {
    this.#constants.push(value);
    return `K[${this.#constants.length - 1}]`;
  }
}

const nothing = 'v.setUint32(p, 0x6c6c756e, true); p += 4;';

function need(field: RecordField | undefined): RecordField {
  if (!field) throw new Unwritable('the header has no such field');
  return field;
}
