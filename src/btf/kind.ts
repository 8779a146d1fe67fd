import type { FieldValue } from '../event/event.js';
import type { ScalarName } from '../event/scalar.js';
import { errnoName } from '../linux/linux.js';
import { decode } from './decode.js';

interface Common {
  /** Size of the value in bytes; null if the C type determines it. */
  readonly bytes: number | null;
  /**
   * Scalars of the schema that can represent it without code in the tracker. Empty for an enum, which has its own type.
   */
  readonly scalars: readonly ScalarName[];
  readonly list?: true;
  /** Whether a record can contain null for this kind. */
  readonly nullable: boolean;
  /** What it is made of is elsewhere, and its bytes tell nothing by themselves: two records with the same value differ in them. */
  readonly behind?: true;
  /** True if user space adds it up over CPUs as 64-bit integers. Aggregates treat it as a total. */
  readonly isTotal?: true;
  /** True if user space takes the greatest of all CPUs. */
  readonly isLatest?: true;
  /**
   * How /metrics uses it: events by errno, sums, histograms, events by value. `bytes` applies only to fields named
   * `…Bytes`.
   */
  readonly metric?: 'errors' | 'bytes' | 'sums' | 'durations' | 'values';
}

/**
 * How the value is stored and read. Each consumer (views, JSON, aggregates, the embedded store) has one fast path per
 * form; for `made` it reads the decoded event. A new kind uses an existing form.
 */
export type Form =
  /** An integer of at most 32 bits. */
  | { readonly form: 'integer'; readonly signed: boolean }
  /** A 64-bit integer, returned as decimal text. `none`: all bits set represent null. */
  | { readonly form: 'wide'; readonly signed: boolean; readonly none?: true }
  | { readonly form: 'flag' }
  /**
   * An integer of at most 32 bits that represents one of few texts, which consumers cache. `name` is null for an enum,
   * whose names are in its BTF.
   */
  | { readonly form: 'code'; readonly signed: boolean; readonly name: ((code: number) => string | null) | null }
  /** NUL-terminated text at a fixed offset. */
  | { readonly form: 'fixed' }
  /** Text after the struct: length << 16 | offset; 0 is null. */
  | { readonly form: 'text' }
  /** Nanoseconds on CLOCK_BOOTTIME; 0 is null. */
  | { readonly form: 'time' }
  /** A fact of the container of the process whose header it is; null for a process of the host. */
  | { readonly form: 'container'; readonly fact: 'id' | 'name' }
  /** Any other form. `record` and `at` are the offsets of the record and of the value. */
  | {
      readonly form: 'made';
      readonly make: (bytes: Uint8Array, view: DataView, record: number, at: number, size: number) => FieldValue;
    };

export type Kind = Common & Form;

const integer = (bytes: number, signed: boolean, ...scalars: ScalarName[]): Kind => ({
  form: 'integer',
  signed,
  bytes,
  scalars,
  nullable: false,
});

const table = {
  u8: integer(1, false, 'Int'),
  u16: integer(2, false, 'Int'),
  u32: integer(4, false, 'Int', 'UInt32'),
  s8: integer(1, true, 'Int'),
  s16: integer(2, true, 'Int'),
  s32: integer(4, true, 'Int'),
  u64: { form: 'wide', signed: false, bytes: 8, scalars: ['UInt64'], nullable: false, metric: 'bytes' },
  s64: { form: 'wide', signed: true, bytes: 8, scalars: ['Int64'], nullable: false },
  bool: { form: 'flag', bytes: 1, scalars: ['Boolean'], nullable: false },
  chars: { form: 'fixed', bytes: null, scalars: ['String'], nullable: false },
  /** 1, 2 or 4 bytes. A number that is not one of the enum's values is null; no program writes one. */
  enum: { form: 'code', signed: false, name: null, bytes: null, scalars: [], nullable: false, metric: 'values' },

  eu_str: { form: 'text', bytes: 4, scalars: ['String'], nullable: true, behind: true },
  eu_strs: {
    form: 'made',
    make: (bytes, view, record, at) => decode.texts(bytes, record, view.getUint32(at, true)),
    bytes: 4,
    scalars: ['String'],
    list: true,
    nullable: true,
    behind: true,
  },
  /** For definitions: fields read it `from` the record as a text whose characters are its bytes. No scalar shows it. */
  eu_bytes: {
    form: 'made',
    make: (bytes, view, record, at) => decode.bytes(bytes, record, view.getUint32(at, true)),
    bytes: 4,
    scalars: [],
    nullable: true,
    behind: true,
  },
  /**
   * A user stack: captured as bytes, in place of which the records that sessions get have texts like those of `eu_strs`, a frame each
   * (session/stacks.ts). Null for one that is as it was captured.
   */
  eu_stack: {
    form: 'made',
    make: (bytes, view, record, at) => decode.stack(bytes, record, view.getUint32(at, true)),
    bytes: 4,
    scalars: ['String'],
    list: true,
    nullable: true,
    behind: true,
  },
  eu_errno: {
    form: 'code',
    signed: true,
    name: errnoName,
    bytes: 4,
    scalars: ['Errno'],
    nullable: true,
    metric: 'errors',
  },
  eu_ip: {
    form: 'made',
    make: (bytes, _view, _record, at) => decode.ip(bytes, at),
    bytes: 16,
    scalars: ['String'],
    nullable: false,
  },
  eu_boot_ns: { form: 'time', bytes: 8, scalars: ['DateTime'], nullable: true },
  eu_latest_boot_ns: { form: 'time', bytes: 8, scalars: ['DateTime'], nullable: true, isLatest: true },
  /** Null represents unknown values. A field that always has a value is non-null in the schema. */
  eu_duration_ns: {
    form: 'wide',
    signed: false,
    none: true,
    bytes: 8,
    scalars: ['UInt64'],
    nullable: false,
    metric: 'durations',
  },
  eu_amount: { form: 'wide', signed: false, bytes: 8, scalars: ['UInt64'], nullable: false },
  eu_total: {
    form: 'wide',
    signed: false,
    bytes: 8,
    scalars: ['UInt64'],
    nullable: false,
    isTotal: true,
    metric: 'sums',
  },
  eu_log2: {
    form: 'made',
    make: (_bytes, view, _record, at, size) => decode.log2(view, at, size / 8),
    bytes: 384,
    scalars: ['HistogramBucket'],
    list: true,
    nullable: true,
    isTotal: true,
  },

  /** These two are at the header of an event's second process (layout.ts), which has no such members. */
  container_id: { form: 'container', fact: 'id', bytes: null, scalars: ['String'], nullable: true, behind: true },
  container_name: { form: 'container', fact: 'name', bytes: null, scalars: ['String'], nullable: true, behind: true },
} as const satisfies Readonly<Record<string, Kind>>;

/** The type of a value in a record: a plain C type, or a typedef of eunomia.bpf.h by its name. */
export type FieldKind = keyof typeof table;

/**
 * Every kind of value that a record can contain. A new kind needs one row here and its typedef. Its columns in stores
 * and exports, its filter and its measures follow from its scalar (event/scalar.ts).
 */
export const kinds: Readonly<Record<FieldKind, Kind>> = table;

/** Returns the kind of a typedef; null if the typedef is not a kind. */
export function kindOfTypedef(name: string): FieldKind | null {
  return name.startsWith('eu_') && Object.hasOwn(kinds, name) ? (name as FieldKind) : null;
}
