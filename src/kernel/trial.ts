import { readFileSync } from 'node:fs';
import { serialize } from 'node:v8';
import { cgroupRoot } from './attach.js';
import type { ObjectSpec, Unloaded } from './object-spec.js';
import { loadOptional } from './optional.js';
import { kernelStore } from './store.js';

/**
 * Loads an object and drops it: whether this kernel's verifier accepts it. Resolves to the optional programs that it is without here.
 * Rejects with a KernelError, and with NO_CGROUP_ROOT.
 */
export async function tryObject(spec: ObjectSpec): Promise<Unloaded> {
  return placed(await load(spec));
}

/** The same, without loading it where an earlier process could under the same conditions in the same kernel. */
export async function rememberedTrial(spec: ObjectSpec): Promise<Unloaded> {
  const store = kernelStore();
  const name = `tried-${spec.name}`;
  const known = store?.read(name, conditions(spec)) as Trial | null | undefined;
  if (known) return placed(known);
  const trial = await load(spec);
  // What the verifier has refused is told with its log, each time.
  if (trial.unloaded.refused.length === 0) store?.write(name, conditions(spec), trial);
  return placed(trial);
}

interface Trial {
  readonly unloaded: Unloaded;
  /** It has programs of cgroups. */
  readonly ofCgroups: boolean;
}

async function load(spec: ObjectSpec): Promise<Trial> {
  const object = await loadOptional(spec);
  try {
    return { unloaded: object.unloaded, ofCgroups: object.ofCgroups };
  } finally {
    await object.close();
  }
}

/** Where programs attach may be mounted and unmounted at any time: that is looked at anew. */
function placed({ unloaded, ofCgroups }: Trial): Unloaded {
  if (ofCgroups) cgroupRoot();
  return unloaded;
}

/** Where the server itself starts; to the verifier, one process that a program leaves out is as good as another. */
function conditions(spec: ObjectSpec): Buffer {
  const { eu_self: self = 0, ...constants } = spec.constants;
  const asked = { ...spec, constants, leavesOut: self !== 0 };
  return Buffer.concat([readFileSync(spec.path), serialize({ asked, ...surroundings() })]);
}

/**
 * All that decides beside the kernel and the object. Modules bring hooks, and name themselves in a line each, with counts that change.
 * Without the compiler to machine code, the kernel refuses some programs.
 */
export function surroundings(): Readonly<Record<string, string | readonly string[]>> {
  const modules = textOf('/proc/modules')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '');
  const [, rights = ''] = /^CapEff:\s*(\S+)/m.exec(textOf('/proc/self/status')) ?? [];
  const lockdown = textOf('/sys/kernel/security/lockdown');
  const compiled = textOf('/proc/sys/net/core/bpf_jit_enable');
  return { modules: modules.sort(), rights, lockdown, compiled };
}

/** Empty where there is no such file: a kernel without modules, or without lockdown. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
