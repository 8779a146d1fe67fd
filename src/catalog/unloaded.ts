import type { TrackerDefinition } from '../tracker/define.js';
import { listed } from '../base/listed.js';

/** Optional programs that a tracker's object was loaded without, as the kernel thread tells them. */
export interface UnloadedPrograms {
  /** The kernel lacks their hooks. */
  readonly missing: readonly string[];
  /** The kernel's verifier has refused them. */
  readonly refused: readonly { readonly program: string; readonly errno: string | null }[];
}

/** What a tracker does not see without these programs, and why: a sentence each, faults of its own first. */
export function blindSpotsWithout(definition: TrackerDefinition, { missing, refused }: UnloadedPrograms): string[] {
  return [...refusals(definition, { missing, refused }), ...lacks(definition, missing)];
}

/** Those of them that are faults of the tracker: it should see this on this kernel. */
export function refusals({ blindWithout = [] }: TrackerDefinition, { missing, refused }: UnloadedPrograms): string[] {
  return blindWithout.flatMap(({ programs, what }) => {
    const mine = refused.filter(({ program }) => programs.includes(program));
    // One of them that is loaded is enough.
    if (
      mine.length === 0 ||
      mine.length + programs.filter((program) => missing.includes(program)).length < programs.length
    )
      return [];
    const which = listed(mine.map(({ program, errno }) => `${program} (${errno ?? 'no errno'})`));
    return [
      `${what}: the kernel's verifier refused the program ${which}. ` +
        `This is a fault of this version of Eunomia, not of the kernel; the server's log has the verifier's message.`,
    ];
  });
}

function lacks({ blindWithout = [] }: TrackerDefinition, missing: readonly string[]): string[] {
  return blindWithout
    .filter(({ programs }) => programs.every((program) => missing.includes(program)))
    .map(({ what, lacking }) => `${what}: ${lacking}.`);
}
