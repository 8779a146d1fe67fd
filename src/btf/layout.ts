import { EunomiaError } from '../base/errors.js';
import { camelCase } from '../base/names.js';
import type { BpfFile, BtfType } from './btf.js';
import { kindOfTypedef, kinds, type FieldKind } from './kind.js';

export type { FieldKind } from './kind.js';

export interface RecordField {
  /** The C name in camelCase. */
  readonly name: string;
  readonly kind: FieldKind;
  /** Offset in bytes from the start of the record. */
  readonly offset: number;
  readonly size: number;
  /**
   * For an enum: the names of its values without the enum's name as prefix ("TCP_OPERATION_CONNECT" of tcp_operation →
   * "CONNECT").
   */
  readonly values: ReadonlyMap<number, string>;
}

/**
 * The layout of a tracker's records, compiled from the BTF of its object. The C struct is the only hand-written layout.
 */
export interface RecordLayout {
  readonly tracker: string;
  /** Size of the struct in bytes; texts follow it. */
  readonly size: number;
  readonly header: ReadonlyMap<string, RecordField>;
  readonly fields: ReadonlyMap<string, RecordField>;
  /**
   * Of an event of two processes: where the second one's `struct eu_header` is, in bytes from the record's start. Null
   * for an event of one.
   */
  readonly second: number | null;
  /** Maps a record field to its bit in the capture mask. Fields that are not in the map are always captured. */
  readonly captures: ReadonlyMap<string, number>;
}

/**
 * Compiles `struct TRACKER_event`, and `enum TRACKER_capture` if it exists. Throws BAD_OBJECT if the struct is missing.
 */
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
  const isHeader = ({ type }: { readonly type: number }): boolean => resolve(file, type).type === header;
  const seconds = rest.filter(isHeader);
  if (seconds.length > 1)
    throw new EunomiaError('BAD_OBJECT', `struct ${tracker}_event has more than two of struct eu_header`);
  const captureEnum = file.types.find((t) => t.kind === 'enum' && t.name === `${tracker}_capture`);
  return {
    tracker,
    size: record.size,
    header: toMap(
      header.members.filter(isUsed).map((m) => compileField(file, m.name, m.type, m.bitOffset, 'eu_header')),
    ),
    fields: toMap(
      rest
        .filter(isUsed)
        .flatMap((m) =>
          isHeader(m)
            ? secondProcess(file, m.name, m.bitOffset, header)
            : [compileField(file, m.name, m.type, m.bitOffset, record.name)],
        ),
    ),
    second: seconds[0] ? seconds[0].bitOffset / 8 : null,
    captures: new Map(
      captureEnum?.values.map((v) => [camelCase(stripPrefix(v.name, `${tracker}_capture_`).toLowerCase()), v.value]) ??
        [],
    ),
  };
}

/** What a second header says, by the C name of its member after the name of the process. */
const OF_SECOND: Readonly<Record<string, string>> = {
  pid: 'pid',
  tid: 'tid',
  uid: 'uid',
  comm: 'comm',
  start_boot_ns: 'start_time',
  cgroup_id: 'cgroup_id',
};

/** The fields of a record's second process: `struct eu_header target` has `targetPid`, `targetComm` and so on, and its container. */
function secondProcess(file: BpfFile, name: string, bitOffset: number, header: BtfType): RecordField[] {
  if (header.kind !== 'struct') return [];
  const fields = header.members.flatMap((m) => {
    const as = OF_SECOND[m.name];
    if (as === undefined) return [];
    const field = compileField(file, `${name}_${as}`, m.type, bitOffset + m.bitOffset, `eu_header ${name}`);
    return [as === 'start_time' ? { ...field, kind: 'eu_boot_ns' as const } : field];
  });
  const container = (kind: 'container_id' | 'container_name'): RecordField => ({
    name: camelCase(`${name}_${kind}`),
    kind,
    offset: bitOffset / 8,
    size: header.size,
    values: new Map(),
  });
  return [...fields, container('container_id'), container('container_name')];
}

/** The conventional name of padding, which exists so that every byte of a record is written. */
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
  const semantic = typedef === null ? null : kindOfTypedef(typedef);
  if (semantic) {
    const size = sizeOf(file, type);
    const { bytes } = kinds[semantic];
    if (bytes !== null && bytes !== size)
      throw unfit(`a ${semantic} has ${size} bytes here and ${bytes} in the table of kinds`);
    return { ...field, kind: semantic, size };
  }
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

/**
 * Resolves qualifiers and typedefs. `typedef` is the first semantic typedef on the way, otherwise the outermost one.
 */
function resolve(file: BpfFile, id: number): { type: BtfType; typedef: string | null } {
  let typedef: string | null = null;
  for (let at = id; ;) {
    const type = file.types[at];
    if (!type) throw new EunomiaError('BAD_OBJECT', `BTF refers to the type ${at}, which it does not have`);
    if (type.kind === 'typedef') {
      if (!typedef || (!kindOfTypedef(typedef) && kindOfTypedef(type.name))) typedef = type.name;
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
