import { createHash } from 'node:crypto';
import type { Config, Limits, Role } from '../../base/config.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { readTrusted } from '../../base/file.js';
import { parseWithin } from '../graphql/limits.js';
import { contractSchema } from '../graphql/schema.js';
import { problemsOf } from '../graphql/validate.js';

/** Documents of a file that an administrator has listed, by the ids of the file and by their SHA-256. */
export class TrustedDocuments {
  readonly #byId: ReadonlyMap<string, string>;
  /** All documents, where only these are executed; null where others are too. */
  readonly #only: ReadonlySet<string> | null;

  constructor(documents: ReadonlyMap<string, string> = new Map(), only = false) {
    const hashes = [...documents.values()].map((text) => [sha256(text), text] as const);
    this.#byId = new Map([...hashes, ...documents]);
    this.#only = only ? new Set(documents.values()) : null;
  }

  get(id: string): string | undefined {
    return this.#byId.get(id);
  }

  /** Whether a document that was written may be executed. Those who administer the server may send any. */
  allows(text: string, role: Role): boolean {
    return this.#only === null || role === 'admin' || this.#only.has(text);
  }
}

/**
 * Reads the file and checks each document against the schema and the limits. Throws BAD_TRUSTED_DOCUMENTS, which says what is wrong with
 * which of them; nothing is trusted then.
 */
export function loadTrusted({
  trustedDocuments,
  limits,
}: Pick<Config, 'trustedDocuments' | 'limits'>): TrustedDocuments {
  if (!trustedDocuments) return new TrustedDocuments();
  const { file, only } = trustedDocuments;
  const documents = new Map<string, string>();
  for (const [id, text] of readDocuments(file)) {
    if ((documents.get(id) ?? text) !== text)
      throw wrong(file, `the id "${id.slice(0, 100)}" is there twice, with different documents`);
    documents.set(id, text);
    const problem = problemOf(text, limits);
    if (problem !== null) throw wrong(file, `the document "${id.slice(0, 100)}": ${problem}`);
  }
  return new TrustedDocuments(documents, only);
}

function readDocuments(file: string): readonly (readonly [string, string])[] {
  let content: unknown;
  try {
    content = JSON.parse(readTrusted(file, 'SETTINGS').toString('utf8'));
  } catch (error) {
    throw error instanceof EunomiaError
      ? new EunomiaError('BAD_TRUSTED_DOCUMENTS', `--trusted-documents ${error.message}`, { cause: error })
      : wrong(
          file,
          error instanceof SyntaxError ? `is not JSON: ${messageOf(error)}` : `cannot be read: ${messageOf(error)}`,
        );
  }
  if (!isObject(content)) throw wrong(file, 'has no object: list the documents as { "ID": "TEXT" }');
  const { format, operations } = content;
  const isManifest = format === 'apollo-persisted-query-manifest';
  if (isManifest && !Array.isArray(operations)) throw wrong(file, 'is a manifest without `operations`');
  const entries: readonly (readonly [unknown, unknown])[] = isManifest
    ? (operations as readonly unknown[]).map((operation) =>
        isObject(operation) ? [operation['id'], operation['body']] : [null, null],
      )
    : Object.entries(content);
  return entries.map(([id, text], i) => {
    if (typeof id !== 'string' || id === '' || id.length > 256 || typeof text !== 'string' || text === '')
      throw wrong(file, `entry ${i}: give an id of at most 256 characters, and the text of a document`);
    return [id, text];
  });
}

/** Null when the document can be executed. */
function problemOf(text: string, limits: Limits): string | null {
  try {
    const [error] = problemsOf(contractSchema(), parseWithin(text, limits));
    return error?.message ?? null;
  } catch (error) {
    return messageOf(error);
  }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(file: string, problem: string): EunomiaError {
  return new EunomiaError('BAD_TRUSTED_DOCUMENTS', `--trusted-documents ${file}: ${problem}`);
}
