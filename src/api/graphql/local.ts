import type { Caller } from '../../access/caller.js';
import type { Service } from '../../service/service.js';
import { Executor, type OperationResult, type OperationRequest } from './executor.js';
import { contractSchema } from './schema.js';

const executors = new WeakMap<Service, Executor>();

/**
 * Runs an operation in this process, as a client of the server would: the same schema, limits and execution. Queries and
 * mutations return a result, subscriptions a stream of results (an async iterator: leave it by `return()`). Never rejects.
 * The caller's signal is the client that goes away: aborting it ends a `trace` early.
 */
export async function executeLocally(
  service: Service,
  request: OperationRequest,
  caller: Caller,
): Promise<OperationResult> {
  const executor = executors.get(service) ?? new Executor(contractSchema(), service);
  executors.set(service, executor);
  return executor.run(request, caller);
}
