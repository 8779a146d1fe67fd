import {
  GraphQLIncludeDirective,
  GraphQLScalarType,
  GraphQLSkipDirective,
  Kind,
  TypeInfo,
  execute,
  getDirectiveValues,
  getNamedType,
  visit,
  visitWithTypeInfo,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionNode,
} from 'graphql';
import { compileQuery, isCompiledQuery } from 'graphql-jit';
import { isOfGraph } from '../../event/data-field.js';
import type { ExecutionContext } from './context.js';
import { Run } from './run.js';
import { Windows } from './windows.js';

/**
 * graphql-jit compiles an operation to plain JavaScript: several times the speed of graphql-js on lists of events.
 * What it does not do, or does differently, is kept away from it here, so that results are those of graphql-js:
 *
 * - @skip and @include (jit merges conditions of shared fragments wrongly): evaluated before, by a document of its own for
 *   each combination of their variables;
 * - coercion of variables (jit knows no @oneOf, and has messages of its own): graphql-js coerces them, jit passes them on;
 * - variables inside of a list or an object literal, and aliases that begin with "__" (`__proto__` is lost in an
 *   object literal): graphql-js executes these;
 * - results with errors (jit reports all below a null that propagates, graphql-js the first), and properties that throw:
 *   executed again by graphql-js. So mutations, which act once, are graphql-js' from the start.
 */
export interface Execution {
  readonly schema: GraphQLSchema;
  readonly document: DocumentNode;
  readonly operation: OperationDefinitionNode;
  /** Coerced. */
  readonly variables: Readonly<Record<string, unknown>>;
  /** As the client wrote them; graphql-js coerces them once more. */
  readonly rawVariables: Readonly<Record<string, unknown>>;
  readonly context: ExecutionContext;
}

type Compiled = (
  root: unknown,
  context: ExecutionContext,
  variables: Readonly<Record<string, unknown>>,
) => ExecutionResult | Promise<ExecutionResult>;
/** Null: jit cannot. */
type Variants = Map<string, Compiled | null>;

// A variant is one combination of the variables in @skip and @include.
const MAX_VARIANTS = 16;

const compiled = new WeakMap<OperationDefinitionNode, Variants>();

/** Executes an operation that reads events, compiled when it can be. The document must be valid. */
export function executeHot(execution: Execution, root?: unknown): ExecutionResult | Promise<ExecutionResult> {
  const fast = compile(execution);
  return fast ? read(execution, fast, root) : executeSlow(execution, root);
}

function read(execution: Execution, fast: Compiled, root: unknown): ExecutionResult | Promise<ExecutionResult> {
  const run = new Run();
  const windows = new Windows(run);
  const context = { ...execution.context, windows, run };
  const whole = (result: ExecutionResult | null): ExecutionResult | Promise<ExecutionResult> => {
    // Where a property throws, graphql-js makes an error of it.
    if (!result || result.errors) return executeSlow(execution, root);
    if (windows.isEmpty) return result;
    return windows
      .complete(result, context, execution.variables)
      .then((complete) => (complete ? result : executeSlow(execution, root)));
  };
  const result = run.of(() => fast(root, context, execution.variables));
  return result instanceof Promise ? result.then(whole) : whole(result);
}

export function executeSlow(execution: Execution, root?: unknown): ExecutionResult | Promise<ExecutionResult> {
  return execute({
    schema: execution.schema,
    document: execution.document,
    operationName: execution.operation.name?.value ?? null,
    rootValue: root,
    contextValue: execution.context,
    variableValues: execution.rawVariables,
  });
}

/** Whether the operation runs compiled with these variables, while its data has no errors. */
export function isCompiled(execution: Execution): boolean {
  return compile(execution) !== null;
}

/** Of which there may be many in one result. */
const MANY: ReadonlySet<string> = new Set(['TraceEvent', 'AggregateRow']);

/** Whether an operation selects events, or rows of aggregates: only then is it worth compiling, which takes some milliseconds. */
export function readsEvents(schema: GraphQLSchema, document: DocumentNode): boolean {
  const info = new TypeInfo(schema);
  let found = false;
  visit(
    document,
    visitWithTypeInfo(info, { Field: () => void (found ||= MANY.has(String(getNamedType(info.getType())))) }),
  );
  return found;
}

/** Whether an operation selects what leads on from processes. */
export function readsGraph(schema: GraphQLSchema, document: DocumentNode): boolean {
  const info = new TypeInfo(schema);
  let found = false;
  visit(
    document,
    visitWithTypeInfo(info, {
      Field: ({ name }) => void (found ||= isOfGraph(String(info.getParentType()), name.value)),
    }),
  );
  return found;
}

function compile({ schema, document, operation, variables }: Execution): Compiled | null {
  const variants = compiled.get(operation) ?? new Map<string, Compiled | null>();
  compiled.set(operation, variants);
  const key = conditionsOf(document)
    .map((name) => (variables[name] === true ? '1' : '0'))
    .join('');
  const known = variants.get(key);
  if (known !== undefined) return known;
  if (variants.size >= MAX_VARIANTS) return null;
  const made = isSafe(document, operation) ? compileVariant(schema, document, operation, variables) : null;
  variants.set(key, made);
  return made;
}

function compileVariant(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): Compiled | null {
  const query = compileQuery(passingVariables(schema), specialise(document, operation, variables), undefined, {
    disablingCapturingStackErrors: true,
  });
  return isCompiledQuery(query) ? (query.query as Compiled) : null;
}

const PASSED = 'EunomiaPassed';
const passed = new GraphQLScalarType({ name: PASSED });

/** The same schema with one more scalar, which takes any value as it is: the type of all variables in a specialised document. */
function passingVariables(schema: GraphQLSchema): GraphQLSchema {
  const getType = (name: string): unknown => (name === PASSED ? passed : schema.getType(name));
  return Object.create(schema, { getType: { value: getType } }) as GraphQLSchema;
}

/** A document with this operation alone, without @skip and @include: what they leave out is gone. */
function specialise(
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): DocumentNode {
  const kept = (node: SelectionNode): SelectionNode | null => {
    const skip = getDirectiveValues(GraphQLSkipDirective, node, variables);
    const include = getDirectiveValues(GraphQLIncludeDirective, node, variables);
    if (skip?.['if'] === true || include?.['if'] === false) return null;
    // Copied: jit writes notes of its own into the nodes.
    return { ...node, directives: [] };
  };
  const wanted = document.definitions.filter(
    (definition) => definition.kind === Kind.FRAGMENT_DEFINITION || definition === operation,
  );
  return visit(
    { ...document, definitions: wanted },
    {
      Field: { enter: kept },
      FragmentSpread: { enter: kept },
      InlineFragment: { enter: kept },
      VariableDefinition: {
        enter: (node) => ({
          ...node,
          type: { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: PASSED } },
          defaultValue: undefined,
          directives: [],
        }),
        leave: () => undefined,
      },
    },
  );
}

const conditions = new WeakMap<DocumentNode, readonly string[]>();

/** The variables that @skip and @include depend on. */
function conditionsOf(document: DocumentNode): readonly string[] {
  const known = conditions.get(document);
  if (known) return known;
  const names = new Set<string>();
  visit(document, {
    Directive: (node) => {
      if (node.name.value !== 'skip' && node.name.value !== 'include') return;
      for (const { value } of node.arguments ?? []) if (value.kind === Kind.VARIABLE) names.add(value.name.value);
    },
  });
  const found = [...names];
  conditions.set(document, found);
  return found;
}

/** Whether jit executes the operation as graphql-js would; see above. */
function isSafe(document: DocumentNode, operation: OperationDefinitionNode): boolean {
  if (operation.operation === 'mutation') return false;
  let safe = true;
  const nested = { enter: () => void depth++, leave: () => void depth-- };
  let depth = 0;
  visit(document, {
    ObjectValue: nested,
    ListValue: nested,
    Variable: (node) => {
      if (depth > 0 || node.name.value.startsWith('__')) safe = false;
    },
    Field: (node) => {
      if (node.alias?.value.startsWith('__')) safe = false;
    },
  });
  return safe;
}
