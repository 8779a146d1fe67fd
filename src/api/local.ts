import type { Role } from '../config.js';
import type { Services } from './context.js';
import { Engine, type Answer, type OperationRequest } from './engine.js';
import { createSchema } from './schema.js';

const engines = new WeakMap<Services, Engine>();

/**
 * Runs an operation in this process, as a client of the server would: the same schema, limits and execution. Queries and
 * mutations answer a result, subscriptions a stream of results (an async iterator: leave it by `return()`). Never rejects.
 * `signal` is the client that goes away: aborting it ends a `trace` early.
 */
export async function executeLocally(
  services: Services,
  request: OperationRequest,
  role: Role = 'operator',
  signal: AbortSignal = new AbortController().signal,
): Promise<Answer> {
  const engine = engines.get(services) ?? new Engine(createSchema(), services);
  engines.set(services, engine);
  return engine.run(request, { role, signal });
}
