import type { Caller } from '../../access/caller.js';
import type { Service } from '../../service/service.js';
import type { Run } from './run.js';
import type { ClientShare } from './share.js';
import type { Windows } from './windows.js';

/** The part of a request's context that executing an operation needs; the rest is the resolvers'. */
export type ExecutionContext = Pick<RequestContext, 'caller'>;

/** What a resolver gets besides its arguments: one object an operation. */
export interface RequestContext {
  readonly service: Service;
  readonly caller: Caller;
  /** What its client has under way. */
  readonly share: ClientShare;
  /** The variables as the client wrote them: coerced ones do not tell a default from a value that was written. */
  readonly variables: Readonly<Record<string, unknown>>;
  /** The cursor after which the client goes on with a stream that broke; null when it tells none. */
  readonly resumeAfter: string | null;
  /** How many values each event has whose fields are named at run time (`TraceEvent.values`). */
  readonly valuesAnEvent: number;
  /** Whether it selects what leads on from processes (`Process.parent` and the like). */
  readonly readsGraph: boolean;
  /** Takes long connections, where the operation runs compiled. */
  readonly windows?: Windows;
  /** Watches what resolvers return, where the operation runs compiled. */
  readonly run?: Run;
}
