import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import type { Ask, Answer } from './protocol.js';

/**
 * The client of the server under test, a process of its own: a WebSocket that speaks graphql-transport-ws, parses each
 * message as JSON and looks at its events. Its parent (bench/served.ts) tells it what to do.
 */
const SELECTION = `events { process { pid comm } time ... on OpenEvent { path fd } } gap { lost dropped }`;
const SUBSCRIPTION = `subscription Events($session: ID!) { events(session: $session) { ${SELECTION} } }`;

interface Batch {
  readonly events: {
    readonly events: readonly {
      readonly process: { readonly pid: number };
      readonly time: string;
      readonly path: string | null;
    }[];
  };
}

/** What came of the session that is watched now. */
class Watch {
  events = 0;
  strange = 0;
  at = 0;
  failure: string | null = null;
  readonly #pid: number;

  constructor({ url, session, pid }: Extract<Ask, { kind: 'watch' }>) {
    this.#pid = pid;
    subscribe(
      connect(url),
      session,
      (batch) => this.#count(batch),
      (message) => (this.failure = message),
    );
  }

  #count({ events: batch }: Batch): void {
    for (const event of batch.events)
      if (event.process.pid !== this.#pid || event.path === null || event.time === '') this.strange++;
    this.events += batch.events.length;
    this.at = wallMs();
  }
}

let watch: Watch | null = null;

function connect(url: string): Client {
  return createClient({ url: url.replace(/^http/, 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
}

/** Subscribes; calls back for each batch, or once with what went wrong. */
function subscribe(
  to: Client,
  session: string,
  onBatch: (batch: Batch) => void,
  onError: (message: string) => void,
): void {
  to.subscribe<Batch>(
    { query: SUBSCRIPTION, variables: { session } },
    {
      next: ({ data, errors }) => {
        if (errors) onError(JSON.stringify(errors));
        if (data) onBatch(data);
      },
      error: (error) => onError(error instanceof Error ? error.message : JSON.stringify(error)),
      complete: () => onError('the session has ended'),
    },
  );
}

/** Of one clock for all processes. */
function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

async function post(
  url: string,
  query: string,
  variables: object,
): Promise<{ readonly startSession: { readonly id: string } }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: { startSession: { id: string } }; errors?: unknown };
  if (!data) throw new Error(JSON.stringify(errors));
  return data;
}

/** From the request that starts a session to the first event of it: a connection is opened, too. */
async function first({ url, start, variables }: Extract<Ask, { kind: 'first' }>): Promise<Answer> {
  const begin = performance.now();
  const { startSession } = await post(url, start, variables);
  const started = performance.now();
  const own = connect(url);
  await new Promise<void>((resolve, reject) =>
    subscribe(
      own,
      startSession.id,
      ({ events: batch }) => batch.events.length && resolve(),
      (message) => reject(new Error(message)),
    ),
  );
  const end = performance.now();
  await own.dispose();
  return { kind: 'first', ms: end - begin, startMs: started - begin, session: startSession.id };
}

async function answer(ask: Ask): Promise<Answer> {
  switch (ask.kind) {
    case 'watch':
      watch = new Watch(ask);
      return { kind: 'done' };
    case 'count': {
      if (!watch || watch.failure !== null) throw new Error(watch?.failure ?? 'nothing is watched');
      const { user, system } = process.cpuUsage();
      return {
        kind: 'count',
        events: watch.events,
        strange: watch.strange,
        at: watch.at,
        cpuMs: (user + system) / 1000,
      };
    }
    case 'first':
      return first(ask);
  }
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
