import { Agent as HttpAgent, request as requestHttp, STATUS_CODES, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { finished } from 'node:stream/promises';
import { responseTo } from './response.js';
import { retryAfterMs } from './retry-after.js';
import { timeoutSignal } from './timeout.js';

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
  /**
   * Whether bodies of responses are read: results have them, and problems quote them. False for receivers that may be anything: they
   * repeat addresses and headers, which may be secrets, so that only the status counts, and it counts when it comes.
   */
  readonly reads: boolean;
  /** Of a request with its response. Default 10 s. */
  readonly timeoutMs?: number;
}

export type PostHeaders = Readonly<Record<string, string>>;

const TIMEOUT_MS = 10_000;
const MAX_RESPONSE = 1 << 20;
const MOST_SAID = 200;
/** What is not read may end in this time, and with so many bytes. */
const DROP_MS = 200;
const DROP_BYTES = 64 << 10;
const NOTHING = new Uint8Array();
/** What OpenSSL and Node.js say of certificates (doc/api/tls.md, "X509 certificate error codes"). */
const CERTIFICATE = /CERT|UNABLE_TO_VERIFY|^CRL_|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|HOSTNAME_MISMATCH/;

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
    const { url, reads, timeoutMs = TIMEOUT_MS } = this.#options;
    try {
      const request = this.#send(url, {
        method: 'POST',
        agent: this.#agent,
        signal: AbortSignal.any([this.#closing.signal, timeoutSignal(timeoutMs)]),
        headers: { ...headers, 'content-length': body.length },
      });
      request.end(body);
      const response = await responseTo(request);
      if (!reads) await drop(response);
      return this.#outcomeOf(response, reads ? await bodyOf(response) : NOTHING);
    } catch (error) {
      return { kind: 'AWAY', problem: withoutPath(problemOf(error, timeoutMs), url), afterMs: null };
    }
  }

  /** Aborts what is on its way. */
  close(): void {
    this.#closing.abort();
    this.#agent.destroy();
  }

  #outcomeOf({ statusCode = 0, headers }: IncomingMessage, body: Uint8Array): PostResult {
    if (isSuccess(statusCode)) return { kind: 'TAKEN', body };
    // The message of a failed request may be anything; what of it can be read is enough for a log.
    const said = Buffer.from(body)
      .toString('utf8')
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, MOST_SAID);
    // The words of the status line are the receiver's own, too.
    const words = STATUS_CODES[statusCode];
    const status = words === undefined || this.#options.reads ? String(statusCode) : `${statusCode} (${words})`;
    const redirect = statusCode >= 300 && statusCode < 400 ? ', a redirect, which is not followed' : '';
    const problem = `${this.#options.who} responded with status ${status}${redirect}${said ? `: ${said}` : ''}`;
    if (!this.#options.isAgain(statusCode)) return { kind: 'REFUSED', problem };
    return { kind: 'AWAY', problem, afterMs: retryAfterMs(headers['retry-after']) };
  }
}

function isSuccess(status = 0): boolean {
  return status >= 200 && status < 300;
}

/** A success is one from its header on: the request would be taken twice if its body, which may not end, made it a failure. */
async function bodyOf(response: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      length += part.length;
      if (length <= MAX_RESPONSE) parts.push(part);
    }
  } catch (error) {
    if (!isSuccess(response.statusCode)) throw error;
    return NOTHING;
  }
  return Buffer.concat(parts);
}

/** Its connection is kept if the body ends soon, and free for the next request in any case. */
async function drop(response: IncomingMessage): Promise<void> {
  let bytes = 0;
  response.on('data', (part: Buffer) => {
    if ((bytes += part.length) > DROP_BYTES) response.destroy();
  });
  await finished(response, { signal: timeoutSignal(DROP_MS) }).catch(() => undefined);
  response.destroy();
}

function problemOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no response within ${timeoutMs / 1000} s`;
  const code: unknown = Reflect.get(error, 'code');
  // "write EPROTO ID:error:0A00010B:SSL routines:FUNCTION:wrong version number:FILE:350:"
  const [, reason] = /:SSL routines:[^:]*:([^:]+):/.exec(error.message) ?? [];
  if (reason !== undefined) return `it does not speak TLS as it should: ${reason}`;
  if (typeof code === 'string' && CERTIFICATE.test(code)) return `its certificate is not accepted: ${error.message}`;
  return error.message || (typeof code === 'string' ? code : error.name);
}

/** What is behind the host of an address may be a secret, whatever an error says. */
export function withoutPath(message: string, url: string): string {
  const { pathname, search } = new URL(url);
  return [pathname + search, pathname, search]
    .filter((part) => part.length > 1)
    .reduce((text, part) => text.replaceAll(part, '…'), message);
}
