import type { GraphQLError } from 'graphql';
import type { Caller, Identity } from '../../access/caller.js';
import { EunomiaError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Executor, OperationRequest, Prepared } from '../graphql/executor.js';
import { maskError } from '../graphql/mask.js';
import { sha256, type TrustedDocuments } from './trusted.js';

/** Of the documents that one identity has registered, in memory. */
export const MOST_BYTES = 512 << 10;
/** A longer one is executed, and not kept. */
export const LONGEST_BYTES = MOST_BYTES / 8;

/** An operation as a client sends it: its document may be named instead of written. */
export interface SentOperation extends Omit<OperationRequest, 'query'> {
  readonly query?: string | null | undefined;
  readonly extensions?: Readonly<Record<string, unknown>> | null | undefined;
  readonly documentId?: string | null | undefined;
}

type Reference =
  | { readonly by: 'NONE' }
  /** Automatic persisted queries: the hash of the document in UTF-8, in lower case. */
  | { readonly by: 'HASH'; readonly id: string }
  /** Persisted documents of GraphQL over HTTP. */
  | { readonly by: 'ID'; readonly id: string };

/**
 * Finds the documents of operations that name them: trusted ones from a file, and those that the same identity has sent before (automatic
 * persisted queries, as Apollo's clients speak them). A document that was found is treated as one that was written: checked, limited and
 * authorized each time.
 */
export class PersistedDocuments {
  readonly #executor: Executor;
  readonly #trusted: TrustedDocuments;
  readonly #log: Log;
  /** By the very object that `Access` returned, so that nobody evicts the documents of others. */
  readonly #registered = new WeakMap<Identity, Registered>();

  constructor({
    executor,
    trusted,
    log,
  }: {
    readonly executor: Executor;
    readonly trusted: TrustedDocuments;
    readonly log: Log;
  }) {
    this.#executor = executor;
    this.#trusted = trusted;
    this.#log = log;
  }

  /** As `Executor.prepare`, of an operation whose document may be named. */
  prepare(
    sent: SentOperation,
    identity: Identity,
    caller: Caller,
  ): Prepared | { readonly errors: readonly GraphQLError[] } {
    try {
      const reference = referenceOf(sent);
      const query = this.#queryOf(sent, reference, identity);
      const { variables, operationName, resumeAfter } = sent;
      const prepared = this.#executor.prepare({ query, variables, operationName, resumeAfter }, caller);
      // What is refused would only take the room of what is not.
      if (!('errors' in prepared) && reference.by === 'HASH' && !this.#trusted.get(reference.id))
        this.#registeredOf(identity).keep(reference.id, query);
      return prepared;
    } catch (error) {
      return { errors: [maskError(error, this.#log)] };
    }
  }

  #queryOf({ query }: SentOperation, { by, ...reference }: Reference, identity: Identity): string {
    const written = query ?? '';
    const id = 'id' in reference ? reference.id : '';
    if (by === 'HASH' && written !== '' && sha256(written) !== id)
      throw badRequest(
        '`extensions.persistedQuery.sha256Hash` is not the SHA-256 of `query`: send the hash of its UTF-8 as 64 hexadecimal digits',
      );
    if (by === 'ID' && written !== '') throw badRequest('`documentId` and `query` are both given; send one of them');
    if (by !== 'NONE' && written === '') return this.#find({ by, id }, identity);
    if (written !== '' && !this.#trusted.allows(written, identity.role))
      throw new EunomiaError(
        'UNTRUSTED_DOCUMENT',
        'this server executes only the documents that its administrator has listed (--trusted-documents-only), and this is none of them',
      );
    return written;
  }

  #find({ by, id }: Exclude<Reference, { by: 'NONE' }>, identity: Identity): string {
    const found = this.#trusted.get(id) ?? this.#registered.get(identity)?.get(id);
    if (found !== undefined) return found;
    // The first message is part of the protocol: urql goes by it.
    const message =
      by === 'HASH'
        ? 'PersistedQueryNotFound'
        : `documentId: this server has no document ${JSON.stringify(id.slice(0, 100))}; ` +
          'send the text of the document as `query`, or have it listed (--trusted-documents)';
    throw new EunomiaError('PERSISTED_QUERY_NOT_FOUND', message);
  }

  #registeredOf(identity: Identity): Registered {
    const known = this.#registered.get(identity) ?? new Registered();
    this.#registered.set(identity, known);
    return known;
  }
}

/** Documents of one identity, up to so many bytes: those that were used last. */
class Registered {
  readonly #texts = new Map<string, string>();
  #bytes = 0;

  get(hash: string): string | undefined {
    const text = this.#texts.get(hash);
    if (text !== undefined) {
      this.#texts.delete(hash);
      this.#texts.set(hash, text);
    }
    return text;
  }

  keep(hash: string, text: string): void {
    if (bytesOf(text) > LONGEST_BYTES || this.get(hash) !== undefined) return;
    this.#texts.set(hash, text);
    this.#bytes += bytesOf(text);
    // The order of a Map is that of insertion: the first one is the least recently used.
    for (const [oldest, { length }] of this.#texts) {
      if (this.#bytes <= MOST_BYTES) break;
      this.#texts.delete(oldest);
      this.#bytes -= bytesOf({ length });
    }
  }
}

/** What a text takes in memory, with its hash and its place. */
function bytesOf({ length }: { readonly length: number }): number {
  return 2 * length + 256;
}

function referenceOf({ extensions, documentId }: SentOperation): Reference {
  const query: unknown = extensions?.['persistedQuery'];
  if (query !== undefined && query !== null) {
    if (documentId != null)
      throw badRequest('`documentId` and `extensions.persistedQuery` are both given; send one of them');
    return { by: 'HASH', id: hashOf(query) };
  }
  if (documentId === undefined || documentId === null) return { by: 'NONE' };
  if (typeof documentId !== 'string' || documentId === '')
    throw badRequest('`documentId` must be a text: the id of a document of this server');
  // "sha256:" is what the specification has for the hash of a document; other ids are the server's own.
  return { by: 'ID', id: documentId.replace(/^sha256:/, '') };
}

function hashOf(query: unknown): string {
  const { version, sha256Hash } = Object(query) as { readonly version?: unknown; readonly sha256Hash?: unknown };
  if (typeof query !== 'object' || Array.isArray(query))
    throw badRequest('`extensions.persistedQuery` must be an object: `{ version: 1, sha256Hash }`');
  if (version !== 1) throw badRequest('`extensions.persistedQuery.version` must be 1');
  if (typeof sha256Hash !== 'string' || sha256Hash === '' || sha256Hash.length > 256)
    throw badRequest(
      '`extensions.persistedQuery.sha256Hash` must be the SHA-256 of the document as 64 hexadecimal digits',
    );
  return /^[0-9a-f]{64}$/i.test(sha256Hash) ? sha256Hash.toLowerCase() : sha256Hash;
}

function badRequest(message: string): EunomiaError {
  return new EunomiaError('BAD_REQUEST', message);
}
