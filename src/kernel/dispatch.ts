import { KernelError } from '../base/errors.js';
import { objectPath } from '../base/paths.js';
import { DISPATCHER, planOf, type CallProgram } from './call-plan.js';
import { Chain } from './chain.js';
import type { KernelObject } from './kernel-object.js';
import { failure, loadLibbpf, u32 } from './libbpf.js';
import type { Link } from './link.js';
import type { ObjectSpec } from './object-spec.js';
import { loadOptional } from './optional.js';

const MAP = 'eu_dispatch';
/** What programs are attached to, as chains call it, with the program of bpf/dispatch.bpf.c. In the order in which chains begin. */
const HOOKS = [
  { hook: 'tp_btf/sys_enter', short: 'enter', dispatcher: 'dispatch_enter' },
  { hook: 'tp_btf/sys_exit', short: 'exit', dispatcher: 'dispatch_exit' },
] as const;
type Hook = (typeof HOOKS)[number];

interface Group {
  readonly hook: Hook;
  readonly programs: readonly CallProgram[];
  /** The chain at whose end its dispatcher is. */
  readonly chain: Chain | null;
  object: KernelObject | null;
}

/**
 * What a source attaches to system calls in the place of its trackers' programs, so that a call that none of them looks at runs one program
 * at each hook instead of all. Where the kernel does not take it, programs are attached by themselves.
 */
export class Dispatch {
  readonly #programs: readonly (CallProgram & { readonly hook: string })[];
  readonly #groups: readonly Group[];
  readonly #chains: readonly Chain[];

  private constructor(
    programs: readonly (CallProgram & { readonly hook: string })[],
    groups: readonly Group[],
    chains: readonly Chain[],
  ) {
    this.#programs = programs;
    this.#groups = groups;
    this.#chains = chains;
  }

  /** Before the objects are loaded, which get what `partsOf` says. */
  static make(specs: readonly Pick<ObjectSpec, 'calls' | 'unneeded' | 'demanded'>[]): Dispatch {
    const programs = specs.flatMap(({ calls = {}, unneeded, demanded = {} }, object) =>
      Object.entries(calls)
        .filter(([program]) => !unneeded.includes(program))
        .map(([program, call]) => ({ object, program, demanded: program in demanded, ...call })),
    );
    const groups: Group[] = [];
    const chains: Chain[] = [];
    for (const hook of HOOKS) {
      const plan = planOf(programs.filter((one) => one.hook === hook.hook));
      const chain = Chain.make(hook.short, plan.chain);
      if (chain) chains.push(chain);
      for (const [i, group] of plan.groups.entries())
        groups.push({ hook, programs: group, chain: i === 0 ? chain : null, object: null });
    }
    return new Dispatch(programs, groups, chains);
  }

  /** The maps and constants of an object that has programs in chains. */
  partsOf(object: number): readonly NonNullable<ReturnType<Chain['partOf']>>[] {
    return this.#chains.map((chain) => chain.partOf(object)).filter((part) => part !== null);
  }

  /** Loads the dispatchers. */
  async load(): Promise<void> {
    await Promise.all(
      this.#groups.map(async (group) => {
        const object = await loadOptional(specOf(group.hook)).catch(() => null);
        object?.placeBy((_, fd) => group.chain?.place((one) => one === DISPATCHER, fd) ?? null);
        group.object = object;
      }),
    );
  }

  /** When all is loaded, before any program is attached or placed. */
  check(objects: readonly KernelObject[]): void {
    for (const chain of this.#chains)
      chain.check((one) => {
        if (one !== DISPATCHER) return objects[one.object]?.programFd(one.program) ?? -1;
        const group = this.#groups.find((candidate) => candidate.chain === chain);
        return group?.object?.programFd(group.hook.dispatcher) ?? -1;
      });
  }

  /**
   * The programs that run others, and those of the same tracker at the other end of calls, which must not miss a beginning whose end is
   * seen. They are attached first, in this order, and detached first, in the opposite one.
   */
  get first(): readonly CallProgram[] {
    const heads = this.#chains.map(({ head }) => head).filter((head) => head !== null);
    return HOOKS.flatMap(({ hook }) =>
      this.#programs.filter(
        (one) =>
          one.hook === hook &&
          (heads.includes(one) ||
            (!one.slots &&
              !one.demanded &&
              heads.some(({ object }) => object === one.object) &&
              !this.#chains.some((chain) => chain.has(one)))),
      ),
    );
  }

  /** Before any program is in a slot. Rejects with a KernelError. */
  async attach(): Promise<void> {
    for (const { object } of this.#groups) await object?.attach();
  }

  /** Has a program run for its calls. Null where neither a chain nor a dispatcher takes it: it is to be attached by itself. */
  place(object: number, program: string, fd: number): Link | null {
    const isIt = (one: CallProgram): boolean => one.object === object && one.program === program;
    for (const chain of this.#chains) {
      const link = chain.place((one) => one !== DISPATCHER && isIt(one), fd);
      if (link) return link;
    }
    const group = this.#groups.find(({ programs }) => programs.some(isIt));
    if (!group?.object) return null;
    const link = new SlotsLink(group.object.mapFd(MAP));
    try {
      for (const slot of group.programs.find(isIt)?.slots ?? []) link.fill(slot, fd);
      return link;
    } catch (error) {
      link.clear();
      if (error instanceof KernelError) return null;
      throw error;
    }
  }

  /** As that of an object. */
  get skippedRuns(): number {
    return this.#groups.reduce((sum, { object }) => sum + (object?.skippedRuns ?? 0), 0);
  }

  /** After the heads. */
  async detach(): Promise<void> {
    for (const chain of this.#chains) chain.end();
    for (const { object } of this.#groups) await object?.detach();
  }

  async close(): Promise<void> {
    for (const { object } of this.#groups) await object?.close();
    for (const chain of this.#chains) chain.close();
  }
}

function specOf({ dispatcher }: Hook): ObjectSpec {
  const unneeded = HOOKS.map((one) => one.dispatcher).filter((one) => one !== dispatcher);
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
