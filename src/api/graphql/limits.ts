import {
  GraphQLError,
  Kind,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isListType,
  isIntrospectionType,
  isObjectType,
  isInterfaceType,
  parse,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  visit,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLField,
  type FragmentSpreadNode,
  type GraphQLSchema,
  type InlineFragmentNode,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';
import type { Limits } from '../../base/config.js';
import { EunomiaError } from '../../base/errors.js';
import { MAX_POINTS } from '../../service/session/request.js';

/**
 * What one document may ask for.
 *
 * Cost: each selected field is 1. What is inside of a field with `first`, `last` or `limit` counts that many hundredths of it,
 * at least once: a hundred events cost what one costs. What is inside of
 * `TraceEvent.values` counts once for each field that it names, and what is inside of any other list counts 10 times.
 * Of fragments for different types of one object, the largest counts: an event is of one type.
 *
 * Introspection counts by the same rules, but for a reference to a type (`type`, `ofType`) without lists inside: it
 * counts 1, and one level, since tools select nine levels of `ofType` of which a schema has three. A tool's whole
 * introspection costs 6,500 to 9,000 so, by its options, and an operation has room for one.
 */
const SIZE_OF_ONE = 100;
const UNSIZED_LIST = 10;
/**
 * What an entry of a sized list weighs besides its selected values, in values: a stored event is an object with all
 * its fields until its text is made.
 */
const ENTRY_VALUES = 16;
/** What a list of a process may weigh, in values: so that it is executed in some milliseconds. */
const PROCESS_LIST_VALUES = 1 << 15;
/**
 * How often one name may stand in a document. Validation compares each two fields of a name, wherever fragments may bring them together
 * (OverlappingFieldsCanBeMergedRule): a thousand take it most of a second.
 */
const REPEATS = 150;
/**
 * How many lines a document may have. graphql-js counts them from the beginning for the place of each error, each time
 * that an error is made anew: a million empty lines before twenty unknown fields took seconds.
 */
const LINES = 5000;
const sizeArguments = ['last', 'first', 'limit'] as const;
/** Fields whose lists are long without such an argument: how many entries they have at most. */
const longLists: Readonly<Record<string, number>> = { 'Session.statsHistory': MAX_POINTS };

export function limitExceeded(limit: string, maximum: number, actual: number | string, message: string): EunomiaError {
  return new EunomiaError('LIMIT_EXCEEDED', message, { details: { limit, maximum, actual } });
}

/**
 * Parses a document that has at most so many tokens, and can be validated in a moment. Throws a GraphQLError for bad
 * syntax, LIMIT_EXCEEDED for too many tokens or lines, or for a field or fragment that stands in it too often.
 */
export function parseWithin(query: string, { tokens }: Limits): DocumentNode {
  if (hasMoreLines(query, LINES))
    throw limitExceeded(
      'lines',
      LINES,
      `more than ${LINES}`,
      `the document has more than ${LINES} lines; put long texts into variables`,
    );
  const document = parseTokens(query, tokens);
  const counts = new Map<string, number>();
  const count = (name: string): void => {
    const times = (counts.get(name) ?? 0) + 1;
    if (times > REPEATS)
      throw limitExceeded(
        'repeats',
        REPEATS,
        `more than ${REPEATS}`,
        `"${name}" stands in the document more than ${REPEATS} times; send its operations one by one`,
      );
    counts.set(name, times);
  };
  visit(document, {
    Field: ({ alias, name }) => count((alias ?? name).value),
    FragmentSpread: ({ name }) => count(`...${name.value}`),
  });
  return document;
}

function hasMoreLines(text: string, most: number): boolean {
  const ends = /\r\n|[\n\r]/g;
  for (let lines = 1; ends.test(text);) if (++lines > most) return true;
  return false;
}

function parseTokens(query: string, tokens: number): DocumentNode {
  try {
    return parse(query, { maxTokens: tokens });
  } catch (error) {
    if (!(error instanceof GraphQLError) || !error.message.includes('Parsing aborted')) throw error;
    throw limitExceeded(
      'tokens',
      tokens,
      `more than ${tokens}`,
      `the document has more than ${tokens} tokens; send its operations one by one`,
    );
  }
}

/** What an operation asks for, at most. */
export interface Measured {
  /** See above. */
  readonly cost: number;
  /**
   * What its result weighs while it is made, in values: entries of a sized list times their fields and what an entry weighs itself;
   * 10 entries of any other list.
   */
  readonly values: number;
}

interface MeasuredOperation extends Measured {
  /** The same of the lists below one process: its ancestors, children, files and sockets, and what is selected in them. */
  readonly listsOfProcess: number;
}

/** Throws LIMIT_EXCEEDED when it is too deep, too costly, or has too many aliases. The document must be valid. */
export function checkLimits(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
  limits: Limits,
): MeasuredOperation {
  const root = schema.getRootType(operation.operation);
  if (!root) return { cost: 0, values: 0, listsOfProcess: 0 };
  const measure = new Measure(schema, document, variables);
  const { depth, cost, values } = measure.selectionSet(operation.selectionSet, root, false);
  if (measure.aliases > limits.aliases) {
    throw limitExceeded(
      'aliases',
      limits.aliases,
      measure.aliases,
      `the operation has ${measure.aliases} aliases; at most ${limits.aliases} are allowed: split it into several`,
    );
  }
  if (depth > limits.depth) {
    throw limitExceeded(
      'depth',
      limits.depth,
      depth,
      `the operation is ${depth} levels deep; at most ${limits.depth} are allowed: select less inside, or ask in two steps`,
    );
  }
  const rounded = Math.ceil(cost);
  if (rounded > limits.cost) {
    throw limitExceeded(
      'cost',
      limits.cost,
      rounded,
      `the operation costs ${rounded}; at most ${limits.cost} are allowed: ask for fewer events (first, last, ` +
        'limit) at once, or select fewer fields',
    );
  }
  return { cost: rounded, values, listsOfProcess: measure.listsOfProcess };
}

const metaFields: ReadonlyMap<string, GraphQLField<unknown, unknown>> = new Map(
  [SchemaMetaFieldDef, TypeMetaFieldDef].map((field) => [field.name, field]),
);

interface Size extends Measured {
  readonly depth: number;
  /** Whether lists of objects are selected in it. */
  readonly lists: boolean;
}

const SCALAR: Size = { depth: 1, cost: 1, values: 1, lists: false };

class Sum implements Size {
  depth = 0;
  cost = 0;
  values = 0;
  lists = false;

  add({ depth, cost, values, lists }: Size): void {
    this.depth = Math.max(this.depth, depth);
    this.cost += cost;
    this.values += values;
    this.lists ||= lists;
  }

  /** With the most that one of these adds. */
  withLargest(others: readonly Size[]): Size {
    return {
      depth: Math.max(this.depth, ...others.map(({ depth }) => depth)),
      cost: this.cost + Math.max(0, ...others.map(({ cost }) => cost)),
      values: this.values + Math.max(0, ...others.map(({ values }) => values)),
      lists: this.lists || others.some(({ lists }) => lists),
    };
  }
}

class Measure {
  readonly #schema: GraphQLSchema;
  readonly #variables: Readonly<Record<string, unknown>>;
  readonly #fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  /** By fragment and whether it stands in a sized field: a fragment that is spread a thousand times is measured once. */
  readonly #measured = new Map<string, Size>();
  readonly #aliased = new Set<FieldNode>();
  #listsOfProcess = 0;

  constructor(schema: GraphQLSchema, document: DocumentNode, variables: Readonly<Record<string, unknown>>) {
    this.#schema = schema;
    this.#variables = variables;
    this.#fragments = new Map(
      document.definitions.flatMap((node) => (node.kind === Kind.FRAGMENT_DEFINITION ? [[node.name.value, node]] : [])),
    );
  }

  get aliases(): number {
    return this.#aliased.size;
  }

  get listsOfProcess(): number {
    return this.#listsOfProcess;
  }

  /** `sized`: the field around it has told how long its lists are. */
  selectionSet({ selections }: SelectionSetNode, parent: GraphQLCompositeType, sized: boolean): Size {
    const always = new Sum();
    const byType = new Map<string, Sum>();
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        always.add(this.#field(selection, parent, sized));
        continue;
      }
      const { type, size } = this.#selected(selection, parent, sized);
      const sum = isAbstractType(parent) && isObjectType(type) ? (byType.get(type.name) ?? new Sum()) : always;
      if (sum !== always && isObjectType(type)) byType.set(type.name, sum);
      sum.add(size);
    }
    return always.withLargest([...byType.values()]);
  }

  /** A fragment, and the type that it is for. */
  #selected(
    selection: FragmentSpreadNode | InlineFragmentNode,
    parent: GraphQLCompositeType,
    sized: boolean,
  ): { readonly type: GraphQLCompositeType | undefined; readonly size: Size } {
    if (selection.kind === Kind.INLINE_FRAGMENT) {
      const type = this.#type(selection.typeCondition?.name.value) ?? parent;
      return { type, size: this.selectionSet(selection.selectionSet, type, sized) };
    }
    const name = selection.name.value;
    return {
      type: this.#type(this.#fragments.get(name)?.typeCondition.name.value),
      size: this.#fragment(name, sized),
    };
  }

  #field(node: FieldNode, parent: GraphQLCompositeType, sized: boolean): Size {
    const name = node.name.value;
    if (node.alias) this.#aliased.add(node);
    const field =
      metaFields.get(name) ?? (isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[name] : undefined);
    const type = field && getNamedType(field.type);
    if (!field || !node.selectionSet || !isCompositeType(type)) return SCALAR;
    const count = longLists[`${parent.name}.${name}`] ?? this.#count(node, field);
    const isList = isListType(getNullableType(field.type));
    const named = this.#named(node, field);
    const factor = named ?? (count !== null ? Math.max(1, count / SIZE_OF_ONE) : isList && !sized ? UNSIZED_LIST : 1);
    const inner = this.selectionSet(node.selectionSet, type, count !== null && !isList);
    if (isIntrospectionType(parent) && (name === 'type' || name === 'ofType') && !inner.lists) return SCALAR;
    const size = {
      depth: 1 + inner.depth,
      cost: 1 + factor * inner.cost,
      values: 1 + (count !== null ? Math.max(1, count) * (ENTRY_VALUES + inner.values) : factor * inner.values),
      lists: isList || inner.lists,
    };
    if (isList && count !== null && parent.name === 'Process') this.#countList(name, size.values);
    return size;
  }

  /** Executors run the lists of a process in one piece, however deep they go. */
  #countList(name: string, values: number): void {
    if (values > PROCESS_LIST_VALUES)
      throw limitExceeded(
        'processList',
        PROCESS_LIST_VALUES,
        values,
        `Process.${name} has up to ${values} values with what is selected in it; at most ${PROCESS_LIST_VALUES} are allowed: ` +
          'give a smaller `first`, or select fewer fields or lists inside',
      );
    this.#listsOfProcess += values;
  }

  #fragment(name: string, sized: boolean): Size {
    const key = `${name} ${sized}`;
    const known = this.#measured.get(key);
    if (known) return known;
    const fragment = this.#fragments.get(name);
    const type = this.#type(fragment?.typeCondition.name.value);
    const size =
      fragment && type
        ? this.selectionSet(fragment.selectionSet, type, sized)
        : { depth: 0, cost: 0, values: 0, lists: false };
    this.#measured.set(key, size);
    return size;
  }

  /** How many entries the client asks for; null when the field does not say. */
  #count(node: FieldNode, field: GraphQLField<unknown, unknown>): number | null {
    for (const name of sizeArguments) {
      const argument = field.args.find((candidate) => candidate.name === name);
      if (!argument) continue;
      const value = node.arguments?.find((candidate) => candidate.name.value === name)?.value;
      const given =
        value?.kind === Kind.VARIABLE
          ? this.#variables[value.name.value]
          : value?.kind === Kind.INT
            ? Number(value.value)
            : undefined;
      const count = given ?? argument.defaultValue;
      if (typeof count === 'number') return count;
    }
    return null;
  }

  /** How many entries the field has for those that its argument `fields` names; null when it has none. */
  #named(node: FieldNode, field: GraphQLField<unknown, unknown>): number | null {
    if (!field.args.some(({ name }) => name === 'fields')) return null;
    const value = node.arguments?.find(({ name }) => name.value === 'fields')?.value;
    const given = value?.kind === Kind.VARIABLE ? this.#variables[value.name.value] : value;
    if (Array.isArray(given)) return Math.max(1, given.length);
    return value?.kind === Kind.LIST ? Math.max(1, value.values.length) : 1;
  }

  #type(name: string | undefined): GraphQLCompositeType | undefined {
    const type = name === undefined ? undefined : this.#schema.getType(name);
    return isCompositeType(type) ? type : undefined;
  }
}
