import { messageOf } from '../../base/errors.js';
import { retryAfterMs } from '../../base/retry-after.js';

/**
 * What came of a write that failed. AWAY: the same points again, later. REFUSED: nothing can be written until somebody mends the
 * configuration. REJECTED: these points never can, others may. TOO_LARGE: in smaller parts.
 */
export interface Failure {
  readonly kind: 'AWAY' | 'REFUSED' | 'REJECTED' | 'TOO_LARGE';
  /** The server's own words, or the system's. */
  readonly message: string;
  /** Milliseconds that the server asks to wait; null when it does not say. */
  readonly retryAfterMs: number | null;
  /** Of REJECTED: how many points were not written; null is all of them. */
  readonly points: number | null;
}

const MAX_MESSAGE = 500;
/** A server's wish to wait is granted up to this. */
const MAX_RETRY_AFTER = 300_000;

/** Classifies what a client threw: the database's response by its status, all else as an absence. */
export function failureOf(error: unknown): Failure {
  const status = numberAt(error, 'statusCode');
  const message = said(error);
  const failure = { message, retryAfterMs: null, points: null };
  if (status === null || status === 408 || status === 429 || status >= 500)
    return { ...failure, kind: 'AWAY', retryAfterMs: retryAfterOf(error) };
  if (status === 413) return { ...failure, kind: 'TOO_LARGE' };
  if (status === 400 || status === 422)
    return { ...failure, kind: 'REJECTED', points: listedOf(error) ?? rejectedOf(message) };
  return { ...failure, kind: 'REFUSED' };
}

/** A server writes the good lines of a request and says how many it dropped; lines that it could not read it lists instead. */
function rejectedOf(message: string): number | null {
  if (!message.includes('partial write')) return null;
  const dropped = Number(/dropped=(\d+)/.exec(message)?.[1] ?? 0);
  return dropped + message.split('unable to parse').length - 1 || null;
}

/** 3.x lists the lines of a request that it did not write. */
function listedOf(error: unknown): number | null {
  const { data } = parsedIn(textAt(error, 'body') ?? '');
  return Array.isArray(data) ? data.length || null : null;
}

function said(error: unknown): string {
  const status = numberAt(error, 'statusCode');
  const body = textAt(error, 'body') ?? textAt(error, 'message') ?? messageOf(error);
  const text = (messageIn(body) ?? body).trim().slice(0, MAX_MESSAGE);
  if (status !== null) return `HTTP ${status}: ${text || 'without a message'}`;
  const code = textAt(error, 'code');
  return code !== null && !text.includes(code) ? `${code} ${text}`.trim() : text;
}

/**
 * 2.x says `{ "message": … }`, 1.x and 3.x `{ "error": … }`, 3.x with what is wrong with which line; the package `influx` puts words of its
 * own before it.
 */
function messageIn(body: string): string | null {
  const json = parsedIn(body);
  const words = textAt(json, 'message') ?? textAt(json, 'error');
  const first: unknown = Array.isArray(json['data']) ? json['data'][0] : json['data'];
  const line = textAt(first, 'error_message');
  return words !== null && line !== null ? `${words}: ${line}` : words;
}

/** The object in a body; an empty one for what is none. */
function parsedIn(body: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(body.slice(Math.max(0, body.indexOf('{'))));
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function retryAfterOf(error: unknown): number | null {
  const headers: unknown = typeof error === 'object' && error !== null ? Reflect.get(error, 'headers') : null;
  const ms = retryAfterMs(textAt(headers, 'retry-after'));
  return ms === null ? null : Math.min(ms, MAX_RETRY_AFTER);
}

function textAt(value: unknown, key: string): string | null {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, key) : null;
  return typeof found === 'string' ? found : null;
}

function numberAt(value: unknown, key: string): number | null {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, key) : null;
  return typeof found === 'number' ? found : null;
}
