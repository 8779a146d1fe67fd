import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cursorOf, parseCursor } from './cursor.js';

const session = '00ff00ff00ff00ff';

describe('a cursor', () => {
  it('names its place, in a form that needs no quoting', () => {
    fc.assert(
      fc.property(fc.nat({ max: 999_999_999_999_999 }), (seq) => {
        expect(cursorOf(session, seq)).toMatch(/^[\w-]+$/);
        expect(parseCursor(cursorOf(session, seq), session, seq)).toBe(seq);
      }),
    );
  });

  it('never changes its meaning: this one was given by the first version', () => {
    expect(parseCursor('MTowMGZmMDBmZjAwZmYwMGZmOjQy', session, 100)).toBe(42);
  });

  it('of another session, of no session, or of a place to come is refused with what would be right', () => {
    const refused = (cursor: string, message: string) =>
      expect(() => parseCursor(cursor, session, 10)).toThrow(
        expect.objectContaining({ code: 'BAD_CURSOR', message, details: { argument: 'after' } }) as Error,
      );
    const right = 'use a cursor that this session gave, or leave it out';
    refused(cursorOf('other', 3), `after: the cursor is of the session other, not of ${session}; ${right}`);
    refused(cursorOf(session, 11), `after: the cursor is of a place that the session has not reached; ${right}`);
    refused('', `after: "" is not a cursor; ${right}`);
    refused('nonsense', `after: "nonsense" is not a cursor; ${right}`);
    refused('x'.repeat(5000), `after: "${'x'.repeat(64)}" is not a cursor; ${right}`);
    refused(
      Buffer.from(`1:${session}:-1`).toString('base64url'),
      `after: "${Buffer.from(`1:${session}:-1`).toString('base64url')}" is not a cursor; ${right}`,
    );
  });

  it('that is any text is read or refused, but breaks nothing', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), (text) => {
        expect(() => parseCursor(text, session, 10)).toThrow(expect.objectContaining({ code: 'BAD_CURSOR' }) as Error);
      }),
    );
  });
});
