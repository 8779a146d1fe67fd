import type { EunomiaError } from '../../../base/errors.js';
import type { HeldThings } from '../../../service/processes.js';
import type { RequestContext } from '../context.js';

/** Of one operation, or one result of a subscription: what all its events lead to is read at once. */
const heldOf = new WeakMap<RequestContext, HeldThings>();

export function held(context: RequestContext): HeldThings {
  const known = heldOf.get(context) ?? context.service.processes.held(context.caller);
  heldOf.set(context, known);
  return known;
}

/** Why an operation that was executed has no result. */
export function refusalOf(context: RequestContext): EunomiaError | null {
  return heldOf.get(context)?.refusal ?? null;
}
