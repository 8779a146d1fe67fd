import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { EventLines, type EventLine } from './lines.js';
import { cutTo, padTo, widthOf } from './width.js';

const event: EventLine = {
  time: '08:15:30.123',
  container: 'web',
  pid: '4242',
  comm: 'sh',
  event: 'open',
  details: '/etc/shadow O_RDONLY = 3',
};

describe('lines of events', () => {
  it('are a place each for when, where and who, and the rest for what', () => {
    expect(new EventLines(80, false).render([event, { ...event, container: '', comm: 'bash' }])).toBe(
      [
        'TIME (UTC)   CONTAINER PID  COMM EVENT DETAILS',
        '08:15:30.123 web       4242 sh   open  /etc/shadow O_RDONLY = 3',
        '08:15:30.123 -         4242 bash open  /etc/shadow O_RDONLY = 3',
        '',
      ].join('\n'),
    );
  });

  it('leave the name of the only tracker out where there is little room', () => {
    const narrow = new EventLines(60, false).render([{ ...event, container: 'a-long-name' }]).split('\n')[1];
    expect(narrow).toBe('08:15:30.123 a-long-… 4242 sh   /etc/shadow O_RDONLY = 3');
    expect(new EventLines(60, true).render([event])).toContain(' open ');
  });

  it('are not cut where there is no terminal, and the header comes once', () => {
    const lines = new EventLines(null, false);
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
          const lines = new EventLines(width, several).render(rows.map((row) => ({ ...event, ...row }))).split('\n');
          expect(lines.length).toBe(rows.length + 2);
          for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(width);
          for (const line of lines.slice(1, -1)) expect(line).toMatch(/^08:15:30\.123 .* 4242 /);
        },
      ),
    );
  });

  it('are aligned by what a terminal shows', () => {
    const [, wide = '', plain = ''] = new EventLines(120, true)
      .render([{ ...event, container: '日本' }, event])
      .split('\n');
    expect(stringWidth(wide.slice(0, wide.indexOf('4242')))).toBe(plain.indexOf('4242'));
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
