import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cert, key } from '../../test/support/certificate.js';
import { until } from '../../test/support/until.js';
import { webhookConfig } from '../../test/support/webhook-config.js';
import type { NewAlert } from '../alerts/alert.js';
import { AlertBook } from '../alerts/book.js';
import { createLog } from '../base/log.js';
import type { WebhookConfig } from './config.js';
import { Webhook } from './webhook.js';

/** Receivers that do what no receiver should, over real sockets. */

const closing: (() => Promise<unknown> | void)[] = [];
let book: AlertBook;
beforeEach(() => {
  book = new AlertBook();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Calls `answer` for each request whose body has come; the counts are of requests. */
async function receiverThat(
  answer: (socket: Socket) => void,
  make: (onSocket: (socket: Socket) => void) => Server = createServer,
  host = '127.0.0.1',
) {
  const receiver = { requests: 0, port: 0 };
  const sockets = new Set<Socket>();
  const server = make((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      const [, length] = /content-length: (\d+)/i.exec(text) ?? [];
      const body = text.indexOf('\r\n\r\n') + 4;
      if (body < 4 || text.length < body + Number(length)) return;
      text = '';
      receiver.requests++;
      answer(socket);
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  if (typeof address === 'object' && address) receiver.port = address.port;
  closing.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return receiver;
}

function open(url: string, more: Partial<WebhookConfig> = {}, timeoutMs = 10_000): Webhook {
  const webhook = new Webhook({
    config: webhookConfig({ url, ...more }),
    book,
    node: { id: 'n', name: 'host-1' },
    version: '1',
    log: createLog('silent'),
    firstWaitMs: 20,
    timeoutMs,
  });
  closing.push(() => webhook.close());
  return webhook;
}

const alert: NewAlert = {
  severity: 'HIGH',
  title: 'one',
  message: 'x',
  source: 'rule:x',
  session: null,
  time: null,
  tracker: null,
  process: null,
  container: null,
  key: null,
};

/** Writes without end, as fast as it is taken. */
function pour(socket: Socket, part: Buffer): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(part));
  };
  socket.on('drain', more);
  more();
}

/** A byte at a time. */
function drip(socket: Socket, text: string): void {
  let sent = 0;
  const timer = setInterval(() => {
    if (socket.destroyed || sent === text.length) clearInterval(timer);
    else socket.write(text.charAt(sent++));
  }, 5);
}

const GIGABYTE = `content-length: ${1 << 30}\r\n\r\n`;
const part = Buffer.alloc(1 << 20, 'x');

describe('a receiver', () => {
  it.each<[string, (socket: Socket) => void]>([
    [
      'responds with a gigabyte',
      (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${GIGABYTE}`);
        pour(socket, part);
      },
    ],
    ['hangs behind its header', (socket) => socket.write(`HTTP/1.1 200 OK\r\n${GIGABYTE}`)],
    [
      'drips its body',
      (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${GIGABYTE}`);
        drip(socket, 'x'.repeat(10_000));
      },
    ],
    [
      'says first that it goes on',
      (socket) => {
        for (let i = 0; i < 3; i++) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      },
    ],
  ])('that %s has taken the alert, once', async (_what, answer) => {
    const receiver = await receiverThat(answer);
    const webhook = open(`http://127.0.0.1:${receiver.port}/`);
    for (let i = 0; i < 3; i++) book.raise(alert);
    await until('all are taken', () => webhook.stats.delivered === 3);
    expect(receiver.requests).toBe(3);
    expect(webhook.stats).toMatchObject({ problem: null, failures: 0 });
  });

  it.each<[string, RegExp, (socket: Socket) => void]>([
    [
      'drips its header',
      /^no response within 0.5 s$/,
      (socket) => drip(socket, `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(9999)}`),
    ],
    [
      'never ends its header',
      /Header overflow|header/i,
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nx: ');
        pour(socket, part);
      },
    ],
    ['speaks no HTTP', /Parse Error/, (socket) => pour(socket, part)],
    [
      'goes on without end',
      /more than 16 responses came that were none yet \(1xx\)/,
      (socket) => pour(socket, Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'.repeat(2000))),
    ],
    [
      'refuses with a gigabyte',
      /500 \(Internal Server Error\)/,
      (socket) => {
        socket.write(`HTTP/1.1 500 No\r\n${GIGABYTE}`);
        pour(socket, part);
      },
    ],
    ['closes the connection', /socket hang up|ECONNRESET/, (socket) => socket.destroy()],
    [
      'sends on to itself',
      /302 \(Found\), a redirect, which is not followed/,
      (socket) => socket.write('HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n'),
    ],
  ])('that %s is asked again, and told of', async (_what, problem, answer) => {
    let isMended = false;
    const receiver = await receiverThat((socket) => {
      if (isMended) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      else answer(socket);
    });
    // Short where it is told of: a busy machine is not to be taken for a receiver that is silent.
    const webhook = open(`http://127.0.0.1:${receiver.port}/`, {}, problem.source.includes('0.5 s') ? 500 : undefined);
    book.raise(alert);
    await until('it has failed twice', () => webhook.stats.failures >= 2);
    expect(webhook.stats.problem).toMatch(problem);
    isMended = true;
    await until('it is taken', () => webhook.stats.delivered === 1);
    expect(webhook.stats).toMatchObject({ problem: null, pending: 0 });
  });

  it.each<[string, RegExp, Partial<WebhookConfig>]>([
    ['of an authority that nobody trusts', /^its certificate is not accepted: self-signed certificate$/, {}],
    ['of another host', /^its certificate is not accepted: .*altnames/, { ca: cert }],
  ])('with a certificate %s is told of, and gets nothing', async (_what, problem, more) => {
    const make = (onSocket: (socket: Socket) => void): Server => createTlsServer({ cert, key }, onSocket);
    const receiver = await receiverThat((socket) => socket.write('HTTP/1.1 204 No Content\r\n\r\n'), make, '127.0.0.2');
    const webhook = open(`https://127.0.0.2:${receiver.port}/`, more);
    book.raise(alert);
    await until('it has failed twice', () => webhook.stats.failures >= 2);
    expect(webhook.stats.problem).toMatch(problem);
    expect(receiver.requests).toBe(0);
  });

  it('that speaks no TLS is told of', async () => {
    const make = (onSocket: (socket: Socket) => void): Server =>
      createServer((socket) => onSocket(socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
    const receiver = await receiverThat(() => undefined, make);
    const webhook = open(`https://127.0.0.1:${receiver.port}/`);
    book.raise(alert);
    await until('it has failed twice', () => webhook.stats.failures >= 2);
    expect(webhook.stats.problem).toBe('it does not speak TLS as it should: wrong version number');
    expect(receiver.requests).toBe(0);
  });
});
