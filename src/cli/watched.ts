import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../client/client.js';

/** Starts a session, waits for its end or for Ctrl-C, and passes its id on. Removes it afterwards, whatever happened. */
export async function watched<Answer>(
  client: Client,
  input: object,
  signal: AbortSignal,
  { started, ended }: { started(): Promise<void> | void; ended(id: string): Promise<Answer> },
): Promise<Answer> {
  const { startSession } = await client.query<{ startSession: { id: string } }>(
    'mutation Start($input: StartSessionInput!) { startSession(input: $input) { id } }',
    { input },
  );
  const { id } = startSession;
  try {
    await started();
    await untilEnd(client, id, signal);
    return await ended(id);
  } finally {
    await client.query('mutation Remove($id: ID!) { removeSession(id: $id) }', { id }).catch(() => undefined);
  }
}

async function untilEnd(client: Client, id: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { session } = await client.query<{ session: { state: string } | null }>(
      'query State($id: ID!) { session(id: $id) { state } }',
      { id },
    );
    if (session?.state === 'STOPPED' || session?.state === 'FAILED' || !session) return;
    if (signal.aborted) await client.query('mutation Stop($id: ID!) { stopSession(id: $id) { id } }', { id });
    else await sleep(200, undefined, { signal }).catch(() => undefined);
  }
}
