import { asciiJson } from '../../record/json/bytes.js';

/** One operation of a WebSocket, from its `subscribe` message until nothing of it is left here. */
export interface Operation {
  /** As the client calls it. Another operation may bear the same id once this one is complete. */
  readonly id: string;
  /** As graphql-ws knows it: each operation's own, so that two that bear one id after the other are never taken for each other. */
  readonly key: string;
  /** Aborts when the client completes it or goes away. */
  readonly gone: AbortController;
  /** Called once nothing of it is left. */
  readonly frees: (() => void)[];
}

export type Incoming =
  | { readonly kind: 'PASS'; readonly text: string; readonly operation: Operation | null }
  | { readonly kind: 'IGNORE' }
  | { readonly kind: 'CLOSE'; readonly code: number; readonly reason: string };

const MAX_ID = 1000;
const BAD_REQUEST = 4400;
const ALREADY_EXISTS = 4409;

/** The operations of one WebSocket. What graphql-ws sees are keys; what the client sees are its ids. */
export class Operations {
  /** Those that the client may complete, by its ids. */
  readonly #byId = new Map<string, Operation>();
  /** All that still hold something here. */
  readonly #byKey = new Map<string, Operation>();
  #next = 1;

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): Operation | undefined {
    return this.#byKey.get(key);
  }

  /** What to do with a client's message. What is no message of the protocol passes: graphql-ws refuses it. */
  receive(text: string): Incoming {
    const message = parse(text);
    if (!message || typeof message['id'] !== 'string' || message['id'] === '')
      return { kind: 'PASS', text, operation: null };
    const { id, type } = message;
    if (id.length > MAX_ID)
      return {
        kind: 'CLOSE',
        code: BAD_REQUEST,
        reason: `The id has ${id.length} characters; at most ${MAX_ID} are allowed`,
      };
    const known = this.#byId.get(id);
    if (type === 'complete') {
      if (!known) return { kind: 'IGNORE' };
      this.#byId.delete(id);
      known.gone.abort();
      return { kind: 'PASS', text: JSON.stringify({ ...message, id: known.key }), operation: null };
    }
    if (type !== 'subscribe') return { kind: 'PASS', text, operation: null };
    if (known) return { kind: 'CLOSE', code: ALREADY_EXISTS, reason: `Subscriber for ${id} already exists` };
    const operation: Operation = { id, key: String(this.#next++), gone: new AbortController(), frees: [] };
    this.#byId.set(id, operation);
    this.#byKey.set(operation.key, operation);
    return { kind: 'PASS', text: JSON.stringify({ ...message, id: operation.key }), operation };
  }

  /** A message of graphql-ws as the client shall get it; null when it is about an operation that the client has completed. */
  send(text: string): string | null {
    const [head = '', key = ''] = /^\{"id":"(\d+)",/.exec(text) ?? [];
    if (head === '') return text;
    const operation = this.#byKey.get(key);
    if (!operation || operation.gone.signal.aborted) return null;
    const rest = text.slice(head.length);
    // The client may use the id again as soon as it has read this.
    if (rest.startsWith('"type":"complete"') || rest.startsWith('"type":"error"')) this.#forgetId(operation);
    return `{"id":${asciiJson(operation.id)},${rest}`;
  }

  /** Nothing of it is left. */
  ended(operation: Operation): void {
    this.#byKey.delete(operation.key);
    for (const free of operation.frees.splice(0)) free();
    this.#forgetId(operation);
  }

  /** The client has gone. */
  end(): void {
    for (const { gone } of this.#byKey.values()) gone.abort();
    this.#byId.clear();
  }

  #forgetId(operation: Operation): void {
    if (this.#byId.get(operation.id) === operation) this.#byId.delete(operation.id);
  }
}

function parse(text: string): (Record<string, unknown> & { id?: unknown }) | null {
  try {
    const message: unknown = JSON.parse(text);
    return typeof message === 'object' && message !== null && !Array.isArray(message) ? { ...message } : null;
  } catch {
    return null;
  }
}
