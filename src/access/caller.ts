import type { Role } from '../base/config.js';
import { refusalOf, type GuardedOperation } from './role.js';

/** Who asks for something. */
export interface Identity {
  /** How it was identified, for people who read the log; no secret. */
  readonly who: string;
  readonly role: Role;
}

/** Who asks, and for how long. */
export interface Caller extends Identity {
  /** Aborts when nobody waits for the result any more. */
  readonly signal: AbortSignal;
  /** What it came on: what one connection asks for at once waits for each other. Absent in this process. */
  readonly connection?: object;
}

/** Throws FORBIDDEN when the caller's role does not include the operation. */
export function authorize({ role }: Identity, operation: GuardedOperation): void {
  const refused = refusalOf(operation, role);
  if (refused) throw refused;
}
