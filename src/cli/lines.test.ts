import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { EventLines, type EventLine, type Terminal } from './lines.js';
import { Painted } from './paint.js';
import { cutTo, padTo, widthOf } from './width.js';

const event: EventLine = {
  time: '08:15:30.123',
  container: 'web',
  pid: '4242',
  comm: 'sh',
  event: 'open',
  details: '/etc/shadow O_RDONLY = 3',
  hasFailed: false,
};

const plain = (width: number | null): Terminal => ({ width, hasColor: false });

/** The lines of one batch, the header's first. */
function linesOf(lines: EventLines, events: readonly EventLine[]): readonly string[] {
  return String(lines.render(events)).split('\n');
}

describe('lines of events', () => {
  it('are a place each for when, where and who, and the rest for what', () => {
    expect(new EventLines(plain(80), false).render([event, { ...event, container: '', comm: 'bash' }])).toBe(
      [
        'TIME (UTC)   CONTAINER PID  COMM EVENT DETAILS',
        '08:15:30.123 web       4242 sh   open  /etc/shadow O_RDONLY = 3',
        '08:15:30.123 -         4242 bash open  /etc/shadow O_RDONLY = 3',
        '',
      ].join('\n'),
    );
  });

  it('leave the name of the only tracker out where there is little room', () => {
    const [, narrow] = linesOf(new EventLines(plain(60), false), [{ ...event, container: 'a-long-name' }]);
    expect(narrow).toBe('08:15:30.123 a-long-… 4242 sh   /etc/shadow O_RDONLY = 3');
    expect(new EventLines(plain(60), true).render([event])).toContain(' open ');
  });

  it('are not cut where there is no terminal, and the header comes once', () => {
    const lines = new EventLines(plain(null), false);
    expect(lines.render([{ ...event, details: 'x'.repeat(500) }])).toContain('x'.repeat(500));
    expect(lines.render([event])).not.toContain('DETAILS');
  });

  it('never wrap, and never cut the time, whatever the names are', () => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('日本語のコンテナ', 'שלום עולם', '\u001b[31m', 'é́', '👩‍👩‍👧', 'x'.repeat(300)),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(60, 80, 120, 200),
        fc.boolean(),
        fc.array(fc.record({ container: text, comm: text, details: text }), { minLength: 1, maxLength: 5 }),
        (width, several, rows) => {
          const lines = linesOf(
            new EventLines(plain(width), several),
            rows.map((row) => ({ ...event, ...row })),
          );
          expect(lines.length).toBe(rows.length + 2);
          for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(width);
          for (const line of lines.slice(1, -1)) expect(line).toMatch(/^08:15:30\.123 .* 4242 /);
        },
      ),
    );
  });

  it('are aligned by what a terminal shows', () => {
    const [, wide = '', narrow = ''] = linesOf(new EventLines(plain(120), true), [
      { ...event, container: '日本' },
      event,
    ]);
    expect(stringWidth(wide.slice(0, wide.indexOf('4242')))).toBe(narrow.indexOf('4242'));
  });

  it('have colours where the terminal shows them: a faint time, and what failed in red', () => {
    const lines = new EventLines({ width: 60, hasColor: true }, false);
    const failed = { ...event, details: '/etc/shadow O_RDONLY EACCES', hasFailed: true };
    expect(lines.render([event, failed])).toEqual(
      new Painted(
        '\u001b[2mTIME (UTC)  \u001b[22m CONT PID  COMM DETAILS\n' +
          '\u001b[2m08:15:30.123\u001b[22m web  4242 sh   /etc/shadow O_RDONLY = 3\n' +
          '\u001b[2m08:15:30.123\u001b[22m web  4242 sh  \u001b[31m /etc/shadow O_RDONLY EACCES\u001b[39m\n',
      ),
    );
    expect(String(lines.render([{ ...failed, details: '\u001b[31m' }]))).toContain('\\u001b[31m');
  });
});

it.each([
  ['日本語', 6, '日本語'],
  ['日本語', 5, '日本…'],
  ['日本語', 4, '日…'],
  ['abc', 0, ''],
])('%s in %d columns is "%s"', (text, width, cut) => {
  expect(cutTo(text, width)).toBe(cut);
  expect(widthOf(padTo(cut, width))).toBe(width);
});
