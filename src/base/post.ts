import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';

/** What a receiver said of a request. */
export type PostResult =
  | { readonly kind: 'TAKEN'; readonly body: Uint8Array }
  /** It would not take the same request another time. */
  | { readonly kind: 'REFUSED'; readonly problem: string }
  /** Another time, perhaps; `afterMs` when it said when. */
  | { readonly kind: 'AWAY'; readonly problem: string; readonly afterMs: number | null };

export interface PostOptions {
  /** What messages call it: "the collector". */
  readonly who: string;
  readonly url: string;
  /** PEM: the authority that signed its certificate; null trusts the system's. */
  readonly ca: string | null;
  /** Whether a request with this status, which is no success, is worth another try. */
  readonly isAgain: (status: number) => boolean;
  /** Of a request with its response. Default 10 s. */
  readonly timeoutMs?: number;
}

export type PostHeaders = Readonly<Record<string, string>>;

const TIMEOUT_MS = 10_000;
const MAX_RESPONSE = 1 << 20;
const MOST_SAID = 200;

/** Posts to one address, over connections that are kept; follows no redirects. */
export class Poster {
  readonly #options: PostOptions;
  readonly #agent: HttpAgent | HttpsAgent;
  readonly #send: typeof requestHttp;
  readonly #closing = new AbortController();

  constructor(options: PostOptions) {
    this.#options = options;
    const { url, ca } = options;
    const secure = url.startsWith('https:');
    const kept = { keepAlive: true, maxSockets: 2 };
    this.#agent = secure ? new HttpsAgent({ ...kept, ...(ca === null ? {} : { ca }) }) : new HttpAgent(kept);
    this.#send = secure ? requestHttps : requestHttp;
  }

  /** Never rejects. */
  async post(body: Uint8Array, headers: PostHeaders): Promise<PostResult> {
    const { url, timeoutMs = TIMEOUT_MS } = this.#options;
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = this.#send(url, {
          method: 'POST',
          agent: this.#agent,
          signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeoutMs)]),
          headers: { ...headers, 'content-length': body.length },
        });
        request.on('response', resolve);
        request.on('error', reject);
        request.end(body);
      });
      return this.#outcomeOf(response, await bodyOf(response));
    } catch (error) {
      return { kind: 'AWAY', problem: problemOf(error, timeoutMs), afterMs: null };
    }
  }

  /** Aborts what is on its way. */
  close(): void {
    this.#closing.abort();
    this.#agent.destroy();
  }

  #outcomeOf({ statusCode = 0, headers }: IncomingMessage, body: Buffer): PostResult {
    if (statusCode >= 200 && statusCode < 300) return { kind: 'TAKEN', body };
    // The message of a failed request may be anything; what of it can be read is enough for a log.
    const said = body
      .toString('utf8')
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, MOST_SAID);
    const problem = `${this.#options.who} responded with status ${statusCode}${said ? `: ${said}` : ''}`;
    if (!this.#options.isAgain(statusCode)) return { kind: 'REFUSED', problem };
    return { kind: 'AWAY', problem, afterMs: retryAfter(headers['retry-after']) };
  }
}

/** Seconds, or a date. */
function retryAfter(value: string | undefined): number | null {
  if (value === undefined) return null;
  const seconds = Number(value);
  const ms = Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1000;
  return ms > 0 ? ms : null;
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

function problemOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no response within ${timeoutMs / 1000} s`;
  const code: unknown = Reflect.get(error, 'code');
  return error.message || (typeof code === 'string' ? code : error.name);
}
