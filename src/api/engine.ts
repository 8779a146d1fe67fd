import {
  createSourceEventStream,
  getOperationAST,
  getVariableValues,
  validate,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql';
import type { Role } from '../config.js';
import { EunomiaError } from '../errors.js';
import { executeHot, executeSlow, readsEvents, type Execution } from './compile.js';
import type { RequestContext, Services } from './context.js';
import { checkLimits, parseWithin } from './limits.js';
import { maskError, maskResult } from './mask.js';
import { checkRole } from './role.js';
import { ResponseStream } from './stream.js';
import { TextEncoders, type TextSink } from './text.js';

/** An operation as a client sends it, over whatever transport. */
export interface OperationRequest {
  readonly query: string;
  readonly variables?: Readonly<Record<string, unknown>> | null;
  readonly operationName?: string | null;
}

/** Who asks, and until when the answer is of use. */
export interface Caller {
  readonly role: Role;
  readonly signal: AbortSignal;
}

export type Answer = ExecutionResult | ResponseStream;

/** A valid operation that its caller may run; `hot` when it reads events. */
export interface Prepared extends Execution {
  readonly hot: boolean;
}

interface Parsed {
  readonly document: DocumentNode;
  readonly errors: readonly GraphQLError[];
  readonly hot: boolean;
}

const CACHED_DOCUMENTS = 512;
// Comments and strings can make a document long that has few tokens.
const CACHED_LENGTH = 16_384;

/** Parses, validates, limits, authorizes and executes operations: the one way to them for all transports. */
export class Engine {
  readonly schema: GraphQLSchema;
  readonly #services: Services;
  readonly #documents = new Map<string, Parsed>();
  readonly #streams = new Set<ResponseStream>();
  readonly #encoders = new TextEncoders();
  #closed = false;

  constructor(schema: GraphQLSchema, services: Services) {
    this.schema = schema;
    this.#services = services;
  }

  /** Never rejects: what goes wrong is in the answer's errors. */
  async run(request: OperationRequest, caller: Caller): Promise<Answer> {
    const prepared = this.prepare(request, caller);
    return 'errors' in prepared ? prepared : this.execute(prepared);
  }

  prepare(request: OperationRequest, caller: Caller): Prepared | { errors: readonly GraphQLError[] } {
    try {
      return this.#prepare(request, caller);
    } catch (error) {
      return { errors: errorsOf(error).map((each) => maskError(each, this.#services.log)) };
    }
  }

  /** With a `sink`, results of a subscription may come as text (`EncodedResult`); else all are objects. */
  async execute(prepared: Prepared, sink: TextSink | null = null): Promise<Answer> {
    try {
      if (prepared.operation.operation === 'subscription') return await this.#subscribe(prepared, sink);
      const result = await (prepared.hot ? executeHot(prepared) : executeSlow(prepared));
      return maskResult(result, this.#services.log);
    } catch (error) {
      return { errors: [maskError(error, this.#services.log)] };
    }
  }

  /** Ends all subscriptions: their readers get what was under way, and the end. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#streams].map((stream) => stream.return()));
    this.#encoders.close();
  }

  #prepare({ query, variables, operationName }: OperationRequest, { role, signal }: Caller): Prepared {
    if (typeof query !== 'string')
      throw new EunomiaError('BAD_REQUEST', '`query` is missing: send the text of a GraphQL document');
    const raw = variables ?? {};
    const { document, errors, hot } = this.#parse(query);
    if (errors.length > 0) throw new AggregateError(errors);
    const operation = operationOf(document, operationName);
    checkRole(document, operation, role);
    const coerced = getVariableValues(this.schema, operation.variableDefinitions ?? [], raw, { maxErrors: 10 });
    if (coerced.errors) throw new AggregateError(coerced.errors);
    checkLimits(this.schema, document, operation, coerced.coerced, this.#services.config.limits);
    const context: RequestContext = { services: this.#services, role, signal, variables: raw };
    return { schema: this.schema, document, operation, variables: coerced.coerced, rawVariables: raw, context, hot };
  }

  #parse(query: string): Parsed {
    const known = this.#documents.get(query);
    if (known) {
      // The order of a Map is that of insertion: the first one is the least recently used.
      this.#documents.delete(query);
      this.#documents.set(query, known);
      return known;
    }
    const document = parseWithin(query, this.#services.config.limits);
    const errors = validate(this.schema, document, undefined, { maxErrors: 20 });
    const parsed = { document, errors, hot: errors.length === 0 && readsEvents(this.schema, document) };
    if (query.length <= CACHED_LENGTH) this.#documents.set(query, parsed);
    if (this.#documents.size > CACHED_DOCUMENTS) {
      for (const oldest of this.#documents.keys()) {
        this.#documents.delete(oldest);
        break;
      }
    }
    return parsed;
  }

  async #subscribe(prepared: Prepared, sink: TextSink | null): Promise<Answer> {
    if (this.#closed) throw new EunomiaError('SHUTTING_DOWN', 'the server is ending; subscribe again when it is back');
    const { document, operation, context, rawVariables } = prepared;
    const { log } = this.#services;
    const source = await createSourceEventStream({
      schema: this.schema,
      document,
      contextValue: context,
      variableValues: rawVariables,
      operationName: operation.name?.value ?? null,
    });
    if (!isAsyncIterable(source)) return maskResult(source, log);
    const execute = prepared.hot ? executeHot : executeSlow;
    const encoder = sink && this.#encoders.open(prepared, sink);
    const stream = new ResponseStream(source[Symbol.asyncIterator](), {
      map: async (payload) => encoder?.encode(payload) ?? maskResult(await execute(prepared, payload), log),
      send: sink?.send ?? null,
      fail: (error) => ({ errors: [maskError(error, log)] }),
      onEnd: () => {
        encoder?.close();
        this.#streams.delete(stream);
      },
    });
    this.#streams.add(stream);
    return stream;
  }
}

function operationOf(document: DocumentNode, name: string | null | undefined): OperationDefinitionNode {
  const operation = getOperationAST(document, name);
  if (operation) return operation;
  const names = document.definitions.flatMap((node) =>
    node.kind === 'OperationDefinition' ? [node.name?.value ?? '(no name)'] : [],
  );
  const message =
    names.length === 0
      ? 'the document has no operation'
      : name == null
        ? `the document has ${names.length} operations; name one in \`operationName\`: ${names.join(', ')}`
        : `the document has no operation "${name}"; it has ${names.join(', ')}`;
  throw new EunomiaError('BAD_REQUEST', message);
}

function errorsOf(error: unknown): readonly unknown[] {
  return error instanceof AggregateError ? error.errors : [error];
}

function isAsyncIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value;
}

export function isStream(answer: Answer): answer is ResponseStream {
  return answer instanceof ResponseStream;
}
