import { EunomiaError } from '../base/errors.js';
import {
  cString,
  isElf,
  readSections,
  readSymbols,
  SHF_EXECINSTR,
  SHT_NOBITS,
  SHT_PROGBITS,
  STT_FUNC,
  STT_OBJECT,
} from './elf.js';

/**
 * Reads the metadata of a compiled BPF object: types (.BTF), global variables and program sections. Needs neither
 * libbpf nor privileges, so that layouts are available wherever the file is. Formats: Documentation/bpf/btf.rst, ELF-64
 * little endian.
 */
export interface BpfFile {
  readonly types: readonly BtfType[];
  /** Programs by name, with their libbpf section names: "tp_btf/sys_exit". */
  readonly programs: ReadonlyMap<string, string>;
  /** Global variables by name. */
  readonly variables: ReadonlyMap<string, { readonly section: string; readonly offset: number; readonly size: number }>;
}

export type BtfKind =
  | 'void'
  | 'int'
  | 'ptr'
  | 'array'
  | 'struct'
  | 'union'
  | 'enum'
  | 'fwd'
  | 'typedef'
  | 'volatile'
  | 'const'
  | 'restrict'
  | 'func'
  | 'func_proto'
  | 'var'
  | 'datasec'
  | 'float'
  | 'decl_tag'
  | 'type_tag'
  | 'enum64';

const kinds: readonly BtfKind[] = [
  'void',
  'int',
  'ptr',
  'array',
  'struct',
  'union',
  'enum',
  'fwd',
  'typedef',
  'volatile',
  'const',
  'restrict',
  'func',
  'func_proto',
  'var',
  'datasec',
  'float',
  'decl_tag',
  'type_tag',
  'enum64',
];

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  /** Offset from the start of the struct. */
  readonly bitOffset: number;
}

export interface BtfType {
  readonly kind: BtfKind;
  readonly name: string;
  /** Size in bytes; 0 for kinds that refer to a type. */
  readonly size: number;
  /** The id of the referenced type; 0 (void) for kinds that reference none. */
  readonly type: number;
  readonly members: readonly BtfMember[];
  readonly values: readonly { readonly name: string; readonly value: number }[];
  readonly elements: number;
  readonly signed: boolean;
  readonly bool: boolean;
}

export function parseBpfFile(bytes: Uint8Array, label: string): BpfFile {
  const corrupt = (what: string) =>
    new EunomiaError('BAD_OBJECT', `${label} is not a BPF object: ${what}; build it again with npm run build`);
  try {
    if (!isElf(bytes)) throw corrupt('no 64-bit little-endian ELF header');
    const sections = readSections(bytes);
    const btf = sections.find((s) => s.name === '.BTF');
    if (!btf) throw corrupt('it has no BTF (clang needs -g)');
    const symbols = readSymbols(bytes, sections).flatMap((symbol) => {
      const section = sections[symbol.section];
      return section && (section.type === SHT_PROGBITS || section.type === SHT_NOBITS) ? [{ ...symbol, section }] : [];
    });
    return {
      types: parseTypes(bytes.subarray(btf.offset, btf.offset + btf.size)),
      programs: new Map(
        symbols
          .filter(({ kind, section }) => kind === STT_FUNC && section.flags & SHF_EXECINSTR && section.name !== '.text')
          .map(({ name, section }) => [name, section.name]),
      ),
      variables: new Map(
        symbols
          .filter(({ kind }) => kind === STT_OBJECT)
          .map(({ name, section, offset, size }) => [name, { section: section.name, offset, size }]),
      ),
    };
  } catch (error) {
    if (error instanceof RangeError) throw corrupt('it is cut short');
    throw error;
  }
}

const voidType: BtfType = {
  kind: 'void',
  name: '',
  size: 0,
  type: 0,
  members: [],
  values: [],
  elements: 0,
  signed: false,
  bool: false,
};

function parseTypes(btf: Uint8Array): BtfType[] {
  const view = new DataView(btf.buffer, btf.byteOffset, btf.byteLength);
  const headerLength = view.getUint32(4, true);
  const start = headerLength + view.getUint32(8, true);
  const end = start + view.getUint32(12, true);
  const strings = headerLength + view.getUint32(16, true);
  const text = (offset: number) => cString(btf, strings + offset);
  const types: BtfType[] = [voidType];

  for (let at = start; at < end;) {
    const info = view.getUint32(at + 4, true);
    const kind = kinds[(info >>> 24) & 0x1f];
    if (!kind) throw new RangeError('unknown BTF kind');
    const length = info & 0xffff;
    const flag = info >>> 31 === 1;
    const sizeOrType = view.getUint32(at + 8, true);
    const name = text(view.getUint32(at, true));
    at += 12;
    let type: BtfType = { ...voidType, kind, name };
    switch (kind) {
      case 'int': {
        const encoding = view.getUint32(at, true);
        type = {
          ...type,
          size: sizeOrType,
          signed: ((encoding >>> 24) & 1) !== 0,
          bool: ((encoding >>> 24) & 4) !== 0,
        };
        at += 4;
        break;
      }
      case 'array':
        type = { ...type, type: view.getUint32(at, true), elements: view.getUint32(at + 8, true) };
        at += 12;
        break;
      case 'struct':
      case 'union':
      case 'datasec': {
        const members: BtfMember[] = [];
        for (let i = 0; i < length; i++, at += 12) {
          const offset = view.getUint32(at + 8, true);
          members.push({
            name: kind === 'datasec' ? '' : text(view.getUint32(at, true)),
            type: view.getUint32(at + (kind === 'datasec' ? 0 : 4), true),
            bitOffset: flag ? offset & 0xffffff : offset,
          });
        }
        type = { ...type, size: sizeOrType, members };
        break;
      }
      case 'enum':
      case 'enum64': {
        const width = kind === 'enum' ? 8 : 12;
        const values: { name: string; value: number }[] = [];
        for (let i = 0; i < length; i++, at += width) {
          values.push({
            name: text(view.getUint32(at, true)),
            value: flag ? view.getInt32(at + 4, true) : view.getUint32(at + 4, true),
          });
        }
        type = { ...type, size: sizeOrType, values, signed: flag };
        break;
      }
      case 'func_proto':
        at += length * 8;
        break;
      case 'var':
      case 'decl_tag':
        type = { ...type, type: sizeOrType };
        at += 4;
        break;
      case 'float':
        type = { ...type, size: sizeOrType };
        break;
      case 'fwd':
        break;
      default:
        type = { ...type, type: sizeOrType };
    }
    types.push(type);
  }
  return types;
}
