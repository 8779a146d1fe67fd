import type { ExecutionResult } from 'graphql';
import { isErrorCode } from '../base/error-code.js';
import { EunomiaError } from '../base/errors.js';

/** Speaks GraphQL with a server, be it remote or in this process: a command cannot tell which. */
export interface Client {
  /** The response's data. Rejects with the server's EunomiaError when any part of it failed. */
  query<T>(document: string, variables?: Variables): Promise<T>;
  /** One item a message. Ends when the server ends it; `return()` unsubscribes. Throws as `query` does. */
  subscribe<T>(document: string, variables?: Variables): AsyncIterableIterator<T>;
  /**
   * A file that the server makes, piece by piece. Throws the server's EunomiaError before the first piece; whatever
   * breaks it off later.
   */
  download(path: string, parameters: Parameters): AsyncIterable<string | Uint8Array>;
  close(): Promise<void>;
}

/** Of a URL; those that are undefined are left out. */
export type Parameters = Readonly<Record<string, string | undefined>>;

export type Variables = Readonly<Record<string, unknown>>;

export interface Request {
  readonly query: string;
  readonly variables: Variables;
}

type Result = Pick<ExecutionResult, 'data' | 'errors'>;

/** What a server in this process offers: main.ts makes one from app.ts. */
export interface LocalServer {
  execute(request: Request): Promise<Result | AsyncIterable<Result>>;
  download(path: string, query: URLSearchParams): AsyncIterable<string | Uint8Array>;
  close(): Promise<void>;
}

export function createLocalClient(server: LocalServer): Client {
  return {
    async query<T>(query: string, variables: Variables = {}) {
      const result = await server.execute({ query, variables });
      if (isStream(result)) throw new TypeError('a query returned a stream');
      return dataOf<T>(result);
    },
    async *subscribe<T>(query: string, variables: Variables = {}) {
      const result = await server.execute({ query, variables });
      if (!isStream(result)) {
        dataOf(result);
        throw new TypeError('a subscription returned a single result');
      }
      for await (const item of result) yield dataOf<T>(item);
    },
    download: (path, parameters) => server.download(path, searchOf(parameters)),
    close: () => server.close(),
  };
}

export function searchOf(parameters: Parameters): URLSearchParams {
  return new URLSearchParams(
    Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** The data of a result; throws its errors as one, with the code of the first. */
export function dataOf<T>(result: Result): T {
  if (result.errors?.length) throw errorOf(result.errors);
  return result.data as T;
}

/** The errors of a result as one, with the code of the first. */
export function errorOf(errors: NonNullable<Result['errors']>): EunomiaError {
  const messages = [...new Set(errors.map(({ message }) => message))];
  const code = errors[0]?.extensions?.['code'];
  return new EunomiaError(isErrorCode(code) ? code : 'SERVER_ERROR', messages.join('\n'));
}

function isStream(result: Result | AsyncIterable<Result>): result is AsyncIterable<Result> {
  return Symbol.asyncIterator in result;
}
