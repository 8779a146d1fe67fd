import type { Readable, Writable } from 'node:stream';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { serializeMessage } from '@modelcontextprotocol/sdk/shared/stdio.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

/** What waits for a client that reads nothing. One that sends some requests before it reads an answer is served all the same. */
const MAX_WAITING_BYTES = 1 << 20;

/**
 * Messages over standard input and output. A client that does not take its answers is not listened to until it has: the SDK's own transport
 * keeps all that was not taken.
 */
export class PacedTransport extends StdioServerTransport {
  readonly #input: Readable;
  readonly #output: Writable;
  #isClosed = false;
  #drained: Promise<void> | null = null;

  constructor(input: Readable = process.stdin, output: Writable = process.stdout) {
    super(input, output);
    this.#input = input;
    this.#output = output;
  }

  /** Resolves when little of what was sent waits for the client. */
  override async send(message: JSONRPCMessage): Promise<void> {
    this.#output.write(serializeMessage(message));
    if (this.#output.writableLength > MAX_WAITING_BYTES) await (this.#drained ??= this.#untilDrained());
  }

  override async close(): Promise<void> {
    this.#isClosed = true;
    await super.close();
  }

  async #untilDrained(): Promise<void> {
    this.#input.pause();
    await new Promise((resolve) => this.#output.once('drain', resolve));
    this.#drained = null;
    if (!this.#isClosed) this.#input.resume();
  }
}
