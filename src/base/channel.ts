import { Worker, type MessagePort, type WorkerOptions } from 'node:worker_threads';
import type { ErrorCode } from './error-code.js';
import { EunomiaError, KernelError, messageOf } from './errors.js';
import type { Turns } from './turn.js';

/**
 * What the two ends of a worker thread's channel say. An ask gets a reply, or a refusal with an error; a post to the
 * thread and a note from it get none. All bodies are cloned, or transferred. Write it as a type, not as an interface.
 */
export interface Protocol {
  readonly asks: Readonly<Record<string, { readonly ask: unknown; readonly reply: unknown }>>;
  readonly posts: Readonly<Record<string, unknown>>;
  readonly notes: Readonly<Record<string, unknown>>;
}

type Key<Of> = keyof Of & string;
type Ask<P extends Protocol, Kind extends Key<P['asks']>> = P['asks'][Kind]['ask'];
type Reply<P extends Protocol, Kind extends Key<P['asks']>> = P['asks'][Kind]['reply'];

/** An error on its way between threads. */
interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: EunomiaError['details'];
  /** Of a KernelError, what it was made from. */
  readonly kernel: Pick<KernelError, 'operation' | 'errno' | 'hint' | 'verifierLog'> | null;
}

type ToWorker =
  | { readonly type: 'end' }
  | { readonly type: 'ask'; readonly id: number; readonly kind: string; readonly body: unknown }
  | { readonly type: 'post'; readonly kind: string; readonly body: unknown };

type FromWorker =
  | { readonly type: 'reply'; readonly id: number; readonly body: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly failure: Failure }
  | { readonly type: 'note'; readonly kind: string; readonly body: unknown };

/** A class of its own, since a thread can send any object. */
class Ended {
  /** What it threw; null for one that ended without. */
  readonly cause: Error | null;

  constructor(cause: Error | null) {
    this.cause = cause;
  }
}

export interface ChannelOptions<P extends Protocol> {
  /** The compiled entry, as `workerFile` gives it. It calls `serveChannel`. */
  readonly file: string;
  readonly worker?: WorkerOptions;
  /** Called with each new thread, for what belongs to it: `unref`, its standard output. */
  readonly started?: (worker: Worker) => void;
  /**
   * Called in the order of sending. Messages behind a note wait for its promise: a reply comes behind the notes that
   * were sent before it. Must not reject.
   */
  readonly notes: { readonly [Kind in Key<P['notes']>]: (note: P['notes'][Kind]) => Promise<void> | null | void };
  /** Messages are taken within these turns. Default: at once. */
  readonly turns?: Turns;
  /**
   * What asks of a thread that ended are rejected with. `cause`: what it threw, or what was wrong with its message;
   * null where it just ended.
   */
  readonly died: (cause: Error | null) => Error;
  /** Called once per thread that ended by itself, not through `end`. Asks were rejected before. */
  readonly onDeath?: (error: Error, cause: Error | null) => void;
  /**
   * The thread starts with the first message, and after its end with the first message that comes so long after it. Default: it starts at
   * once and is never started again.
   */
  readonly restartAfterMs?: number;
}

/**
 * How long what a thread sent last may take after its end; then it is dead, for who takes that may wait for a reply
 * which never comes.
 */
const LAST_MESSAGES_MS = 1000;

/** How long a thread that is asked to end may take for it; then it is terminated. */
const END_MS = 500;

/** The server's end of a worker thread: asks and their replies, notes in order, the thread's death and its next start. */
export class Channel<P extends Protocol> {
  readonly #options: ChannelOptions<P>;
  readonly #notes: ReadonlyMap<string, (note: never) => Promise<void> | null | void>;
  readonly #waiting = new Map<number, { resolve(reply: unknown): void; reject(error: Error): void }>();
  /** Not taken yet, in order, with the thread that it is from. */
  readonly #inbox: { readonly from: Worker; readonly message: unknown }[] = [];
  #taking = false;
  #worker: Worker | null = null;
  #nextId = 1;
  #dead: Error | null = null;
  #diedAt = Number.NEGATIVE_INFINITY;
  #ended = false;

  constructor(options: ChannelOptions<P>) {
    this.#options = options;
    this.#notes = handlersOf(options.notes);
    if (options.restartAfterMs === undefined) this.#start();
  }

  /** Why nothing can be asked; null while a thread runs, or may be started. */
  get dead(): Error | null {
    return this.#dead;
  }

  /** Asks without a reply. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Rejects with the error of the handler, or with that of `died` when the thread ends before its reply. */
  ask<Kind extends Key<P['asks']>>(
    kind: Kind,
    body: Ask<P, Kind>,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Reply<P, Kind>> {
    const id = this.#nextId++;
    return new Promise<Reply<P, Kind>>((resolve, reject) => {
      const worker = this.#need();
      worker.postMessage({ type: 'ask', id, kind, body } satisfies ToWorker, [...transfer]);
      this.#waiting.set(id, { resolve, reject });
    });
  }

  /** Throws what `died` makes when there is no thread. */
  post<Kind extends Key<P['posts']>>(kind: Kind, body: P['posts'][Kind], transfer: readonly ArrayBuffer[] = []): void {
    this.#need().postMessage({ type: 'post', kind, body } satisfies ToWorker, [...transfer]);
  }

  /**
   * Ends the thread for good; asks are rejected with `error`, or with why the thread was dead already. Idempotent.
   *
   * The thread is asked to end by itself, and is terminated only if it does not: before it ends by itself Node waits for V8's jobs about it
   * (compiling, mostly), and when it is terminated it does not. A job that is still running then asks the platform for an isolate that is
   * gone, and the process aborts (node_platform.cc, ForIsolate; Node 20 and later, nodejs/node#51290).
   */
  async end(error: Error): Promise<void> {
    this.#ended = true;
    this.#reject((this.#dead ??= error));
    if (this.#worker) await ended(this.#worker);
  }

  #need(): Worker {
    if (this.#worker && !this.#dead) return this.#worker;
    const { restartAfterMs } = this.#options;
    if (this.#ended || restartAfterMs === undefined || performance.now() - this.#diedAt < restartAfterMs)
      throw this.#dead ?? this.#options.died(null);
    return this.#start();
  }

  #start(): Worker {
    const { file, worker: options, started } = this.#options;
    const worker = new Worker(file, options);
    this.#dead = null;
    this.#worker = worker;
    worker.on('message', (message: unknown) => this.#arrive(worker, message));
    worker.on('messageerror', (cause) => this.#arrive(worker, new Ended(cause)));
    worker.on('error', (cause) => this.#arrive(worker, new Ended(cause)));
    worker.on('exit', () => {
      this.#arrive(worker, new Ended(null));
      setTimeout(() => this.#die(worker, null), LAST_MESSAGES_MS).unref();
    });
    started?.(worker);
    return worker;
  }

  #arrive(from: Worker, message: unknown): void {
    this.#inbox.push({ from, message });
    if (!this.#taking) void this.#take();
  }

  async #take(): Promise<void> {
    const { turns } = this.#options;
    this.#taking = true;
    for (let next = this.#inbox.shift(); next; next = this.#inbox.shift()) {
      if (turns && !turns.isOpen) await turns.next();
      const work = next.from === this.#worker ? this.#handle(next.from, next.message) : null;
      if (work) await work;
    }
    this.#taking = false;
  }

  #handle(from: Worker, message: unknown): Promise<void> | null {
    if (message instanceof Ended) {
      this.#die(from, message.cause);
      return null;
    }
    if (isFromWorker(message)) {
      const take = message.type === 'note' ? this.#notes.get(message.kind) : undefined;
      if (message.type === 'note' && take) return take(message.body as never) ?? null;
      if (message.type !== 'note') {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.type === 'reply') waiting?.resolve(message.body);
        else waiting?.reject(revived(message.failure));
        // The caller may have been told of an end meanwhile; but no thread replies to what it was never asked.
        if (waiting || message.id < this.#nextId) return null;
      }
    }
    this.#die(from, new Error('it sent what its channel does not know'));
    void from.terminate();
    return null;
  }

  #die(worker: Worker, cause: Error | null): void {
    if (this.#worker !== worker || this.#dead) return;
    this.#diedAt = performance.now();
    const error = this.#options.died(cause);
    this.#dead = error;
    this.#reject(error);
    this.#options.onDeath?.(error, cause);
  }

  #reject(error: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}

/** Resolves when the thread has ended: by itself, if it does so in time. */
async function ended(worker: Worker): Promise<void> {
  if (worker.threadId < 0) return;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, END_MS)));
  const exit = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.postMessage({ type: 'end' } satisfies ToWorker);
  await Promise.race([exit, late]);
  clearTimeout(timer);
  await worker.terminate();
}

/** A reply, with what of it is handed over instead of cloned. */
export class Transferred<Body> {
  readonly body: Body;
  readonly transfer: readonly ArrayBuffer[];

  constructor(body: Body, transfer: readonly ArrayBuffer[]) {
    this.body = body;
    this.transfer = transfer;
  }
}

type Replied<Body> = Body | Transferred<Body>;

export interface Handlers<P extends Protocol> {
  /** What one throws or rejects with is the ask's error: an EunomiaError as it is, another one with `code`. */
  readonly asks: {
    readonly [Kind in Key<P['asks']>]: (
      ask: Ask<P, Kind>,
    ) => Promise<Replied<Reply<P, Kind>>> | Replied<Reply<P, Kind>>;
  };
  readonly posts: { readonly [Kind in Key<P['posts']>]: (post: P['posts'][Kind]) => void };
}

export interface ServeOptions {
  /** Of errors that have none. */
  readonly code: ErrorCode;
  /** An ask is handled when those before it have their replies. Posts do not wait. Default: they are handled as they come. */
  readonly inOrder?: boolean;
}

/** Sends a note to the other end. */
export type SendNote<P extends Protocol> = <Kind extends Key<P['notes']>>(
  kind: Kind,
  body: P['notes'][Kind],
  transfer?: readonly ArrayBuffer[],
) => void;

/**
 * The worker's end of the channel, on its `parentPort`. When the other end ends it, the port is closed: a thread that holds nothing else
 * open ends with it.
 */
export function serveChannel<P extends Protocol>(
  port: MessagePort,
  { asks, posts }: Handlers<P>,
  { code, inOrder = false }: ServeOptions,
): SendNote<P> {
  const send = (message: FromWorker, transfer: readonly ArrayBuffer[] = []): void =>
    port.postMessage(message, [...transfer]);
  const askHandlers = handlersOf<unknown>(asks);
  const postHandlers = handlersOf<void>(posts);
  const reply = async (id: number, kind: string, body: unknown): Promise<void> => {
    try {
      const handler = askHandlers.get(kind);
      if (!handler) throw new EunomiaError(code, `the thread is asked for "${kind}", which it does not know`);
      const result = await handler(body as never);
      if (result instanceof Transferred) send({ type: 'reply', id, body: result.body }, result.transfer);
      else send({ type: 'reply', id, body: result });
    } catch (error) {
      send({ type: 'refusal', id, failure: failureOf(error, code) });
    }
  };
  let last: Promise<void> = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    if (message.type === 'end') {
      port.close();
      return;
    }
    if (message.type === 'post') {
      const handler = postHandlers.get(message.kind);
      if (!handler) throw new TypeError(`the thread is sent "${message.kind}", which it does not know`);
      handler(message.body as never);
      return;
    }
    const { id, kind, body } = message;
    if (inOrder) last = last.then(() => reply(id, kind, body));
    else void reply(id, kind, body);
  });
  return (kind, body, transfer) => send({ type: 'note', kind, body }, transfer);
}

/** By kind. What a body is, the two ends have agreed on by their protocol's type. */
function handlersOf<Result>(
  handlers: Readonly<Record<string, (body: never) => Result>>,
): ReadonlyMap<string, (body: never) => Result> {
  return new Map(Object.entries(handlers));
}

function isFromWorker(message: unknown): message is FromWorker {
  if (typeof message !== 'object' || message === null) return false;
  const type: unknown = Reflect.get(message, 'type');
  if (type === 'note') return typeof Reflect.get(message, 'kind') === 'string';
  const failure: unknown = Reflect.get(message, 'failure');
  if (type === 'refusal' && (typeof failure !== 'object' || failure === null)) return false;
  return (type === 'reply' || type === 'refusal') && typeof Reflect.get(message, 'id') === 'number';
}

function failureOf(error: unknown, code: ErrorCode): Failure {
  const { operation, errno, hint, verifierLog } = error instanceof KernelError ? error : ({} as Partial<KernelError>);
  return {
    code: error instanceof EunomiaError ? error.code : code,
    message: messageOf(error),
    details: error instanceof EunomiaError ? error.details : {},
    kernel:
      operation === undefined
        ? null
        : { operation, errno: errno ?? null, hint: hint ?? '', verifierLog: verifierLog ?? null },
  };
}

function revived({ code, message, details, kernel }: Failure): Error {
  return kernel
    ? new KernelError(kernel.operation, kernel.errno, kernel.hint, kernel.verifierLog)
    : new EunomiaError(code, message, { details });
}
