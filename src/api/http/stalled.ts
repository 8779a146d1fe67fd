import type { Socket } from 'node:net';

/** A client that takes less than this is as good as one that takes nothing. */
const SLOWEST_BYTES_PER_MS = 64;

/** Disconnects clients that take nothing of what waits for them; those that wait for us are left alone. */
export class StalledClients {
  readonly #stalledMs: number;
  readonly #onStalled: (waitingBytes: number) => void;
  /** How much had left, and when something last did. */
  readonly #sockets = new Map<Socket, { left: number; at: number }>();
  readonly #timer: NodeJS.Timeout;

  /**
   * `stalledMs`: how long a client may take nothing; so much more as what waits may take at 64 KiB a second, for a part
   * of a write is not seen.
   */
  constructor(stalledMs: number, onStalled: (waitingBytes: number) => void) {
    this.#stalledMs = stalledMs;
    this.#onStalled = onStalled;
    this.#timer = setInterval(() => this.#look(), stalledMs / 4).unref();
  }

  /** Watches a connection, below HTTP and WebSocket and above TLS, until it closes. */
  watch(socket: Socket): void {
    this.#sockets.set(socket, { left: 0, at: Date.now() });
    socket.once('close', () => this.#sockets.delete(socket));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = Date.now();
    for (const [socket, seen] of this.#sockets) {
      const waiting = socket.writableLength;
      const left = socket.bytesWritten - waiting;
      if (waiting === 0 || left !== seen.left) {
        seen.left = left;
        seen.at = now;
      } else if (now - seen.at > this.#stalledMs + waiting / SLOWEST_BYTES_PER_MS) {
        this.#onStalled(waiting);
        socket.destroy();
      }
    }
  }
}
