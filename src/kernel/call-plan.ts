import type { CallHook } from './object-spec.js';

/** EU_CHAIN of bpf/include/each_call.bpf.h. */
export const CHAIN_LENGTH = 4;

/** A tracker's program at the beginning or end of system calls. */
export interface CallProgram {
  /** The object that it is of. */
  readonly object: number;
  readonly program: string;
  /** Of its calls, in `eu_dispatch`; null: it looks at each call, and goes on to the next of its chain (each_call.bpf.h). */
  readonly slots: CallHook['slots'];
  /** It is attached only while somebody wants what it serves. */
  readonly demanded: boolean;
}

/** Stands for the dispatcher of a hook's first group. */
export const DISPATCHER = 'dispatcher';

/** How the programs of one hook are run. Those that are in neither are attached by themselves. */
export interface CallPlan {
  /** Each has a dispatcher. */
  readonly groups: readonly (readonly CallProgram[])[];
  /** The first is attached, and goes on to the others, by their places. Empty, or two at least. */
  readonly chain: readonly (CallProgram | typeof DISPATCHER)[];
}

export function planOf(programs: readonly CallProgram[]): CallPlan {
  const groups = groupsOf(programs.filter(({ slots }) => slots));
  return { groups, chain: chainOf(programs, groups) };
}

/**
 * Divides programs of some calls into groups of which no two share a slot. A program that would be alone in its group is in none.
 */
export function groupsOf(programs: readonly CallProgram[]): readonly (readonly CallProgram[])[] {
  const groups: { readonly programs: CallProgram[]; readonly taken: Set<number> }[] = [];
  for (const one of programs) {
    const slots = one.slots ?? [];
    let group = groups.find(({ taken }) => !slots.some((slot) => taken.has(slot)));
    if (!group) groups.push((group = { programs: [], taken: new Set() }));
    group.programs.push(one);
    for (const slot of slots) group.taken.add(slot);
  }
  return groups.map((group) => group.programs).filter((group) => group.length > 1);
}

/**
 * Programs of each call in a row, the first of which is always there, and at the end one that does not go on: the first group's dispatcher,
 * or a program of some calls that is in no group.
 */
function chainOf(programs: readonly CallProgram[], groups: CallPlan['groups']): CallPlan['chain'] {
  const each = programs.filter(({ slots }) => !slots);
  const steady = each.filter(({ demanded }) => !demanded);
  if (steady.length === 0) return [];
  const alone = programs.find((one) => one.slots && !groups.some((group) => group.includes(one)));
  const last: CallPlan['chain'][number] | undefined = groups.length > 0 ? DISPATCHER : alone;
  const going = [...steady, ...each.filter(({ demanded }) => demanded)].slice(
    0,
    last ? CHAIN_LENGTH - 1 : CHAIN_LENGTH,
  );
  const chain = last ? [...going, last] : going;
  return chain.length > 1 ? chain : [];
}
