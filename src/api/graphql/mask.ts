import { GraphQLError, type ExecutionResult, type GraphQLFormattedError } from 'graphql';
import { isErrorCode, statusOf, type ErrorCode } from '../../base/error-code.js';
import { EunomiaError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';

/** Of a message that graphql-js makes: each repeats a client's value whole, whatever its size, once or twice. */
const MESSAGE = 1000;
const MESSAGE_END = 300;
const LONG_TEXT = /"([^"]{60})[^"]+"/g;

/** A result in which each error tells a code, and none tells what is not the client's business. */
export function maskResult(result: ExecutionResult, log: Log, signal: AbortSignal): ExecutionResult {
  return result.errors ? { ...result, errors: result.errors.map((error) => maskError(error, log, signal)) } : result;
}

/**
 * What a client may see of an error: all of ours, and GraphQL's own (syntax, validation, coercion). Anything else
 * is a defect: it is logged, and the client is told no more than that. What ended because the caller's `signal` aborted is CANCELLED.
 */
export function maskError(error: unknown, log: Log, signal?: AbortSignal): GraphQLError {
  const thrown = causeOf(error);
  const cause = signal?.aborted && thrown === signal.reason ? cancelled() : thrown;
  const position = error instanceof GraphQLError ? positionOf(error) : {};
  if (cause instanceof EunomiaError) {
    return new GraphQLError(cause.message, { ...position, extensions: { code: cause.code, ...cause.details } });
  }
  if (cause instanceof GraphQLError && error instanceof GraphQLError) {
    const code = error.extensions['code'] ?? codeOf(error);
    // The outer message tells the variable and the place in it.
    return new GraphQLError(shortened(error.message), { ...position, extensions: { ...error.extensions, code } });
  }
  log.error({ err: cause }, 'an operation failed unexpectedly');
  return new GraphQLError('Unexpected error: the server has logged it.', {
    ...position,
    extensions: { code: 'INTERNAL_SERVER_ERROR' satisfies ErrorCode },
  });
}

/** An error of ours outside of any operation, as GraphQL over HTTP reports it. */
export function formatError(error: EunomiaError): GraphQLFormattedError {
  return { message: error.message, extensions: { code: error.code, ...error.details } };
}

/** Whether the client caused the error: it is told, and concerns nobody else. */
export function isClientError(error: unknown): boolean {
  const code: unknown = error instanceof GraphQLError ? error.extensions['code'] : Reflect.get(Object(error), 'code');
  return isErrorCode(code) && statusOf({ code, details: {} }) < 500;
}

/** What is wrong stands at the end, behind the value. */
function shortened(message: string): string {
  if (message.length <= MESSAGE) return message;
  const short = message.replace(LONG_TEXT, '"$1…"');
  return short.length <= MESSAGE ? short : `${short.slice(0, MESSAGE - MESSAGE_END - 1)}…${short.slice(-MESSAGE_END)}`;
}

function causeOf(error: unknown): unknown {
  let cause = error;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  return cause;
}

function positionOf({
  nodes,
  source,
  positions,
  path,
}: GraphQLError): Pick<GraphQLError, 'nodes' | 'source' | 'positions' | 'path'> {
  return { nodes, source, positions, path };
}

function codeOf(error: GraphQLError): ErrorCode {
  if (error.message.startsWith('Syntax Error')) return 'GRAPHQL_PARSE_FAILED';
  // Of execution: what the data is, not what the client wrote.
  if (error.path) return 'INTERNAL_SERVER_ERROR';
  // Of the values of variables; other errors about variables are the document's.
  const isValue = /^Variable "\$\w+" (?:got invalid value|of (?:required|non-null) type)/.test(error.message);
  return isValue ? 'BAD_USER_INPUT' : 'GRAPHQL_VALIDATION_FAILED';
}

export function cancelled(): EunomiaError {
  return new EunomiaError('CANCELLED', 'the client has gone away, and nobody waits for this');
}
