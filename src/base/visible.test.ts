import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPrinter } from '../cli/printer.js';
import { plainOutput, terminalOf } from '../cli/output.js';
import type { TrackerInfo } from '../cli/field.js';
import { createEncoder, type Sheet } from '../formats/index.js';
import { markdown } from '../analysis/report/markdown.js';
import type { BehaviourReport } from '../event/report.js';
import { visible, visibleLines } from './visible.js';
import { hostileText } from '../../test/support/hostile.js';

const HIDDEN = /(?![\t\n]|\r\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** What a terminal is given when a command writes these. */
async function onTerminal(...pieces: readonly (string | Uint8Array)[]): Promise<string> {
  let shown = '';
  const write = (text: string | Uint8Array): Promise<boolean> => {
    shown += String(text);
    return Promise.resolve(true);
  };
  const output = terminalOf({ ...plainOutput(write), width: 80, height: 24 });
  for (const piece of pieces) await output.write(piece);
  return shown;
}

describe('a terminal', () => {
  it('is given no character that acts on it, and JSON of the same value', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(hostileText), fc.dictionary(hostileText, hostileText), async (list, record) => {
        for (const value of [list, record]) {
          for (const json of [JSON.stringify(value), JSON.stringify(value, null, 2)]) {
            const shown = await onTerminal(`${json}\n`);
            expect(shown).not.toMatch(HIDDEN);
            expect(JSON.parse(shown)).toEqual(value);
          }
        }
      }),
    );
  });

  it('is given a character whole that came in two pieces', async () => {
    const bytes = Buffer.from('a☃\u009bé');
    for (let at = 0; at <= bytes.length; at++)
      expect(await onTerminal(bytes.subarray(0, at), bytes.subarray(at))).toBe('a☃\\u009bé');
  });

  it('keeps lines and tabs', () => {
    expect(visibleLines('a\tb\r\nc\nd\re')).toBe('a\tb\r\nc\nd\\u000de');
    expect(visible('a\tb\n')).toBe('a\\u0009b\\u000a');
  });
});

it('the command line writes the CSV that an export does', () => {
  const field = { description: '', onDemand: false };
  const tracker: TrackerInfo = {
    name: 'exec',
    eventType: 'ExecEvent',
    details: '',
    columns: [],
    options: [],
    fields: [
      { path: 'comm', type: { name: 'String!' }, ...field },
      { path: 'ret', type: { name: 'Int64!' }, ...field },
      { path: 'args', type: { name: '[String!]' }, ...field },
      { path: 'none', type: { name: 'String' }, ...field },
    ],
  };
  fc.assert(
    fc.property(hostileText, fc.bigInt({ min: -5n, max: 5n }).map(String), fc.array(hostileText), (comm, ret, args) => {
      const sheet: Sheet<null> = {
        columns: [
          { name: 'comm', type: 'text' },
          { name: 'ret', type: 'int64' },
          { name: 'args', type: 'list' },
          { name: 'none', type: 'text' },
        ],
        record: () => ({}),
        row: () => [comm, ret, args, null],
      };
      const exported = createEncoder('csv', sheet, {});
      const printer = createPrinter([tracker], {
        format: 'csv',
        fields: ['comm', 'ret', 'args', 'none'],
        terminal: plainOutput(async () => true),
      });
      const text = printer.head + printer.print([{ __typename: 'ExecEvent', comm, ret, args, none: null }]);
      expect(text).toBe(`${String(exported.head())}${String(exported.items([null], null))}`);
      expect(text.split('\r\n')[1]).not.toMatch(/^"?[=+@\t]/);
      expect(text).not.toMatch(HIDDEN);
    }),
  );
});

describe('a report in Markdown', () => {
  const none = { entries: [], other: { entries: null, count: '0' } };
  const reportOf = (text: string): BehaviourReport => ({
    session: null,
    sessions: [],
    container: { id: 'c', name: text, image: text },
    host: false,
    from: null,
    to: null,
    trackers: ['open'],
    events: '1',
    lost: '0',
    dropped: '0',
    uncounted: false,
    complete: true,
    restrictions: [],
    restricted: [],
    doubled: [],
    programs: null,
    filesRead: { entries: [{ path: text, errno: null, count: '1', comms: [text] }], other: none.other },
    filesWritten: null,
    failedOpens: null,
    peers: null,
    listeningPorts: null,
    syscalls: null,
    exits: null,
    privileges: null,
    capabilities: null,
    dnsNames: null,
    refusedCalls: null,
    missing: [],
  });

  it('has the same lines, cells and no formatting of its own, whatever a process called itself', () => {
    const plain = markdown(reportOf('plain')).split('\n');
    fc.assert(
      fc.property(hostileText, (text) => {
        const lines = markdown(reportOf(text)).split('\n');
        expect(lines.length).toBe(plain.length);
        expect(lines.join('\n')).not.toMatch(HIDDEN);
        for (const line of lines) {
          // Code spans aside, what is left are our words: no link, no tag, no emphasis.
          const outside = line.replace(/(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)/g, '');
          expect(outside.replaceAll('**', '')).not.toMatch(/[`<>[\]_*&]|:\/\/|www\./);
          expect(outside.split('|').length).toBe(plain[lines.indexOf(line)]?.split('|').length);
        }
      }),
    );
  });
});
