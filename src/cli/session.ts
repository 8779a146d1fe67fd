import type { Client } from '../client/client.js';

/** What is asked of a session when it is stopped. */
export interface SessionEnding {
  readonly state: string;
  readonly problem: string | null;
  readonly stopReason: string | null;
  readonly stats: { readonly delivered: string; readonly lost: string };
}

/** A session of a command that was killed: the server removes it after this time. */
const timeToLive = '1m';

/**
 * Starts a session for this work, and removes it whatever happens, or with `keep` only stops it. `stop` may be called more than once,
 * and tells how it ended. Rejects where the session broke meanwhile.
 */
export async function withSession(
  client: Client,
  input: Readonly<Record<string, unknown>>,
  work: (id: string, stop: () => Promise<SessionEnding>) => Promise<void>,
  { keep = false } = {},
): Promise<void> {
  const { startSession } = await client.query<{ startSession: { id: string } }>(
    'mutation Start($input: StartSessionInput!) { startSession(input: $input) { id } }',
    { input: { ...input, ttl: keep ? null : timeToLive } },
  );
  const { id } = startSession;
  const stop = (): Promise<SessionEnding> => stopSession(client, id);
  try {
    await work(id, stop);
    const { state, stopReason, problem } = await stop();
    if (state === 'FAILED' || stopReason === 'ERROR') throw new Error(`the session broke: ${problem ?? 'unknown'}`);
  } finally {
    // Already gone when the server ended or removed it: then there is nothing to do.
    const gone = keep ? stop() : client.query('mutation Remove($id: ID!) { removeSession(id: $id) }', { id });
    await gone.catch(() => undefined);
  }
}

async function stopSession(client: Client, id: string): Promise<SessionEnding> {
  const { stopSession: session } = await client.query<{ stopSession: SessionEnding }>(
    'mutation Stop($id: ID!) { stopSession(id: $id) { state problem stopReason stats { delivered lost } } }',
    { id },
  );
  return session;
}
