import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Log } from '../../base/log.js';

/**
 * What may wait in a socket before nothing more is read from it. Results wait for their turn before they are made, and
 * are not bounded by it.
 */
const FULL_BYTES = 256 << 10;
const PING_MS = 15_000;

export interface OutgoingOptions {
  readonly socket: WebSocket;
  /** The socket below. */
  readonly stream: Duplex;
  readonly log: Log;
}

/**
 * What a WebSocket sends. While its client does not read, nothing is read from it either, so that responses to what it goes on sending
 * (pings, errors, results) are bounded. One that has gone without a word is found by pings.
 */
export class Outgoing {
  readonly #options: OutgoingOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #waiting: (() => void)[] = [];
  readonly #closed: Promise<void>;
  #taken = false;
  #held = 0;
  #aliveAt = Date.now();

  constructor(options: OutgoingOptions) {
    this.#options = options;
    const { socket, stream } = options;
    const alive = (): void => {
      this.#aliveAt = Date.now();
      this.#pauseWhenFull();
    };
    for (const event of ['pong', 'message', 'ping']) socket.on(event, alive);
    stream.on('drain', () => this.#resumeWhenEmpty());
    this.#timer = setInterval(() => this.#ping(), PING_MS).unref();
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        clearInterval(this.#timer);
        resolve();
      });
    });
  }

  /**
   * Sends one message in parts. Resolves when it has left for the kernel: its bytes may be written over then. Where it
   * cannot leave any more it resolves with the connection's end, so that nobody makes one result after the other for a
   * client that has gone.
   */
  send(parts: readonly (string | Buffer)[]): Promise<void> {
    const { socket, stream, log } = this.#options;
    if (socket.readyState !== socket.OPEN) return this.#closed;
    return new Promise((resolve) => {
      const sent = (error?: Error | null): void => {
        this.#resumeWhenEmpty();
        if (!error) return resolve();
        // The client has gone in the middle of a message: `close` follows, and ends its operations.
        log.debug({ err: error }, 'a WebSocket client is gone');
        socket.terminate();
        resolve(this.#closed);
      };
      // One write to the socket for all parts; each is a fragment of the message (RFC 6455, 5.4), so that none is copied.
      stream.cork();
      const last = parts.length - 1;
      parts.forEach((part, i) => socket.send(part, { binary: false, fin: i === last }, i === last ? sent : undefined));
      stream.uncork();
      this.#pauseWhenFull();
    });
  }

  /**
   * Resolves when it is the caller's turn to make a result and send it, with the function that ends the turn. One result of all
   * operations of a socket exists at a time: while the client does not read, events wait in their sessions' bounded queues.
   */
  async turn(): Promise<() => void> {
    const { socket } = this.#options;
    if (socket.readyState !== socket.OPEN) await this.#closed;
    else if (this.#taken)
      await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), this.#closed]);
    this.#taken = true;
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#taken = false;
    };
  }

  /** Reads nothing from the socket until the function that is returned has been called, once. */
  hold(): () => void {
    this.#held += 1;
    if (!this.#options.socket.isPaused) this.#options.socket.pause();
    return () => {
      this.#held -= 1;
      this.#resumeWhenEmpty();
    };
  }

  #pauseWhenFull(): void {
    const { socket } = this.#options;
    if (socket.bufferedAmount > FULL_BYTES && !socket.isPaused) socket.pause();
  }

  #resumeWhenEmpty(): void {
    const { socket } = this.#options;
    if (socket.isPaused && this.#held === 0 && socket.bufferedAmount <= FULL_BYTES / 2) socket.resume();
  }

  #ping(): void {
    const { socket } = this.#options;
    // A ping would wait behind what is being sent, and tell nothing.
    if (socket.bufferedAmount > 0) this.#aliveAt = Date.now();
    else if (Date.now() - this.#aliveAt > 3 * PING_MS) socket.terminate();
    else if (socket.readyState === socket.OPEN) socket.ping();
  }
}
