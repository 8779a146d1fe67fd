import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ExecutionResult } from 'graphql';
import { processRegularResult, type FetchAPI } from 'graphql-yoga';
import { turns } from '../../base/turn.js';
import { byteLength } from '../text/result-text.js';

/** Stands for a long text where yoga puts results together. No client knows it, so none can write it into another result. */
const MARK = randomUUID();

/** A result whose text is too long to be joined, encoded and copied in one piece. */
export interface LongResult extends ExecutionResult {
  readonly parts: readonly Buffer[];
  readonly stringify: () => string;
}

/** `result` without its data, which may wait for long until it is sent. */
export function longResult(result: ExecutionResult, parts: readonly Buffer[]): LongResult {
  return { ...result, data: null, parts, stringify: () => MARK };
}

export function isLong(result: object): result is LongResult {
  return 'parts' in result && Array.isArray(result.parts) && 'stringify' in result;
}

/** The response of one result or a batch of them, of which some are long. Its status and headers are those that yoga gives it. */
export async function longResponse(
  result: Parameters<typeof processRegularResult>[0],
  fetchAPI: FetchAPI,
  mediaType: string,
): Promise<Response> {
  const response = processRegularResult(result, fetchAPI, mediaType);
  const between = (await response.text()).split(MARK).map((text) => Buffer.from(text));
  const long = (Array.isArray(result) ? result : [result]).filter(isLong);
  const parts = between.flatMap((text, i) => [text, ...(long[i]?.parts ?? [])]).filter(({ length }) => length > 0);
  const headers = new fetchAPI.Headers(response.headers);
  headers.set('Content-Length', String(byteLength(parts)));
  // The type does not know a body that Node reads.
  const body = Readable.from(inTurns(parts), { objectMode: false }) as unknown as ReadableStream<Uint8Array>;
  return new fetchAPI.Response(body, { status: response.status, headers });
}

/** A client that takes each part at once would get all of them in one piece. */
async function* inTurns(parts: readonly Buffer[]): AsyncGenerator<Buffer, void> {
  for (const part of parts) {
    if (!turns.isOpen) await turns.next('REQUEST');
    yield part;
  }
}
