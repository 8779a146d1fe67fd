import { KernelError } from '../base/errors.js';
import { objectPath } from '../base/paths.js';
import type { KernelObject } from './kernel-object.js';
import { failure, loadLibbpf } from './libbpf.js';
import type { Link } from './link.js';
import type { ObjectSpec } from './object-spec.js';
import { loadOptional } from './optional.js';

const MAP = 'eu_dispatch';
/** The programs of bpf/dispatch.bpf.c, by what they are attached to. */
const DISPATCHERS = { 'tp_btf/sys_enter': 'dispatch_enter', 'tp_btf/sys_exit': 'dispatch_exit' } as const;

type Hook = keyof typeof DISPATCHERS;
const hooks = Object.keys(DISPATCHERS) as readonly Hook[];

/** A tracker's program that looks at some system calls alone. */
export interface CallProgram {
  /** The object that it is of. */
  readonly object: number;
  readonly program: string;
  /** Of its calls, in `eu_dispatch`. */
  readonly slots: readonly number[];
}

/**
 * Divides the programs of one hook into groups of which no two share a slot: each group has a dispatcher. A program that would be alone in
 * its group is in none, and is attached by itself.
 */
export function groupsOf(programs: readonly CallProgram[]): readonly (readonly CallProgram[])[] {
  const groups: { readonly programs: CallProgram[]; readonly taken: Set<number> }[] = [];
  for (const one of programs) {
    let group = groups.find(({ taken }) => !one.slots.some((slot) => taken.has(slot)));
    if (!group) groups.push((group = { programs: [], taken: new Set() }));
    group.programs.push(one);
    for (const slot of one.slots) group.taken.add(slot);
  }
  return groups.map((group) => group.programs).filter((group) => group.length > 1);
}

/**
 * What a source attaches to system calls in the place of its trackers' programs, so that a call that none of them looks at runs few
 * programs instead of all. Where the kernel does not take it, programs are attached by themselves.
 */
export class Dispatch {
  readonly #objects: readonly KernelObject[];
  /** Key of a program → the dispatcher that runs it. */
  readonly #places: ReadonlyMap<string, Place>;

  private constructor(objects: readonly KernelObject[], places: ReadonlyMap<string, Place>) {
    this.#objects = objects;
    this.#places = places;
  }

  /** Loads the dispatchers of these objects' programs. They are attached by `attach`. */
  static async load(specs: readonly Pick<ObjectSpec, 'calls' | 'unneeded'>[]): Promise<Dispatch> {
    const programs = specs.flatMap(({ calls = {}, unneeded }, object) =>
      Object.entries(calls)
        .filter(([program]) => !unneeded.includes(program))
        .map(([program, call]) => ({ object, program, ...call })),
    );
    const groups = hooks.flatMap((hook) =>
      groupsOf(programs.filter((one) => one.hook === hook)).map((group) => ({ hook, group })),
    );
    const loading = await Promise.allSettled(groups.map(({ hook }) => loadOptional(specOf(hook))));
    const objects: KernelObject[] = [];
    const places = new Map<string, Place>();
    for (const [i, loaded] of loading.entries()) {
      if (loaded.status === 'rejected') continue;
      objects.push(loaded.value);
      for (const one of groups[i]?.group ?? [])
        places.set(keyOf(one.object, one.program), { map: loaded.value.mapFd(MAP), slots: one.slots });
    }
    return new Dispatch(objects, places);
  }

  /** Before any program is in a slot. Rejects with a KernelError. */
  async attach(): Promise<void> {
    for (const object of this.#objects) await object.attach();
  }

  /** Lets the dispatcher run a program for its calls. Null where no dispatcher takes it: it is to be attached by itself. */
  place(object: number, program: string, fd: number): Link | null {
    const place = this.#places.get(keyOf(object, program));
    if (!place) return null;
    const link = new SlotsLink(place.map);
    try {
      for (const slot of place.slots) link.fill(slot, fd);
      return link;
    } catch (error) {
      link.clear();
      if (error instanceof KernelError) return null;
      throw error;
    }
  }

  /** As that of an object. */
  get skippedRuns(): number {
    return this.#objects.reduce((sum, object) => sum + object.skippedRuns, 0);
  }

  async detach(): Promise<void> {
    for (const object of this.#objects) await object.detach();
  }

  async close(): Promise<void> {
    for (const object of this.#objects) await object.close();
  }
}

interface Place {
  readonly map: number;
  readonly slots: readonly number[];
}

const keyOf = (object: number, program: string): string => `${object} ${program}`;

function specOf(hook: Hook): ObjectSpec {
  const unneeded = hooks.filter((one) => one !== hook).map((one) => DISPATCHERS[one]);
  return { name: 'dispatch', path: objectPath('dispatch'), constants: {}, unneeded };
}

/** A program in slots of a dispatcher. */
class SlotsLink implements Link {
  readonly #map: number;
  readonly #filled: number[] = [];

  constructor(map: number) {
    this.#map = map;
  }

  fill(slot: number, fd: number): void {
    const result = loadLibbpf().map_update(this.#map, u32(slot), u32(fd), 0);
    if (result < 0) throw failure(`putting a program into slot ${slot} of ${MAP}`, result);
    this.#filled.push(slot);
  }

  clear(): void {
    for (const slot of this.#filled.splice(0)) loadLibbpf().map_delete(this.#map, u32(slot));
  }

  close(): Promise<void> {
    this.clear();
    return Promise.resolve();
  }
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
