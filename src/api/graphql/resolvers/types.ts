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
 * The one place where types are taken on trust: the schema guarantees the arguments, and the resolver of the parent's
 * field its value.
 */
export function typed<Parent, Args = Record<string, never>>(resolve: Field<Parent, Args>): AnyField {
  return resolve as unknown as AnyField;
}
