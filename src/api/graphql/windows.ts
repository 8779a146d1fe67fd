import {
  Kind,
  parse,
  print,
  type ExecutionResult,
  type FieldNode,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql';
import { compileQuery, isCompiledQuery } from 'graphql-jit';
import { turns } from '../../base/turn.js';
import type { Connection } from './connection.js';
import type { ExecutionContext } from './context.js';
import type { Run } from './run.js';

type Read = (
  root: unknown,
  context: ExecutionContext,
  variables: Readonly<Record<string, unknown>>,
) => ExecutionResult | Promise<ExecutionResult>;

/** By the field's first node: those of a compiled operation stay as long as it does. Null: jit cannot. */
const reads = new WeakMap<FieldNode, Read | null>();
/** The lists of a connection. */
const LISTS: ReadonlySet<string> = new Set(['nodes', 'edges']);

/** Long connections of one run of a compiled operation: the run itself reads the first window of each, `complete` the others, in turns. */
export class Windows {
  readonly #run: Run;
  readonly #open: { readonly connection: Connection; readonly info: GraphQLResolveInfo; readonly end: number }[] = [];

  constructor(run: Run) {
    this.#run = run;
  }

  get isEmpty(): boolean {
    return this.#open.length === 0;
  }

  /** Called where a field of the operation resolves to the connection. */
  add(connection: Connection, info: GraphQLResolveInfo): void {
    const end = connection.windowEnd(0);
    if (end === connection.length) return;
    connection.look(0, end);
    this.#open.push({ connection, info, end });
  }

  /**
   * Adds what is missing in the run's result. Resolves to false when one of the windows cannot be read without errors:
   * graphql-js tells of these as the specification has it. Ends early once the client has gone.
   */
  async complete(
    { data }: ExecutionResult,
    context: ExecutionContext,
    variables: Readonly<Record<string, unknown>>,
  ): Promise<boolean> {
    for (const { connection, info, end } of this.#open) {
      const target = valueAt(data, info.path);
      if (!isObject(target)) continue;
      const read = readOf(info);
      if (!read) return false;
      for (let from = end, to: number; from < connection.length; from = to) {
        if (!turns.isOpen) await turns.next('REQUEST');
        if (context.caller.signal.aborted) return true;
        to = connection.windowEnd(from);
        connection.look(from, to);
        const part = await this.#run.of(() => read(connection, context, variables));
        if (!part || part.errors) return false;
        for (const [key, entries] of Object.entries(part.data ?? {})) {
          const list = target[key];
          if (!Array.isArray(list) || !Array.isArray(entries)) return false;
          for (const entry of entries) list.push(entry);
        }
      }
    }
    return true;
  }
}

function readOf(info: GraphQLResolveInfo): Read | null {
  const [node] = info.fieldNodes;
  if (!node) return null;
  const known = reads.get(node);
  if (known !== undefined) return known;
  const made = compileLists(info);
  reads.set(node, made);
  return made;
}

/** The lists alone, as an operation on the connection's type. */
function compileLists({ schema, returnType, operation, fieldNodes, fragments }: GraphQLResolveInfo): Read | null {
  const type = 'ofType' in returnType ? returnType.ofType : returnType;
  const lists = (selectionSet: SelectionSetNode | undefined): SelectionNode[] =>
    (selectionSet?.selections ?? []).flatMap((node): SelectionNode[] => {
      if (node.kind === Kind.FIELD) return LISTS.has(node.name.value) ? [node] : [];
      // A connection's type has no other possible one, so that a fragment on it is what it selects.
      return lists(node.kind === Kind.INLINE_FRAGMENT ? node.selectionSet : fragments[node.name.value]?.selectionSet);
    });
  const selections = fieldNodes.flatMap((node) => lists(node.selectionSet));
  if (selections.length === 0) return () => ({ data: {} });
  // Printed and parsed: jit writes notes of its own into the nodes.
  const document = parse(
    [
      print({
        ...operation,
        name: undefined,
        directives: [],
        selectionSet: { kind: Kind.SELECTION_SET, selections },
      }),
      ...Object.values(fragments).map((fragment) => print(fragment)),
    ].join('\n'),
  );
  const rooted = Object.create(schema, { getQueryType: { value: () => type } }) as GraphQLSchema;
  const query = compileQuery(rooted, document, undefined, { disablingCapturingStackErrors: true });
  return isCompiledQuery(query) ? (query.query as Read) : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function valueAt(data: unknown, path: GraphQLResolveInfo['path'] | undefined): unknown {
  if (!path) return data;
  const parent = valueAt(data, path.prev);
  return isObject(parent) ? parent[path.key] : undefined;
}
