import { readFileSync } from 'node:fs';
import { serialize } from 'node:v8';
import type { ObjectSpec, Unloaded } from './object-spec.js';
import { loadOptional } from './optional.js';
import { kernelStore } from './store.js';

/**
 * Loads an object and drops it: whether this kernel's verifier accepts it. Resolves to the optional programs that it is without here.
 * Rejects with a KernelError.
 */
export async function tryObject(spec: ObjectSpec): Promise<Unloaded> {
  const object = await loadOptional(spec);
  try {
    object.checkPlaces();
    return object.unloaded;
  } finally {
    await object.close();
  }
}

/** The same, without loading it where an earlier process could, with the same rights and the same modules in the same kernel. */
export async function rememberedTrial(spec: ObjectSpec): Promise<Unloaded> {
  const store = kernelStore();
  const name = `tried-${spec.name}`;
  const known = store?.read(name, conditions(spec)) as Unloaded | null | undefined;
  if (known) return known;
  const unloaded = await tryObject(spec);
  // What the verifier has refused is told with its log, each time.
  if (unloaded.refused.length === 0) store?.write(name, conditions(spec), unloaded);
  return unloaded;
}

/** All that decides beside the kernel. Modules bring hooks, and name themselves in a line each, with counts that change. */
function conditions(spec: ObjectSpec): Buffer {
  const modules = textOf('/proc/modules')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '');
  const [, rights = ''] = /^CapEff:\s*(\S+)/m.exec(textOf('/proc/self/status')) ?? [];
  const lockdown = textOf('/sys/kernel/security/lockdown');
  return Buffer.concat([readFileSync(spec.path), serialize({ spec, modules: modules.sort(), rights, lockdown })]);
}

/** Empty where there is no such file: a kernel without modules, or without lockdown. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
