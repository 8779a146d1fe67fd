import {
  Kind,
  __Field,
  __Schema,
  __Type,
  type ExecutionResult,
  type GraphQLObjectType,
  type SelectionSetNode,
} from 'graphql';
import { turns } from '../../base/turn.js';
import type { Execution } from './compile.js';

/** A whole introspection is a few megabytes of objects. */
const KEPT = 8;
/** Longer ones are not kept: variables can be of any size. */
const MAX_KEY = 16_384;

/** Fields of introspection with what is below them large. */
const CUT: readonly (readonly [type: GraphQLObjectType, fields: readonly string[]])[] = [
  [__Schema, ['types', 'directives']],
  [__Type, ['fields', 'inputFields', 'enumValues', 'possibleTypes', 'interfaces']],
  [__Field, ['args']],
];

/** Of contexts that a resolver waits for turns for: other users of graphql-js in this process execute introspection at once. */
const waiting = new WeakSet<object>();

/**
 * graphql-js executes an introspection of the whole schema in one piece of hundreds of milliseconds. Its types are one
 * for the process, so their resolvers are replaced once: for a context that was marked, each waits for a turn where
 * this one is over.
 */
for (const [type, names] of CUT) {
  for (const name of names) {
    const field = type.getFields()[name];
    const resolve = field?.resolve;
    if (!field || !resolve) throw new Error(`graphql-js has no resolver of ${type.name}.${name}`);
    field.resolve = (source, args, context: unknown, info) => {
      const isCut = typeof context === 'object' && context !== null && waiting.has(context);
      if (!isCut || turns.isOpen) return resolve(source, args, context, info);
      return turns.next('REQUEST').then(() => resolve(source, args, context, info));
    };
  }
}

/** Results of introspection, made once: the schema never changes while the server runs. */
export class Introspection {
  readonly #results = new WeakMap<Execution['operation'], Map<string, Made>>();
  /** The newest last. */
  #kept: { readonly results: Map<string, Made>; readonly key: string }[] = [];

  /** What `execute` makes of the operation; what it made of it before where the operation asks for nothing but the schema. */
  of(
    execution: Execution,
    execute: (execution: Execution) => ExecutionResult | Promise<ExecutionResult>,
  ): ExecutionResult | Promise<ExecutionResult> {
    const { operation, document, variables, context } = execution;
    waiting.add(context);
    if (operation.operation !== 'query' || !asksForSchema(operation.selectionSet, document)) return execute(execution);
    const key = JSON.stringify(variables);
    const results = this.#results.get(operation) ?? new Map<string, Made>();
    const known = results.get(key);
    if (known) return known;
    const result = execute(execution);
    if (key.length > MAX_KEY) return result;
    results.set(key, result);
    this.#results.set(operation, results);
    this.#kept.push({ results, key });
    for (const oldest of this.#kept.splice(0, this.#kept.length - KEPT)) oldest.results.delete(oldest.key);
    return result;
  }
}

type Made = ExecutionResult | Promise<ExecutionResult>;

/** Whether each top field is of the schema itself. */
function asksForSchema(
  { selections }: SelectionSetNode,
  document: Execution['document'],
  seen = new Set<string>(),
): boolean {
  return selections.every((node) => {
    if (node.kind === Kind.FIELD) return node.name.value.startsWith('__');
    if (node.kind === Kind.INLINE_FRAGMENT) return asksForSchema(node.selectionSet, document, seen);
    if (seen.has(node.name.value)) return true;
    seen.add(node.name.value);
    return document.definitions.some(
      (each) =>
        each.kind === Kind.FRAGMENT_DEFINITION &&
        each.name.value === node.name.value &&
        asksForSchema(each.selectionSet, document, seen),
    );
  });
}
