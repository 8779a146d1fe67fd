import type { GraphQLFieldResolver, GraphQLResolveInfo } from 'graphql';
import type { RequestContext } from '../context.js';

/** What the composition of resolvers takes; each module types its own parents and arguments with `typed`. */
export type ResolverMap = Record<string, Record<string, AnyField | AnySubscription | ((value: unknown) => unknown)>>;
export type AnyField = GraphQLFieldResolver<unknown, RequestContext, Record<string, unknown>>;
export interface AnySubscription {
  readonly subscribe: AnyField;
  readonly resolve: (payload: unknown) => unknown;
}

export type Field<Parent, Args = Record<string, never>> = (
  parent: Parent,
  args: Args,
  context: RequestContext,
  info: GraphQLResolveInfo,
) => unknown;

/**
 * A promise for a resolver's value whose callbacks may throw. graphql-jit lets them throw when the execution that waits
 * for it has failed before: nobody would catch that, and Node would end the process.
 */
class GuardedPromise<Value> extends Promise<Value> {
  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise, and only looks after what comes of its callbacks
  override then<Next = Value, Caught = never>(
    onValue?: ((value: Value) => Next | PromiseLike<Next>) | null,
    onError?: ((error: unknown) => Caught | PromiseLike<Caught>) | null,
  ): Promise<Next | Caught> {
    const settled = Promise.prototype.then.call(this, onValue, onError) as Promise<Next | Caught>;
    Promise.prototype.then.call(settled, undefined, () => undefined);
    return settled;
  }
}

export function guarded<Value>(value: Value | Promise<Value>): Promise<Value> {
  return new GuardedPromise((resolve) => resolve(value));
}

/**
 * The one place where types are taken on trust: the schema guarantees the arguments, and the resolver of the parent's
 * field its value.
 */
export function typed<Parent, Args = Record<string, never>>(resolve: Field<Parent, Args>): AnyField {
  return resolve as unknown as AnyField;
}
