import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AlertBook } from '../alerts/book.js';
import type { Happening } from '../alerts/happenings.js';
import { severities } from '../alerts/alert.js';
import { Backoff } from '../base/backoff.js';
import type { Log } from '../base/log.js';
import { Poster, type PostHeaders, type PostResult } from '../base/post.js';
import { turns } from '../base/turn.js';
import type { NodeFacts } from '../event/node.js';
import { bodyOf } from './body.js';
import { globMatch, type WebhookConfig } from './config.js';
import { eventOf } from './event.js';

export interface WebhookOptions {
  readonly config: WebhookConfig;
  readonly book: AlertBook;
  readonly node: NodeFacts;
  readonly version: string;
  readonly log: Log;
  /** Before the second attempt. Default 1 s. */
  readonly firstWaitMs?: number;
  /** Of a request with its response. Default 10 s. */
  readonly timeoutMs?: number;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;
const LONGEST_ASKED_MS = 300_000;
/** What is left at the end of the server may still be sent for so long; the rest the next server sends. */
const DRAIN_MS = 2000;
/** How often it is written at most that it has passed what it does not want. */
const PASSED_MS = 1000;
/** It is the request itself that these complain about. All else may be mended at the receiver. */
const NEVER: ReadonlySet<number> = new Set([400, 413, 415, 422]);

/** What became of what happened to alerts, since the server's start. */
export interface WebhookStats {
  readonly name: string;
  readonly template: string;
  /** The address without what may be a secret in it. */
  readonly address: string;
  /** Why nothing goes out at the moment; null while all is well. */
  readonly problem: string | null;
  readonly delivered: number;
  /** The receiver said that it will never take these. */
  readonly refused: number;
  /** Requests that failed and are made again. */
  readonly failures: number;
  /** Happenings that the server has forgotten before it could send them. */
  readonly forgotten: number;
  /** Happenings that it has not come to yet. */
  readonly pending: number;
}

/**
 * Sends what happens to alerts to one receiver, in order, one request at a time. Where it is, the journal of the alerts keeps:
 * what was not taken is sent by the next server. After a crash between a response and that, one request is sent again, with the
 * same delivery id.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #poster: Poster;
  readonly #wants: (happening: Happening) => boolean;
  readonly #closing = new AbortController();
  readonly #counts = { delivered: 0, refused: 0, failures: 0, forgotten: 0 };
  #place: number;
  /** The place is not in the journal since it passed what it does not want. */
  #passed: NodeJS.Timeout | null = null;
  #problem: string | null = null;
  #ending = false;
  #wake: () => void = () => {};
  readonly #unwatch: () => void;
  readonly #running: Promise<void>;

  constructor(options: WebhookOptions) {
    const { config, book, timeoutMs } = options;
    this.#options = options;
    this.#wants = filterOf(config);
    this.#poster = new Poster({
      who: `the webhook "${config.name}"`,
      url: config.url,
      ca: config.ca,
      isAgain: (status) => !NEVER.has(status),
      reads: false,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    // A new one is not told of the past.
    this.#place = book.placeOf(config.name) ?? book.revision;
    this.#unwatch = book.watch(() => this.#wake());
    this.#running = this.#run();
  }

  get stats(): WebhookStats {
    const { config, book } = this.#options;
    return {
      name: config.name,
      template: config.body ? 'custom' : config.template,
      address: new URL(config.url).origin,
      problem: this.#problem,
      ...this.#counts,
      pending: Math.max(0, book.revision - this.#place),
    };
  }

  /** Sends what waits, for a moment, and no more. Idempotent. */
  async close(): Promise<void> {
    this.#ending = true;
    this.#wake();
    const late = setTimeout(() => this.#abort(), this.#problem === null ? DRAIN_MS : 0);
    await this.#running;
    clearTimeout(late);
    this.#abort();
    if (this.#passed) await this.#keepPlace();
  }

  #abort(): void {
    this.#closing.abort();
    this.#poster.close();
    this.#unwatch();
    this.#wake();
  }

  async #run(): Promise<void> {
    const { book, config } = this.#options;
    const { signal } = this.#closing;
    if (book.placeOf(config.name) === null) await book.setPlace(config.name, this.#place);
    while (!signal.aborted) {
      if (!turns.isOpen) await turns.next();
      const next = book.after(this.#place);
      if (next === null) {
        if (this.#ending) return;
        await this.#rest();
        continue;
      }
      this.#counts.forgotten += next.revision - this.#place - 1;
      if (!this.#wants(next)) {
        this.#place = next.revision;
        // Else another filter after a restart would find it not told yet.
        this.#passed ??= setTimeout(() => void this.#keepPlace(), PASSED_MS).unref();
        continue;
      }
      if (!(await this.#deliver(next))) return;
      this.#place = next.revision;
      await this.#keepPlace();
    }
  }

  #keepPlace(): Promise<void> {
    if (this.#passed) clearTimeout(this.#passed);
    this.#passed = null;
    return this.#options.book.setPlace(this.#options.config.name, this.#place);
  }

  /** Until the receiver has taken or refused it: true. False when this is closed before. */
  async #deliver(happening: Happening): Promise<boolean> {
    const { config, node, log, firstWaitMs = FIRST_WAIT_MS } = this.#options;
    const { signal } = this.#closing;
    const delivery = `${happening.alert.id}-${happening.revision}`;
    const body = Buffer.from(JSON.stringify(bodyOf(config)(happening, { node, delivery })));
    const backoff = new Backoff(firstWaitMs, LONGEST_WAIT_MS);
    for (;;) {
      const result = await this.#poster.post(body, this.#headers(body, delivery));
      // What the receiver made of a request that was aborted is not known.
      if (signal.aborted && result.kind === 'AWAY') return false;
      this.#tell(result);
      if (result.kind === 'TAKEN') this.#counts.delivered++;
      else if (result.kind === 'REFUSED') {
        this.#counts.refused++;
        log.warn({ webhook: config.name, delivery, problem: result.problem }, 'a webhook refuses an alert for good');
      } else {
        this.#counts.failures++;
        if (this.#ending) return false;
        const waitMs = Math.min(result.afterMs ?? backoff.next(), LONGEST_ASKED_MS);
        await sleep(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
        if (signal.aborted) return false;
        continue;
      }
      return true;
    }
  }

  #tell(result: PostResult): void {
    const { config, log } = this.#options;
    const problem = result.kind === 'AWAY' ? result.problem : null;
    if (problem !== null && this.#problem === null)
      log.warn({ webhook: config.name, problem }, 'a webhook does not take alerts: they wait');
    else if (problem === null && this.#problem !== null)
      log.info({ webhook: config.name }, 'a webhook takes alerts again');
    this.#problem = problem;
  }

  #headers(body: Buffer, delivery: string): PostHeaders {
    const { config, version } = this.#options;
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = config.secret && signatureOf(config.secret, timestamp, body);
    return {
      ...config.headers,
      'content-type': 'application/json',
      'user-agent': `eunomia/${version}`,
      'idempotency-key': delivery,
      'eunomia-timestamp': timestamp,
      ...(signature === null ? {} : { 'eunomia-signature': signature }),
    };
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}

/** HMAC-SHA256 of the timestamp, a full stop and the body. */
export function signatureOf(secret: Buffer, timestamp: string, body: Uint8Array): string {
  return `v1=${createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex')}`;
}

function filterOf({ name, severity, rules, sources, on }: WebhookConfig): (happening: Happening) => boolean {
  const least = severities.indexOf(severity);
  const [ofRule, ofSource] = [globMatch(rules), globMatch(sources)];
  return ({ alert, change }) =>
    alert.silencedBy === null &&
    (alert.webhooks === null || alert.webhooks.includes(name)) &&
    on.includes(eventOf(change?.action ?? null)) &&
    severities.indexOf(alert.severity) >= least &&
    ofRule(alert.rule) &&
    ofSource(alert.source);
}
