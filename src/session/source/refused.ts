import type { Log } from '../../base/log.js';
import type { RefusedProgram } from '../../kernel/object-spec.js';

/** The log has what the verifier said; clients are told what is not seen without the program (catalog/unloaded.ts). */
export function warnOfRefused(
  log: Log,
  refused: RefusedProgram & { readonly tracker: string; readonly session?: string },
): void {
  log.warn(refused, "the kernel's verifier refused an optional program of a tracker, which runs without it");
}
