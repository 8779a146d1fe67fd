import type { AttachTarget } from './attach.js';

export interface ObjectSpec {
  /** What errors call it, for example "open". */
  readonly name: string;
  /** Path of the .bpf.o file. */
  readonly path: string;
  /** Values for its `const volatile` globals, by their C names. */
  readonly constants: Readonly<Record<string, boolean | number | bigint | Uint16Array>>;
  /** Programs that are not loaded. */
  readonly unneeded: readonly string[];
  /** Where programs attach whose section does not say it, by program name. Default for programs of cgroups: the v2 hierarchy's root. */
  readonly attachments?: Readonly<Record<string, AttachTarget>>;
  /** Program → capture bits: it serves these alone, and is attached only while one of them is in the mask. */
  readonly demanded?: Readonly<Record<string, bigint>>;
  /** Programs at the beginning or end of system calls → the calls that they look at. Default: they are attached by themselves. */
  readonly calls?: Readonly<Record<string, CallHook>>;
  /**
   * Programs that a kernel may be without: how many arguments their tracepoint has in the kernels that they know. They
   * are loaded where it is so, and a constant `eu_args_TRACEPOINT` of the object, where there is one, says how many it
   * has here (0: there is no such tracepoint). Of programs on other hooks than BTF tracepoints only loading tells
   * (optional.ts), and the list is empty.
   */
  readonly optional?: Readonly<Record<string, readonly number[]>>;
  /** For an object that aggregates in maps (aggregate.bpf.h): how often they are read. */
  readonly aggregatesEveryMs?: number;
}

export interface CallHook {
  /** "tp_btf/sys_exit" */
  readonly hook: string;
  /** Of its calls, in bpf/dispatch.bpf.c; null: it looks at each call (each_call.bpf.h). */
  readonly slots: readonly number[] | null;
}

/** A program that the kernel's verifier has refused: a fault of the program's. */
export interface RefusedProgram {
  readonly program: string;
  readonly errno: string | null;
  /** The verifier's last lines. */
  readonly log: string;
}

/** Optional programs that an object is loaded without. */
export interface Unloaded {
  /** This kernel lacks their hooks. */
  readonly missing: readonly string[];
  readonly refused: readonly RefusedProgram[];
}
