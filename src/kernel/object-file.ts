import { readFileSync, statSync } from 'node:fs';
import { EunomiaError } from '../base/errors.js';
import { parseBpfFile, type BpfFile } from '../btf/btf.js';
import { loadLibc } from './libbpf.js';
import type { ObjectSpec } from './object-spec.js';
import { kernelHas, tracepointArguments } from './tracepoints.js';

/** A constant of memory.bpf.h. */
const PAGE_BYTES = 'eu_page_bytes';

export type ObjectVariables = BpfFile['variables'];

/** What is known of an object's file without libbpf. */
export interface ObjectFile {
  readonly path: string;
  /** Another one where the file has changed. */
  readonly stamp: string;
  readonly variables: ObjectVariables;
}

export interface ReadObjectFile extends ObjectFile {
  readonly bytes: Uint8Array;
  readonly types: BpfFile['types'];
}

/** Throws BAD_OBJECT where it is no BPF object. */
export function readObjectFile(path: string): ReadObjectFile {
  const stamp = stampOf(path); // before it is read: what replaces the file meanwhile has another one
  const bytes = readFileSync(path);
  const { types, variables } = parseBpfFile(bytes, path);
  return { path, stamp, bytes, types, variables };
}

export function stampOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}

/**
 * Whether the kernel compiles programs to machine code: only then may they call its functions. Where it does not say, it does: most kernels
 * cannot do otherwise (CONFIG_BPF_JIT_ALWAYS_ON).
 */
function isCompiled(): boolean {
  try {
    return readFileSync('/proc/sys/net/core/bpf_jit_enable', 'utf8').trim() !== '0';
  } catch {
    return true; // this process has a network namespace of its own
  }
}

/**
 * Writes an object's constants (`const volatile`) into what its .rodata begins with: those of the spec, and those that say what machine it
 * is. Throws BAD_OBJECT for one that the object does not have.
 */
export function writeConstants(
  { name, constants }: ObjectSpec,
  variables: ObjectVariables,
  rodata: () => DataView,
): void {
  const tracepoints = [...variables.keys()].flatMap((variable) => {
    const [, tracepoint] = /^eu_args_(\w+)$/.exec(variable) ?? [];
    return tracepoint === undefined ? [] : [[variable, tracepointArguments(tracepoint) ?? 0] as const];
  });
  const functions = [...variables.keys()].flatMap((variable) => {
    const [, kernelFunction] = /^eu_has_(\w+)$/.exec(variable) ?? [];
    return kernelFunction === undefined ? [] : [[variable, isCompiled() && kernelHas(kernelFunction)] as const];
  });
  const page = variables.has(PAGE_BYTES) ? [[PAGE_BYTES, loadLibc().getpagesize()] as const] : [];
  for (const [constant, value] of [...tracepoints, ...functions, ...page, ...Object.entries(constants)]) {
    const variable = variables.get(constant);
    if (!variable || variable.section !== '.rodata') {
      throw new EunomiaError('BAD_OBJECT', `${name}.bpf.o has no constant ${constant} (const volatile)`);
    }
    const view = rodata();
    if (value instanceof Uint16Array) {
      if (value.byteLength !== variable.size)
        throw new EunomiaError(
          'BAD_OBJECT',
          `${name}.bpf.o: ${constant} has ${variable.size} bytes, not ${value.byteLength}`,
        );
      value.forEach((element, i) => view.setUint16(variable.offset + 2 * i, element, true));
    } else if (variable.size === 1) view.setUint8(variable.offset, Number(value));
    else if (variable.size === 2) view.setUint16(variable.offset, Number(value), true);
    else if (variable.size === 4) view.setUint32(variable.offset, Number(value), true);
    else view.setBigUint64(variable.offset, BigInt(value), true);
  }
}
