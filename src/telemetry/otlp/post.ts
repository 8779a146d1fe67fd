import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

/** What the collector said of a request. */
export type PostResult =
  | { readonly kind: 'TAKEN'; readonly body: Uint8Array }
  /** It would not take the same request another time. */
  | { readonly kind: 'REFUSED'; readonly problem: string }
  /** Another time, perhaps; `afterMs` when it said when. */
  | { readonly kind: 'AWAY'; readonly problem: string; readonly afterMs: number | null };

export type Post = (body: Uint8Array) => Promise<PostResult>;

const TIMEOUT_MS = 10_000;
const MAX_RESPONSE = 1 << 20;
const MOST_SAID = 200;
/** By the OTLP specification, these and no others are worth another try. */
const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const compress = promisify(gzip);

/** Posts protobuf to one path of a collector, over connections that are kept. Never rejects. */
export function poster(url: string, headers: Readonly<Record<string, string>>, ca: string | null): Post {
  const secure = url.startsWith('https:');
  const agent = secure
    ? new HttpsAgent({ keepAlive: true, maxSockets: 2, ...(ca === null ? {} : { ca }) })
    : new HttpAgent({ keepAlive: true, maxSockets: 2 });
  const send = secure ? requestHttps : requestHttp;
  return async (body) => {
    try {
      const packed = await compress(body, { level: 1 });
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = send(url, {
          method: 'POST',
          agent,
          signal: AbortSignal.timeout(TIMEOUT_MS),
          headers: {
            ...headers,
            'content-type': 'application/x-protobuf',
            'content-encoding': 'gzip',
            'content-length': packed.length,
          },
        });
        request.on('response', resolve);
        request.on('error', reject);
        request.end(packed);
      });
      return outcomeOf(response, await bodyOf(response));
    } catch (error) {
      return { kind: 'AWAY', problem: problemOf(error), afterMs: null };
    }
  };
}

function outcomeOf({ statusCode = 0, headers }: IncomingMessage, body: Buffer): PostResult {
  if (statusCode >= 200 && statusCode < 300) return { kind: 'TAKEN', body };
  // The message of a failed request is a protobuf too; what of it can be read is enough for a log.
  const said = body
    .toString('utf8')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, MOST_SAID);
  const problem = `the collector responded with status ${statusCode}${said ? `: ${said}` : ''}`;
  if (!AGAIN.has(statusCode)) return { kind: 'REFUSED', problem };
  const seconds = Number(headers['retry-after']);
  return { kind: 'AWAY', problem, afterMs: seconds > 0 ? seconds * 1000 : null };
}

async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length <= MAX_RESPONSE) parts.push(part);
  }
  return Buffer.concat(parts);
}

function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no response within ${TIMEOUT_MS / 1000} s`;
  const code: unknown = Reflect.get(error, 'code');
  return error.message || (typeof code === 'string' ? code : error.name);
}
