import { EunomiaError } from '../base/errors.js';

/** A cursor names a session and how many of its events came before: its meaning never changes. */
export function cursorOf(session: string, seq: number): string {
  return Buffer.from(`1:${session}:${seq}`).toString('base64url');
}

/** The place that a cursor names. Throws BAD_CURSOR when it is no cursor of this session, or of a place that it has not reached. */
export function parseCursor(cursor: string, session: string, next: number): number {
  const match = /^1:([^:]+):(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'));
  const bad = (why: string) =>
    new EunomiaError('BAD_CURSOR', `after: ${why}; use a cursor that this session gave, or leave it out`, {
      details: { argument: 'after' },
    });
  if (!match) throw bad(`"${cursor.slice(0, 64)}" is not a cursor`);
  if (match[1] !== session) throw bad(`the cursor is of the session ${match[1]}, not of ${session}`);
  const seq = Number(match[2]);
  if (seq > next) throw bad('the cursor is of a place that the session has not reached');
  return seq;
}
