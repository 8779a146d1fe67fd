import {
  createSourceEventStream,
  getOperationAST,
  getVariableValues,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Caller } from '../../access/caller.js';
import { EunomiaError } from '../../base/errors.js';
import { executeHot, executeSlow, readsEvents, readsGraph, type Execution } from './compile.js';
import { Delivery } from '../../record/delivery.js';
import { refusalOf } from './resolvers/held.js';
import type { Service } from '../../service/service.js';
import type { RequestContext } from './context.js';
import { Documents } from './documents.js';
import { checkLimits, parseWithin, type Measured } from './limits.js';
import { Introspection } from './introspection.js';
import { inTurns, requests, turns } from '../../base/turn.js';
import { maskError, maskResult } from './mask.js';
import { problemsOf } from './validate.js';
import { checkValues, valuesNodes, type ValuesNode } from './values.js';
import { checkRole } from '../../access/role.js';
import { inParts } from './parts.js';
import { shareOf } from './share.js';
import { ResponseStream } from './stream.js';
import { TextEncoders, type TextSink } from '../text/text.js';

/** An operation as a client sends it, over whatever transport. */
export interface OperationRequest {
  readonly query: string;
  readonly variables?: Readonly<Record<string, unknown>> | null;
  readonly operationName?: string | null;
  /** The last cursor of a stream of events that broke, as the transport tells it: in place of `after` and `replay`. */
  readonly resumeAfter?: string | null;
}

export type OperationResult = ExecutionResult | ResponseStream;

/** A valid operation that its caller may run; `hot` when it reads events. */
export interface Prepared extends Execution {
  readonly context: RequestContext;
  readonly hot: boolean;
  readonly measured: Measured;
}

interface Parsed {
  readonly document: DocumentNode;
  readonly errors: readonly GraphQLError[];
  readonly hot: boolean;
  readonly values: ReadonlyMap<string, readonly ValuesNode[]>;
  readonly graph: boolean;
}

/** Values of lists below a process that take as long as one that is named at run time. */
const LIST_VALUES = 4;

/** Parses, validates, limits, authorizes and executes operations: the one way to them for all transports. */
export class Executor {
  readonly schema: GraphQLSchema;
  readonly #service: Service;
  readonly #documents = new Documents<Parsed>();
  readonly #streams = new Set<ResponseStream>();
  readonly #encoders = new TextEncoders();
  readonly #introspection = new Introspection();
  #closed = false;

  constructor(schema: GraphQLSchema, service: Service) {
    this.schema = schema;
    this.#service = service;
  }

  /** Never rejects: what goes wrong is in the result's errors. */
  async run(request: OperationRequest, caller: Caller): Promise<OperationResult> {
    const prepared = this.prepare(request, caller);
    return 'errors' in prepared ? prepared : this.execute(prepared);
  }

  prepare(request: OperationRequest, caller: Caller): Prepared | { errors: readonly GraphQLError[] } {
    try {
      return this.#prepare(request, caller);
    } catch (error) {
      return { errors: errorsOf(error).map((each) => maskError(each, this.#service.log)) };
    }
  }

  /** With a `sink`, results of a subscription may come as text (`EncodedResult`); else all are objects. */
  async execute(prepared: Prepared, sink: TextSink | null = null): Promise<OperationResult> {
    try {
      if (prepared.operation.operation === 'subscription') return await this.#subscribe(prepared, sink);
      // Clients may send many at once: each begins in a turn.
      if (!requests.isOpen) await requests.next();
      const result = await (prepared.hot ? executeHot(prepared) : this.#introspection.of(prepared, executeSlow));
      return this.#checked(prepared, result);
    } catch (error) {
      return { errors: [maskError(error, this.#service.log, prepared.context.caller.signal)] };
    }
  }

  /** Takes no more subscriptions. */
  refuse(): void {
    this.#closed = true;
  }

  /**
   * Ends subscriptions that have not ended by themselves within so many milliseconds: their readers get what was under
   * way, and the end.
   */
  async close(patienceMs = 0): Promise<void> {
    this.refuse();
    for (const until = Date.now() + patienceMs; Date.now() < until && this.#streams.size > 0;) await sleep(10);
    await Promise.all([...this.#streams].map((stream) => stream.return()));
    this.#encoders.close();
  }

  #prepare({ query, variables, operationName, resumeAfter = null }: OperationRequest, caller: Caller): Prepared {
    if (typeof query !== 'string')
      throw new EunomiaError('BAD_REQUEST', '`query` is missing: send the text of a GraphQL document');
    const raw = variables ?? {};
    const { document, errors, hot, values, graph } = this.#documents.of(query, (text) => this.#parse(text));
    if (errors.length > 0) throw new AggregateError(errors);
    const operation = operationOf(document, operationName);
    checkRole(document, operation, caller.role);
    const coerced = getVariableValues(this.schema, operation.variableDefinitions ?? [], raw, { maxErrors: 10 });
    if (coerced.errors) throw new AggregateError(coerced.errors);
    const measured = checkLimits(this.schema, document, operation, coerced.coerced, this.#service.limits);
    const own = values.get(operation.name?.value ?? '') ?? [];
    const named = checkValues(
      own,
      coerced.coerced,
      (fields) => void this.#service.facts.values(caller, fields, 'fields'),
    );
    const context: RequestContext = {
      service: this.#service,
      caller,
      share: shareOf(caller),
      variables: raw,
      resumeAfter,
      valuesAnEvent: named + Math.ceil(measured.listsOfProcess / LIST_VALUES),
      readsGraph: graph,
    };
    return {
      schema: this.schema,
      document,
      operation,
      variables: coerced.coerced,
      rawVariables: raw,
      context,
      hot,
      measured,
    };
  }

  #parse(query: string): Parsed {
    const document = parseWithin(query, this.#service.limits);
    const errors = problemsOf(this.schema, document);
    const graph = errors.length === 0 && readsGraph(this.schema, document);
    const events = errors.length === 0 && readsEvents(this.schema, document);
    // To compile a field takes 0.1 ms for each type of event, in one piece: what leads on from processes is soon a hundred fields.
    const hot = events && !graph;
    return { document, errors, hot, values: events ? valuesNodes(this.schema, document) : new Map(), graph };
  }

  /** What went beyond a limit while it was executed is refused as a whole: it may have as many errors as it has events. */
  #checked({ context }: Prepared, result: ExecutionResult): ExecutionResult {
    const refusal = refusalOf(context);
    const { log } = this.#service;
    return refusal ? { data: null, errors: [maskError(refusal, log)] } : maskResult(result, log, context.caller.signal);
  }

  async #subscribe(prepared: Prepared, sink: TextSink | null): Promise<OperationResult> {
    if (this.#closed) throw new EunomiaError('SHUTTING_DOWN', 'the server is ending; subscribe again when it is back');
    const { document, operation, context, rawVariables } = prepared;
    const { log } = this.#service;
    const source = await createSourceEventStream({
      schema: this.schema,
      document,
      contextValue: context,
      variableValues: rawVariables,
      operationName: operation.name?.value ?? null,
    });
    if (!isAsyncIterable(source)) return maskResult(source, log, context.caller.signal);
    const execute = prepared.hot ? executeHot : executeSlow;
    // Each result reads anew what its processes lead to.
    const answer = async (payload: unknown): Promise<ExecutionResult> => {
      const own = context.readsGraph ? { ...prepared, context: { ...context } } : prepared;
      return this.#checked(own, await execute(own, payload));
    };
    const encoder = sink && this.#encoders.open(prepared, sink);
    const payloads = source[Symbol.asyncIterator]();
    const stream = new ResponseStream(context.readsGraph ? inParts(payloads) : payloads, {
      map: async (payload) => {
        if (context.readsGraph) {
          await this.#service.processes.ready();
          if (payload instanceof Delivery) await this.#service.processes.sight(payload.events);
        }
        return (
          (encoder && (await inTurns(encoder.encode(payload), undefined, turns, 'FLOW'))) ?? (await answer(payload))
        );
      },
      send: sink?.send ?? null,
      turn: sink?.turn,
      fail: (error) => ({ errors: [maskError(error, log, context.caller.signal)] }),
      onEnd: () => {
        context.caller.signal.removeEventListener('abort', leave);
        encoder?.close();
        this.#streams.delete(stream);
      },
    });
    // Whoever was to read it may never have begun to: the stream ends with its client, whatever the transport does.
    const leave = (): void => void stream.return();
    this.#streams.add(stream);
    if (context.caller.signal.aborted || this.#closed) leave();
    else context.caller.signal.addEventListener('abort', leave, { once: true });
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
        : `the document has no operation "${name.slice(0, 100)}"; it has ${names.join(', ')}`;
  throw new EunomiaError('BAD_REQUEST', message);
}

function errorsOf(error: unknown): readonly unknown[] {
  return error instanceof AggregateError ? error.errors : [error];
}

function isAsyncIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value;
}

export function isStream(result: OperationResult): result is ResponseStream {
  return result instanceof ResponseStream;
}
