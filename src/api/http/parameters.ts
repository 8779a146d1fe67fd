import type { GraphQLParams } from 'graphql-yoga';
import { EunomiaError } from '../../base/errors.js';
import { parseJson } from './json.js';

/** The parts of a fetch Request that are read here. */
interface RequestLike {
  readonly method: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  arrayBuffer(): Promise<ArrayBuffer>;
}

const NAMES = ['query', 'variables', 'operationName', 'extensions', 'documentId'] as const;

/** Of one operation: yoga's, and the name of a document. */
export interface RequestParameters extends GraphQLParams {
  readonly documentId?: string | undefined;
}

const TYPES = 'application/json (or application/graphql with the bare document)';

/**
 * Reads the parameters of one operation, or of a batch, from a GET's query string or a POST's body. Rejects with
 * BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE, or CANCELLED when the client goes away; whoever limits the body's size rejects by itself.
 */
export async function readParameters(request: RequestLike): Promise<RequestParameters | RequestParameters[]> {
  if (request.method === 'GET') return ofForm(queryOf(request.url), 'the query string');
  const [type = '', ...attributes] = (request.headers.get('content-type') ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const charset = attributes
    .find((attribute) => attribute.startsWith('charset='))
    ?.slice('charset='.length)
    .replace(/"/g, '');
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8')
    throw unsupported(`the charset "${charset.slice(0, 40)}" is not read here; send UTF-8`);
  switch (type) {
    case 'application/json':
    case 'application/graphql+json':
      return ofJson(await textOf(request));
    case 'application/graphql':
      return { query: await textOf(request) };
    case 'application/x-www-form-urlencoded':
      return ofForm(await textOf(request), 'the body');
    default:
      throw unsupported(`the content type "${type.slice(0, 80)}" is not read here; send ${TYPES}`);
  }
}

/** The parameters of a query string or form. Throws BAD_REQUEST for percent encodings that are none, or not of UTF-8. */
export function parseQuery(text: string, where = 'the query string'): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const [name = '', ...value] = pair.split('=');
    parameters.append(decode(name, where), decode(value.join('='), where));
  }
  return parameters;
}

function decode(text: string, path: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw badRequest(
      `${path} has a malformed percent encoding in "${text.slice(0, 60)}"; encode UTF-8, each byte as % and two hexadecimal digits`,
    );
  }
}

function queryOf(url: string): string {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at + 1);
}

async function textOf(request: RequestLike): Promise<string> {
  const bytes = await request.arrayBuffer().catch((error: unknown) => {
    // Node's own error of a connection that ends in a body; whoever limits the body's size has others.
    if (error instanceof Error && 'code' in error && error.code === 'ECONNRESET')
      throw new EunomiaError('CANCELLED', 'the client closed the connection before the body was complete');
    throw error;
  });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badRequest('the body is not UTF-8');
  }
}

function ofForm(text: string, path: string): RequestParameters {
  const form = parseQuery(text, path);
  for (const name of new Set(form.keys())) {
    if (!NAMES.some((known) => known === name))
      throw badRequest(
        `${path} has the parameter "${name.slice(0, 60)}", which there is not; there are ${NAMES.join(', ')}`,
      );
    if (form.getAll(name).length > 1) throw badRequest(`${path} has the parameter "${name}" more than once`);
  }
  const json = (name: string): unknown => (form.get(name) ? parseJson(form.get(name) ?? '', name) : undefined);
  return checked(
    {
      query: form.get('query') ?? undefined,
      operationName: form.get('operationName') || undefined,
      documentId: form.get('documentId') ?? undefined,
      variables: json('variables'),
      extensions: json('extensions'),
    },
    '',
  );
}

function ofJson(text: string): RequestParameters | RequestParameters[] {
  const body = parseJson(text, 'the body');
  if (!Array.isArray(body)) return checked(body, '');
  return body.map((operation: unknown, i) => checked(operation, ` of operation ${i} of the batch`));
}

function checked(value: unknown, of: string): RequestParameters {
  if (!isObject(value)) throw badRequest(`the parameters${of} are ${kindOf(value)}; send an object with \`query\``);
  for (const name of Object.keys(value)) {
    if (!NAMES.some((known) => known === name))
      throw badRequest(`there is no parameter "${name.slice(0, 60)}"${of}; there are ${NAMES.join(', ')}`);
  }
  const { query, operationName, variables, extensions: more, documentId } = value;
  const extensions = objectOf(more, 'extensions', of);
  const isNamed = documentId != null || extensions?.['persistedQuery'] != null;
  if (typeof query !== 'string' && !(isNamed && query == null))
    throw badRequest(
      `\`query\`${of} is ${kindOf(query)}; send the text of a GraphQL document, or name one that is persisted`,
    );
  if (documentId != null && typeof documentId !== 'string')
    throw badRequest(`\`documentId\`${of} is ${kindOf(documentId)}; send the id of a persisted document`);
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string')
    throw badRequest(`\`operationName\`${of} is ${kindOf(operationName)}; send a name`);
  return {
    query: query ?? '', // yoga wants one
    operationName: operationName ?? undefined,
    variables: objectOf(variables, 'variables', of),
    extensions,
    ...(documentId == null ? {} : { documentId }),
  };
}

function objectOf(value: unknown, name: string, of: string): Record<string, unknown> | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw badRequest(`\`${name}\`${of} is ${kindOf(value)}; send an object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function badRequest(message: string): EunomiaError {
  return new EunomiaError('BAD_REQUEST', message);
}

function unsupported(message: string): EunomiaError {
  return new EunomiaError('UNSUPPORTED_MEDIA_TYPE', message);
}
