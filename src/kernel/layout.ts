import { EunomiaError } from '../errors.js';
import { camelCase } from '../names.js';
import type { BpfFile, BtfType } from './btf.js';

/**
 * How a value lies in a record. The semantic kinds are typedefs of eunomia.bpf.h, by their names there.
 * `chars` is a fixed array of char, NUL-terminated when shorter.
 */
export type FieldKind =
  | 'u8'
  | 'u16'
  | 'u32'
  | 'u64'
  | 's8'
  | 's16'
  | 's32'
  | 's64'
  | 'bool'
  | 'chars'
  | 'enum'
  | 'eu_str'
  | 'eu_strs'
  | 'eu_errno'
  | 'eu_ip'
  | 'eu_boot_ns'
  | 'eu_duration_ns'
  | 'eu_sum'
  | 'eu_log2';

const semantic: ReadonlySet<string> = new Set([
  'eu_str',
  'eu_strs',
  'eu_errno',
  'eu_ip',
  'eu_boot_ns',
  'eu_duration_ns',
  'eu_sum',
  'eu_log2',
]);

export interface RecordField {
  /** camelCase of the C name. */
  readonly name: string;
  readonly kind: FieldKind;
  /** In bytes, from the record's start. */
  readonly offset: number;
  readonly size: number;
  /** For an enum: its values' names without the enum's own as prefix ("TCP_OPERATION_CONNECT" of tcp_operation → "CONNECT"). */
  readonly values: ReadonlyMap<number, string>;
}

/** The layout of a tracker's records, compiled from the BTF of its object: the C struct is the only hand-written one. */
export interface RecordLayout {
  readonly tracker: string;
  /** Bytes of the struct; text follows it. */
  readonly size: number;
  readonly header: ReadonlyMap<string, RecordField>;
  readonly fields: ReadonlyMap<string, RecordField>;
  /** Record field → its bit in the capture mask; fields not here are always captured. */
  readonly captures: ReadonlyMap<string, number>;
}

/** Compiles `struct TRACKER_event`, and `enum TRACKER_capture` where there is one. Throws BAD_OBJECT when the object has none. */
export function compileLayout(file: BpfFile, tracker: string): RecordLayout {
  const record = file.types.find((t) => t.kind === 'struct' && t.name === `${tracker}_event`);
  if (!record)
    throw new EunomiaError(
      'BAD_OBJECT',
      `the object of ${tracker} has no struct ${tracker}_event in its BTF (is EU_EVENT(${tracker}) missing?)`,
    );
  const [first, ...rest] = record.members;
  const header = first && resolve(file, first.type).type;
  if (!first || !header || header.name !== 'eu_header') {
    throw new EunomiaError('BAD_OBJECT', `struct ${tracker}_event must begin with struct eu_header`);
  }
  const captureEnum = file.types.find((t) => t.kind === 'enum' && t.name === `${tracker}_capture`);
  return {
    tracker,
    size: record.size,
    header: toMap(
      header.members.filter(isUsed).map((m) => compileField(file, m.name, m.type, m.bitOffset, 'eu_header')),
    ),
    fields: toMap(rest.filter(isUsed).map((m) => compileField(file, m.name, m.type, m.bitOffset, record.name))),
    captures: new Map(
      captureEnum?.values.map((v) => [camelCase(stripPrefix(v.name, `${tracker}_capture_`).toLowerCase()), v.value]) ??
        [],
    ),
  };
}

/** Padding has this name by convention, so that every byte of a record is written. */
function isUsed({ name }: { readonly name: string }): boolean {
  return name !== 'reserved';
}

function toMap(fields: readonly RecordField[]): Map<string, RecordField> {
  return new Map(fields.map((f) => [f.name, f]));
}

function compileField(file: BpfFile, cName: string, typeId: number, bitOffset: number, owner: string): RecordField {
  const { type, typedef } = resolve(file, typeId);
  const unfit = (why: string) => new EunomiaError('BAD_OBJECT', `${owner}.${cName}: ${why}`);
  if (bitOffset % 8) throw unfit('bit fields are not decoded');
  const field = { name: camelCase(cName), offset: bitOffset / 8, values: new Map<number, string>() };
  if (typedef && semantic.has(typedef)) return { ...field, kind: typedef as FieldKind, size: sizeOf(file, type) };
  switch (type.kind) {
    case 'int':
      if (type.bool) return { ...field, kind: 'bool', size: 1 };
      return { ...field, kind: `${type.signed ? 's' : 'u'}${type.size * 8}` as FieldKind, size: type.size };
    case 'enum':
      return {
        ...field,
        kind: 'enum',
        size: type.size,
        values: new Map(type.values.map((v) => [v.value, stripPrefix(v.name, `${type.name}_`)])),
      };
    case 'array': {
      const element = resolve(file, type.type).type;
      if (element.kind === 'int' && element.size === 1) return { ...field, kind: 'chars', size: type.elements };
      throw unfit('arrays of another type than char are not decoded');
    }
    default:
      throw unfit(`a ${type.kind} is not decoded`);
  }
}

/** Looks through qualifiers and typedefs; `typedef` is the first semantic or else outermost name on the way. */
function resolve(file: BpfFile, id: number): { type: BtfType; typedef: string | null } {
  let typedef: string | null = null;
  for (let at = id; ;) {
    const type = file.types[at];
    if (!type) throw new EunomiaError('BAD_OBJECT', `BTF refers to the type ${at}, which it does not have`);
    if (type.kind === 'typedef') {
      if (!typedef || (!semantic.has(typedef) && semantic.has(type.name))) typedef = type.name;
    } else if (
      type.kind !== 'const' &&
      type.kind !== 'volatile' &&
      type.kind !== 'restrict' &&
      type.kind !== 'type_tag'
    ) {
      return { type, typedef };
    }
    at = type.type;
  }
}

function sizeOf(file: BpfFile, type: BtfType): number {
  return type.kind === 'array' ? type.elements * sizeOf(file, resolve(file, type.type).type) : type.size;
}

function stripPrefix(name: string, prefix: string): string {
  return name.toLowerCase().startsWith(prefix.toLowerCase()) ? name.slice(prefix.length) : name;
}
