import { EunomiaError } from '../base/errors.js';

/** A cursor names a session and how many of its events came before: its meaning never changes. */
export function cursorOf(session: string, seq: number): string {
  return Buffer.from(`1:${session}:${seq}`).toString('base64url');
}

/** The place that a cursor names. Throws BAD_CURSOR when it is no cursor of this session, or of a place that it has not reached. */
export function parseCursor(cursor: string, session: string, next: number, argument = 'after'): number {
  const match = /^1:([^:]+):(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'));
  const bad = (why: string) =>
    new EunomiaError('BAD_CURSOR', `${argument}: ${why}; use a cursor that this session gave, or leave it out`, {
      details: { argument },
    });
  if (!match) throw bad(`"${cursor.slice(0, 64)}" is not a cursor`);
  if (match[1] !== session) throw bad(`the cursor is of the session ${match[1]}, not of ${session}`);
  const seq = Number(match[2]);
  if (seq > next) throw bad('the cursor is of a place that the session has not reached');
  return seq;
}

/** Where a page may lie: from a place on, up to another one, which is not in it. Null does not restrict. */
export interface Bounds {
  readonly from: number | null;
  readonly to: number | null;
}

/** Behind the event of the one cursor, and ahead of that of the other. Throws BAD_CURSOR. */
export function boundsOf(
  { after, before }: { readonly after?: string | null | undefined; readonly before?: string | null | undefined },
  session: string,
  next: number,
): Bounds {
  return {
    from: after == null ? null : parseCursor(after, session, next),
    // A cursor names the place behind its event.
    to: before == null ? null : Math.max(0, parseCursor(before, session, next, 'before') - 1),
  };
}
