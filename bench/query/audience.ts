import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { Answer, Ask } from './protocol.js';

/**
 * Clients of the server under test, in a process of their own. They speak graphql-transport-ws by hand: what a library
 * does is not the server's cost.
 */

let sockets: WebSocket[] = [];
let failure: string | null = null;
let messages = 0;
let bytes = 0;
let aggregated = { events: 0, missing: 0, at: 0 };
let rows = new Set<string>();
let delays: number[] = [];

/** Of one clock for all processes. */
function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

async function subscribe(url: string, query: string, variables: object, onData: (data: Buffer) => void): Promise<void> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), 'graphql-transport-ws', { perMessageDeflate: false });
  sockets.push(socket);
  socket.on('error', (error) => (failure = error.message));
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init' }));
  await once(socket, 'message');
  socket.on('message', (data: Buffer) => {
    const kind = /"type":"(\w+)"/.exec(
      data.toString('latin1', 0, 64) + data.toString('latin1', Math.max(0, data.length - 64)),
    )?.[1];
    if (kind === 'ping') socket.send(JSON.stringify({ type: 'pong' }));
    else if (kind === 'next') onData(data);
    else if (kind === 'error') failure = data.toString('utf8', 0, 500);
  });
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query, variables } }));
}

interface Change {
  readonly payload: {
    readonly data: {
      readonly aggregate: {
        readonly events: string;
        readonly lost: string;
        readonly dropped: string;
        readonly missed: string;
        readonly rows: readonly { readonly key: readonly { readonly value: string | null }[] }[];
      };
    };
  };
}

function watchAggregate({ url, session, groupBy, measures }: Extract<Ask, { kind: 'aggregate' }>): Promise<void> {
  const query = `subscription A($session: ID!, $groupBy: [EventField!]!, $measures: [Measure!]) {
    aggregate(session: $session, groupBy: $groupBy, measures: $measures, every: "100ms") {
      events lost dropped missed rows { count key { value } values { number } } } }`;
  aggregated = { events: 0, missing: 0, at: 0 };
  rows = new Set();
  return subscribe(url, query, { session, groupBy, measures }, (data) => {
    const { aggregate } = (JSON.parse(data.toString()) as Change).payload.data;
    aggregated = {
      events: Number(aggregate.events),
      missing: Number(aggregate.lost) + Number(aggregate.dropped) + Number(aggregate.missed),
      at: wallMs(),
    };
    for (const { key } of aggregate.rows) rows.add(key.map(({ value }) => value).join('\0'));
  });
}

async function fan({ url, session, subscribers, equal }: Extract<Ask, { kind: 'fan' }>): Promise<void> {
  messages = bytes = 0;
  for (let i = 0; i < subscribers; i++) {
    const own = equal ? '' : ` own${i}: tracker`;
    const query =
      `subscription E($session: ID!) { events(session: $session) { events { process { pid comm } time${own} ... on ` +
      'OpenEvent { path fd } } gap { lost dropped } } }';
    await subscribe(url, query, { session }, (data) => {
      messages++;
      bytes += data.length;
    });
  }
}

function watchDelay({ url, session, maxDelay }: Extract<Ask, { kind: 'delay' }>): Promise<void> {
  const query =
    'subscription D($session: ID!, $maxDelay: Duration) { events(session: $session, maxDelay: $maxDelay) ' +
    '{ events { process { pid comm } time ... on OpenEvent { path fd } } } }';
  delays = [];
  return subscribe(url, query, { session, maxDelay }, (data) => {
    const at = wallMs();
    const { payload } = JSON.parse(data.toString()) as {
      payload: { data: { events: { events: readonly { readonly time: string }[] } } };
    };
    for (const { time } of payload.data.events.events)
      delays.push(at - (Date.parse(`${time.slice(0, 19)}Z`) + Number(time.slice(19, -1)) * 1000));
  });
}

async function leave(): Promise<void> {
  const leaving = sockets;
  sockets = [];
  failure = null;
  await Promise.all(leaving.map((socket) => (socket.close(), once(socket, 'close'))));
}

async function answer(ask: Ask): Promise<Answer> {
  if (failure !== null && ask.kind !== 'leave') throw new Error(failure);
  switch (ask.kind) {
    case 'aggregate':
      await watchAggregate(ask);
      break;
    case 'aggregated':
      return { kind: 'aggregated', ...aggregated, rows: rows.size };
    case 'fan':
      await fan(ask);
      break;
    case 'fanned':
      return { kind: 'fanned', messages, bytes };
    case 'delay':
      await watchDelay(ask);
      break;
    case 'delayed':
      return { kind: 'delayed', ms: [...delays].sort((a, b) => a - b) };
    case 'leave':
      await leave();
      break;
  }
  return { kind: 'done' };
}

process.on('message', (ask: Ask) => {
  answer(ask).then(
    (result) => process.send?.(result),
    (error: unknown) =>
      process.send?.({
        kind: 'failed',
        message: error instanceof Error ? error.message : String(error),
      } satisfies Answer),
  );
});
process.on('disconnect', () => process.exit(0));
