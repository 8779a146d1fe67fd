import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';

export interface Delivery {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly at: number;
}

/** A receiver of webhooks: a real HTTP server on a port that stays the same while it is away. */
export class Receiver {
  /** What it has taken, in order. */
  readonly taken: Delivery[] = [];
  /** All requests. */
  readonly requests: Delivery[] = [];
  /** Responses to the next requests, in turn; then 200. "hang": none ever comes. "switch": 101. The body of an endless one never ends. */
  readonly answers: (
    { readonly status: number; readonly retryAfter?: string; readonly endless?: boolean } | 'hang' | 'switch'
  )[] = [];
  #server: Server | null = null;
  #port = 0;

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    await receiver.start();
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/hook?token=hidden`;
  }

  /** Titles, or what else a field of the alerts of Eunomia's own bodies has. */
  titles(field = 'title'): string[] {
    return this.taken.map(({ body }) => {
      const { alert } = JSON.parse(body) as { readonly alert: Readonly<Record<string, unknown>> };
      return String(alert[field]);
    });
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const delivery = { headers: request.headers, body: Buffer.concat(parts).toString(), at: performance.now() };
        this.requests.push(delivery);
        const answer = this.answers.shift() ?? { status: 200 };
        if (answer === 'hang') return;
        if (answer === 'switch')
          return void request.socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n',
          );
        if (answer.status < 300) this.taken.push(delivery);
        const { status, retryAfter, endless = false } = answer;
        // As many do: the address is in it, and what the headers were.
        const said = `Cannot POST ${request.url} ${request.headers.authorization}`;
        response.writeHead(status, said, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).write(said);
        if (!endless) response.end();
      });
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (typeof address === 'object' && address) this.#port = address.port;
    this.#server = server;
  }

  /** Refuses connections until it is started again. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}
