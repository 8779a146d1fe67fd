import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { invalid, messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { readInspected, readList } from './response.js';
import type { CurrentRights } from '../../event/advice.js';
import type { ContainerFacts } from '../container.js';
import { factsFromInspect, factsFromList, readEngineEvent } from './docker.js';
import { readCurrentRights } from './current-rights.js';
import { dockerOptions, type Endpoint } from './endpoint.js';
import { shakeHands } from './handshake.js';
import { Inspector } from './inspector.js';
import { change, get, getJson, MAX_BYTES, open, RequestError, requireOk } from './request.js';
import {
  isNoEngine,
  type ContainerAction,
  type ContainerSource,
  type EngineStatus,
  type SourceSink,
} from '../source.js';

export interface EngineOptions {
  /** unix:///path, /path or tcp://host:port (with DOCKER_CERT_PATH and DOCKER_TLS_VERIFY) of an engine that speaks the Docker API. */
  readonly endpoint: Endpoint;
  readonly log: Log;
  /** A request that takes longer has failed, and with it the connection when it was a list or a ping. Default 5000. */
  readonly requestMs?: number;
  /** How often an idle engine is asked whether it lives; a hung one is noticed after this plus `requestMs`. Default 5000. */
  readonly pingMs?: number;
  /** The longest pause between two attempts to connect; the first is 100 ms. Default 5000. */
  readonly backoffMs?: number;
}

const FIRST_PAUSE_MS = 100;
const STOP_MS = 30_000;
// Podman sends the head of its event response only with the first event: the list must not wait for it.
const EVENTS_GRACE_MS = 300;
const MAX_LINE = 4 * 1024 * 1024;
// The engine responds before it has subscribed; it replays its last 256 events, so asking from a little earlier leaves no hole.
const OVERLAP_MS = 2000;

/**
 * Follows a container engine: subscribes to its events, lists all, inspects what changed; connects again, for ever, when it
 * goes. Never throws and never delays a caller: a broken engine costs names only.
 */
export class Engine implements ContainerSource {
  readonly #sink: SourceSink;
  readonly #log: Log;
  readonly #requestMs: number;
  readonly #pingMs: number;
  readonly #backoffMs: number;
  readonly #docker: Docker;
  readonly #inspector: Inspector;
  readonly #closing = new AbortController();
  #waking = new AbortController();
  #status: EngineStatus;
  #running: Promise<void> | null = null;
  #attempted = false;
  /** Time of the newest event, in nanoseconds. */
  #lastEvent: bigint | null = null;
  #touched: Set<string> | null = null;

  constructor(options: EngineOptions, sink: SourceSink) {
    this.#sink = sink;
    this.#log = options.log;
    this.#requestMs = options.requestMs ?? 5000;
    this.#pingMs = options.pingMs ?? 5000;
    this.#backoffMs = options.backoffMs ?? 5000;
    this.#docker = clientOf(options.endpoint.host);
    const { host, presumed } = options.endpoint;
    this.#status = { connected: false, error: null, version: null, kind: null, endpoint: host, presumed };
    this.#inspector = new Inspector({
      ask: async (id) => this.#inspect(id),
      onFacts: (facts) => this.#tell(() => this.#sink.facts(facts)),
      onAbsent: (id) => this.#tell(() => this.#sink.absent(id)),
    });
  }

  get status(): EngineStatus {
    return this.#status;
  }

  /** Engines with the Docker API do not know what containerd and CRI-O run for Kubernetes. */
  covers(runtime: string): boolean {
    return runtime !== 'containerd' && runtime !== 'crio';
  }

  /** Whether names may yet come: it is connected, or the first attempt to connect is under way. */
  get hopeful(): boolean {
    return !this.#closing.signal.aborted && (this.#status.connected || !this.#attempted);
  }

  /** Begins to follow the engine. `onFirst` is called once, after the first full list or the first failure. */
  start(onFirst: () => void): void {
    this.#running ??= this.#follow(onFirst);
  }

  /** Ends every request and returns when nothing is left of them. May be called twice. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#inspector.clear();
    await this.#running;
  }

  /** Asks for a container that something else has seen. While disconnected it cuts the pause short instead. */
  request(id: string): void {
    if (this.#status.connected) this.#inspector.request(id);
    else this.#waking.abort();
  }

  /** Stopping takes as long as the container's programs need to end, ten seconds unless the container has another limit. */
  async act(id: string, action: ContainerAction): Promise<void> {
    await this.#within(
      `${action} ${id.slice(0, 12)}`,
      this.#closing.signal,
      (abortSignal) => change(this.#docker, { method: 'POST', path: `/containers/${id}/${action}` }, abortSignal),
      STOP_MS,
    );
  }

  async #follow(onFirst: () => void): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!this.#closing.signal.aborted) {
      const connection = new AbortController();
      const signal = AbortSignal.any([connection.signal, this.#closing.signal]);
      let reason: string;
      try {
        const { ended } = await this.#connect(signal);
        pause = FIRST_PAUSE_MS;
        if (!this.#attempted) onFirst();
        this.#attempted = true;
        reason = await ended;
      } catch (error) {
        reason = messageOf(error);
      }
      connection.abort();
      this.#inspector.clear();
      if (this.#closing.signal.aborted) reason = 'closed';
      if (!this.#attempted) onFirst();
      this.#attempted = true;
      this.#setStatus({ ...this.#status, connected: false, version: null, error: reason });
      await this.#rest(pause);
      pause = Math.min(pause * 2, this.#backoffMs);
    }
  }

  /** Resolves when all is listed; `ended` resolves with the reason when the connection has ended. */
  async #connect(signal: AbortSignal): Promise<{ readonly ended: Promise<string> }> {
    const { version, kind } = await this.#within('connecting', signal, (abortSignal) =>
      shakeHands(this.#docker, abortSignal),
    );
    const touched = new Set<string>();
    this.#touched = touched;
    const events = this.#readEvents(kind, signal);
    await Promise.race([events.open, sleep(EVENTS_GRACE_MS, undefined, { signal }).catch(() => undefined)]);
    const listed = await this.#within('listing containers', signal, (abortSignal) =>
      getJson(this.#docker, '/containers/json?', abortSignal, MAX_BYTES.list, { all: true }),
    );
    const containers = readList(listed);
    if (!containers) throw new Error('listing containers: the response is not a list');
    const all = containers.map((container) => factsFromList(container, kind));
    this.#touched = null;
    this.#setStatus({ ...this.#status, connected: true, error: null, version, kind, presumed: false });
    this.#tell(() => this.#sink.listed(all, touched));
    // The running ones first: events come from them.
    for (const { id, state } of all) if (state !== 'EXITED') this.#inspector.request(id);
    for (const { id, state } of all) if (state === 'EXITED') this.#inspector.request(id);
    return { ended: Promise.race([events.ended, this.#watch(signal)]) };
  }

  #readEvents(kind: string, signal: AbortSignal): { open: Promise<void>; ended: Promise<string> } {
    const since = this.#lastEvent === null ? Date.now() - OVERLAP_MS : Number(this.#lastEvent / 1_000_000n);
    const stream = this.#openEvents(since / 1000, signal);
    const ended = stream.then(
      async (readable) =>
        new Promise<string>((resolve) => {
          let rest = '';
          readable.setEncoding('utf8');
          readable.on('data', (chunk: string) => {
            const lines = (rest + chunk).split('\n');
            rest = lines.pop() ?? '';
            for (const line of lines) this.#onLine(line, kind);
            if (rest.length > MAX_LINE) resolve('the engine sent an event of more than 4 MiB');
          });
          readable.on('error', (error: Error) => resolve(`the event stream failed: ${error.message}`));
          for (const end of ['end', 'close', 'aborted'])
            readable.on(end, () => resolve('the engine closed the event stream'));
        }),
      (error: unknown) => `cannot follow the engine's events: ${messageOf(error)}`,
    );
    const open = stream.then(
      () => undefined,
      () => undefined,
    );
    return { open, ended };
  }

  async #openEvents(since: number, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await open(this.#docker, '/events?', signal, {
      since,
      filters: { type: ['container', 'network'] },
    });
    await requireOk(response);
    return response;
  }

  #onLine(line: string, kind: string): void {
    const read = readEngineEvent(line, kind);
    if (read === null) return;
    if (read.nanos !== null && (this.#lastEvent === null || read.nanos > this.#lastEvent)) this.#lastEvent = read.nanos;
    const { notice } = read;
    if (notice === null) return;
    const id = notice.kind === 'facts' ? notice.facts.id : notice.id;
    this.#touched?.add(id);
    this.#inspector.overtake(id);
    this.#tell(() => {
      if (notice.kind === 'removed') this.#sink.removed(id, notice.at);
      else this.#sink.facts(notice.facts);
    });
    if (notice.kind === 'facts' && notice.inspect) this.#inspector.request(id);
  }

  async rights(id: string): Promise<CurrentRights | null> {
    if (!this.#status.connected) return null;
    try {
      return readCurrentRights(await this.#describe(id));
    } catch (error) {
      if (error instanceof RequestError && error.statusCode === 404) return null;
      throw error;
    }
  }

  #describe(id: string): Promise<unknown> {
    return this.#within(`inspecting ${id.slice(0, 12)}`, this.#closing.signal, (abortSignal) =>
      getJson(this.#docker, `/containers/${id}/json`, abortSignal, MAX_BYTES.inspect),
    );
  }

  async #inspect(id: string): Promise<ContainerFacts | null> {
    try {
      const found = readInspected(await this.#describe(id));
      if (found?.Id !== id) throw new Error('the response is about something else');
      return factsFromInspect(found, this.#status.kind ?? 'docker');
    } catch (error) {
      if (error instanceof RequestError && error.statusCode === 404) return null;
      this.#log.debug({ container: id, error: messageOf(error) }, 'inspecting a container failed');
      throw error;
    }
  }

  /** Resolves with the reason when the engine no longer responds, or `signal` ends the watch. */
  async #watch(signal: AbortSignal): Promise<string> {
    try {
      for (;;) {
        await sleep(this.#pingMs, undefined, { signal, ref: false });
        await this.#within('asking whether the engine lives', signal, (abortSignal) =>
          get(this.#docker, '/_ping', abortSignal, MAX_BYTES.ping),
        );
      }
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Runs a request under the time limit. A response may break off midway without a word. */
  async #within<T>(
    what: string,
    signal: AbortSignal,
    run: (signal: AbortSignal) => Promise<T>,
    limitMs = this.#requestMs,
  ): Promise<T> {
    signal.throwIfAborted();
    const request = new AbortController();
    const response = run(request.signal);
    let giveUp: (reason: Error) => void = () => undefined;
    const givenUp = new Promise<never>((_, reject) => (giveUp = reject));
    const onAbort = (): void => giveUp(new Error('ended'));
    const timer = setTimeout(() => giveUp(new Error(`no response within ${limitMs} ms`)), limitMs);
    signal.addEventListener('abort', onAbort);
    try {
      return await Promise.race([response, givenUp]);
    } catch (error) {
      response.catch(() => undefined);
      request.abort();
      throw new RequestError(`${what}: ${messageOf(error).trim()}`, statusCodeOf(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #rest(pause: number): Promise<void> {
    this.#waking = new AbortController();
    const signal = AbortSignal.any([this.#waking.signal, this.#closing.signal]);
    // Jitter: many servers on one engine shall not come back in step. A kick waits for the first pause at least.
    const least = Math.min(FIRST_PAUSE_MS, pause);
    await sleep(least, undefined, { signal: this.#closing.signal, ref: false }).catch(() => undefined);
    await sleep((pause - least) * (0.5 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
  }

  #setStatus(status: EngineStatus): void {
    const previous = this.#status;
    this.#status = status;
    if (previous.connected === status.connected && previous.error === status.error) return;
    if (status.connected)
      this.#log.info({ engine: status.endpoint, version: status.version }, 'container engine connected');
    else if (isNoEngine(status))
      this.#log.debug({ engine: status.endpoint }, 'there is no container engine: containers have no names');
    else if (status.error !== 'closed')
      this.#log.warn(
        { engine: status.endpoint, error: status.error },
        'container engine not connected: new containers have no names, and sessions that select by name cannot decide about them',
      );
    this.#tell(() => this.#sink.status(status));
  }

  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error({ err: error }, 'a listener to the container engine failed');
    }
  }
}

function statusCodeOf(error: unknown): number | undefined {
  const code: unknown =
    typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** Throws EunomiaError BAD_USER_INPUT when the endpoint is no address, and when the certificates for it are none. */
export function clientOf(host: string): Docker {
  const options = dockerOptions(host);
  try {
    return new Docker(options);
  } catch (error) {
    const folder = process.env['DOCKER_CERT_PATH'];
    throw invalid(
      '--engine',
      `${host}: ${messageOf(error)}; ca.pem, cert.pem and key.pem are read from DOCKER_CERT_PATH (${folder ?? 'not set'})`,
    );
  }
}
