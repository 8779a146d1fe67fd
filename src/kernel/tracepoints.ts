import { readFileSync } from 'node:fs';
import { kernelStore } from './store.js';

/** Format: Documentation/bpf/btf.rst. */
const KIND_PTR = 2;
const KIND_TYPEDEF = 8;
const KIND_FUNC_PROTO = 13;
/** int, struct, union, enum, typedef, enum64: not what is declared alone. */
const TYPE_KINDS: ReadonlySet<number> = new Set([1, 4, 5, 6, 8, 19]);
const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
const PREFIX = 'btf_trace_';
/** Bytes after a type's 12, by kind: fixed, and for each of its members. */
const fixed: Readonly<Record<number, number>> = { 1: 4, 3: 12, 14: 4, 17: 4 };
const each: Readonly<Record<number, number>> = { 4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12 };

/** What was asked of the running kernel's BTF so far. */
interface Facts {
  /** Null: not read yet. */
  tracepoints: ReadonlyMap<string, number> | null;
  readonly names: Map<string, boolean>;
}

const FACTS = 'facts';
let facts: Facts | null = null;

/**
 * How many arguments a tracepoint of the running kernel has, as a program of type tp_btf sees them; null where there is
 * none of this name, or where the kernel does not tell its types. Reads 6 MB once: some 10 ms.
 */
export function tracepointArguments(name: string): number | null {
  const known = knownFacts();
  known.tracepoints ??= ofKernel(parseTracepoints) ?? new Map();
  return known.tracepoints.get(name) ?? null;
}

/** Whether the running kernel has something of this name: a function that programs may call, or a type. Reads 6 MB once a name. */
export function kernelHas(name: string): boolean {
  const { names } = knownFacts();
  let has = names.get(name);
  if (has === undefined) {
    has = ofKernel((btf) => btf.includes(`\0${name}\0`)) ?? false;
    names.set(name, has);
  }
  return has;
}

/** Those of these types, by their names, that the kernel has not, without its modules. Reads 6 MB: some 10 ms. */
export function kernelLacks(names: ReadonlySet<string>): readonly string[] {
  const there = ofKernel((btf) => parseTypeNames(btf, names)) ?? new Set();
  return [...names].filter((name) => !there.has(name));
}

function knownFacts(): Facts {
  facts ??= (kernelStore()?.read(FACTS, FACTS) as Facts | null) ?? { tracepoints: null, names: new Map() };
  return facts;
}

/** Null where the kernel does not tell its types. What was found is kept for later processes. */
function ofKernel<Result>(find: (btf: Buffer) => Result): Result | null {
  let btf: Buffer;
  try {
    btf = readFileSync(KERNEL_BTF);
  } catch {
    return null;
  }
  const found = find(btf);
  setImmediate(() => kernelStore()?.write(FACTS, FACTS, facts));
  return found;
}

/** Those of the names that are a type's. A name is in the strings once, so that types are looked for by its place. */
export function parseTypeNames(btf: Buffer, names: ReadonlySet<string>): ReadonlySet<string> {
  const header = btf.readUInt32LE(4);
  const start = header + btf.readUInt32LE(8);
  const end = start + btf.readUInt32LE(12);
  const strings = header + btf.readUInt32LE(16);
  const wanted = new Map<number, string>();
  for (const name of names) {
    const at = btf.indexOf(`\0${name}\0`, strings);
    if (at >= 0) wanted.set(at + 1 - strings, name);
  }
  const found = new Set<string>();
  for (let at = start; at < end;) {
    const info = btf.readUInt32LE(at + 4);
    const kind = (info >>> 24) & 0x1f;
    const name = TYPE_KINDS.has(kind) ? wanted.get(btf.readUInt32LE(at)) : undefined;
    if (name !== undefined) found.add(name);
    at += 12 + (fixed[kind] ?? 0) + (each[kind] ?? 0) * (info & 0xffff);
  }
  return found;
}

/** By name, the arguments of each tracepoint that a kernel's BTF describes: typedef btf_trace_NAME → pointer → prototype. */
export function parseTracepoints(btf: Buffer): ReadonlyMap<string, number> {
  const header = btf.readUInt32LE(4);
  const start = header + btf.readUInt32LE(8);
  const end = start + btf.readUInt32LE(12);
  const strings = header + btf.readUInt32LE(16);
  const places = [0]; // by type id, which counts from 1
  const typedefs: number[] = [];
  for (let at = start; at < end;) {
    const info = btf.readUInt32LE(at + 4);
    const kind = (info >>> 24) & 0x1f;
    places.push(at);
    if (kind === KIND_TYPEDEF) typedefs.push(at);
    at += 12 + (fixed[kind] ?? 0) + (each[kind] ?? 0) * (info & 0xffff);
  }
  const kindAt = (at: number): number => (btf.readUInt32LE(at + 4) >>> 24) & 0x1f;
  const found = new Map<string, number>();
  for (const at of typedefs) {
    const name = strings + btf.readUInt32LE(at);
    if (btf.toString('latin1', name, name + PREFIX.length) !== PREFIX) continue;
    const pointer = places[btf.readUInt32LE(at + 8)];
    const prototype = pointer && kindAt(pointer) === KIND_PTR ? places[btf.readUInt32LE(pointer + 8)] : undefined;
    if (!prototype || kindAt(prototype) !== KIND_FUNC_PROTO) continue;
    // The first is the program's own data.
    found.set(
      btf.toString('latin1', name + PREFIX.length, btf.indexOf(0, name)),
      (btf.readUInt32LE(prototype + 4) & 0xffff) - 1,
    );
  }
  return found;
}
