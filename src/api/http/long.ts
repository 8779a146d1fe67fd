import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ExecutionResult } from 'graphql';
import { processRegularResult, type FetchAPI } from 'graphql-yoga';
import { turns } from '../../base/turn.js';
import { byteLength } from '../text/result-text.js';
import { encodingHeader, type Coding, type Compression } from './compression.js';
import { EVENT_STREAM, EVENT_STREAM_HEADERS } from './sse.js';

/** Stands for a long text where yoga puts results together. No client knows it, so none can write it into another result. */
const MARK = randomUUID();

/** A result whose text is too long to be joined, encoded and copied in one piece. */
export interface LongResult extends ExecutionResult {
  readonly parts: readonly Buffer[];
  readonly stringify: (result: ExecutionResult) => string;
}

/**
 * `result` without its data, which may wait for long until it is sent. `text`: all of it, or, where it has errors, an object with the data
 * alone: those come before it.
 */
export function longResult(result: ExecutionResult, text: readonly Buffer[]): LongResult {
  const without = { ...result, data: null };
  if (!result.errors) return { ...without, parts: text, stringify: () => MARK };
  const [first, ...rest] = text;
  return {
    ...without,
    parts: first ? [first.subarray(1), ...rest] : rest,
    stringify: ({ errors, extensions }) => `${JSON.stringify({ errors, extensions }).slice(0, -1)},${MARK}`,
  };
}

function isLong(result: object): result is LongResult {
  return 'parts' in result && Array.isArray(result.parts) && 'stringify' in result;
}

/** Whether it is one, or a batch with one. */
export function hasLong(result: object): boolean {
  return Array.isArray(result) ? result.some(isLong) : isLong(result);
}

interface Framing {
  readonly headers: Readonly<Record<string, string>>;
  /** Before a text of so many bytes. */
  readonly head: (length: number) => string;
  readonly tail: string;
}

/** What is around a result for a client that accepts nothing but a stream: as yoga has it for a short one. */
const FRAMINGS: Readonly<Record<string, Framing>> = {
  [EVENT_STREAM]: {
    headers: EVENT_STREAM_HEADERS,
    head: () => ':\n\nevent: next\ndata: ',
    tail: '\n\nevent: complete\ndata:\n\n',
  },
  'multipart/mixed': {
    headers: { 'Content-Type': 'multipart/mixed; boundary="-"', Connection: 'keep-alive' },
    head: (length) => `\r\n---\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${length}\r\n\r\n`,
    tail: '\r\n-----\r\n',
  },
};

/**
 * The response of one result or a batch of them, of which some may be long, as a type of results or of streams. Its status and headers are
 * those that yoga gives it. A short one is compressed as a whole, so that a compressor lives no longer than that, and a long one as its
 * client takes it.
 */
export async function resultResponse(
  result: Parameters<typeof processRegularResult>[0],
  fetchAPI: FetchAPI,
  mediaType: string,
  { compression, coding }: { readonly compression: Compression; readonly coding: Coding | null },
): Promise<Response> {
  const response = processRegularResult(result, fetchAPI, mediaType);
  const long = (Array.isArray(result) ? result : [result]).filter(isLong);
  if (long.length === 0 && coding === null) return response;
  const text = await response.text();
  const { status } = response;
  const headers = new fetchAPI.Headers(response.headers);
  if (long.length === 0) {
    const coded = await compression.whole(coding, Buffer.from(text));
    for (const [name, value] of Object.entries(encodingHeader(coded.coding))) headers.set(name, value);
    headers.set('Content-Length', String(coded.body.length));
    return new fetchAPI.Response(coded.body as Uint8Array<ArrayBuffer>, { status, headers });
  }
  const whole = text
    .split(MARK)
    .flatMap((piece, i) => [Buffer.from(piece), ...(long[i]?.parts ?? [])])
    .filter(({ length }) => length > 0);
  const framing = FRAMINGS[mediaType];
  const parts = framing ? [Buffer.from(framing.head(byteLength(whole))), ...whole, Buffer.from(framing.tail)] : whole;
  for (const [name, value] of Object.entries(framing?.headers ?? {})) headers.set(name, value);
  if (coding === null) headers.set('Content-Length', String(byteLength(parts)));
  else {
    headers.delete('Content-Length');
    headers.set('Content-Encoding', coding);
  }
  const body =
    coding === null ? Readable.from(inTurns(parts), { objectMode: false }) : compression.stream(coding, inTurns(parts));
  // The type does not know a body that Node reads.
  return new fetchAPI.Response(body as unknown as ReadableStream<Uint8Array>, { status, headers });
}

/** A client that takes each part at once would get all of them in one piece. */
async function* inTurns(parts: readonly Buffer[]): AsyncGenerator<Buffer, void> {
  for (const part of parts) {
    if (!turns.isOpen) await turns.next('REQUEST');
    yield part;
  }
}
