import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import stringWidth from 'string-width';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { detailsOf, recordingOf, samples } from '../support/sample.js';
import { capture } from '../support/tmux.js';

// What people see on a real terminal (tmux), of several widths: an event of each tracker, which a real kernel made.

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'eunomia-tmux-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
const all = Object.keys(samples);
const THREE = ['exec', 'open', 'tcp'];
const HEBREW = 'שלום';
/** What each event tells. */
const details = new Map(
  (await loadTrackers()).map(({ name, details: template = '' }) => [name, detailsOf(name, template)] as const),
);
const PLACE = /(?:\d+\.){3}\d+(?::\d+)?|example\.com|\/\S+/;

/** Right-to-left, wide and narrow text of others, of different lengths in each event. */
const foreign: Readonly<Record<string, object>> = {
  exec: { container: container(`${HEBREW}-サーバー`), process: { pid: 7, comm: '終端مرحبا' } },
  open: { container: container('web'), path: `/srv/${HEBREW}/日本語/${'終'.repeat(120)}`, resolved: null },
  tcp: { container: container('映'), process: { pid: 4_194_303, comm: HEBREW } },
};

function container(name: string): object {
  return { id: 'c'.repeat(64), name, image: '映像', runtime: 'docker' };
}

function recording(name: string, trackers: readonly string[], changes: typeof foreign = {}): string {
  const file = join(folder, `${name}.ndjson`);
  writeFileSync(
    file,
    recordingOf(trackers, (event, tracker) => ({ ...event, ...changes[tracker] })),
  );
  return file;
}

const quoted = (words: readonly string[]): string =>
  words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');

/** What is printed of each of these recordings. */
async function replayed(files: readonly string[], columns: number): Promise<readonly (readonly string[])[]> {
  const command = quoted([process.execPath, join(root, 'test/support/replays.mjs'), ...files]);
  const { lines, joined } = await capture(command, columns);
  expect(joined).toEqual(lines); // nothing is wrapped
  const parts = lines.join('\n').split(/^\d+ events?, 0 lost, 0 dropped$/m);
  return parts.slice(0, -1).map((part) => part.trim().split('\n'));
}

describe.each([60, 80, 120, 200])('on a terminal of %d columns', (columns) => {
  let parts: readonly (readonly string[])[];
  beforeAll(async () => {
    const whole = [recording('all', all), recording('three', THREE), recording('foreign', THREE, foreign)];
    parts = await replayed([...whole, ...all.map((tracker) => recording(tracker, [tracker]))], columns);
  });

  it('each event is one line, with the whole time', () => {
    expect(parts.map(({ length }) => length)).toEqual([1 + all.length, 4, 4, ...all.map(() => 2)]);
    for (const line of parts.flat()) {
      expect(stringWidth(line)).toBeLessThanOrEqual(columns);
      expect(line).toMatch(/^(?:TIME \(UTC\)|\d\d:\d\d:\d\d\.\d{3}) /);
    }
  });

  it.each(all)('the path, the address or the name of %s can be read', (tracker) => {
    const [, line = ''] = parts[3 + all.indexOf(tracker)] ?? [];
    const told = details.get(tracker) ?? '';
    const place = PLACE.exec(told);
    const [shown] = place && place.index < 30 ? place : [told.slice(0, 12)];
    expect(line).toContain(columns < 120 ? shown.slice(0, columns < 80 ? 4 : 8) : shown);
  });

  it('right-to-left and wide text is cut and aligned as the terminal counts it', async () => {
    const [head = '', ...lines] = parts[2] ?? [];
    const places = [
      head.indexOf('EVENT'),
      ...lines.map((line) => stringWidth(line.replace(/ (?:exec|open|tcp) .*/, ' '))),
    ];
    expect(new Set(places).size).toBe(1);
    expect(lines.join()).toContain(HEBREW);
    // A terminal may take a character for wider than we do: how far each line goes, tmux knows.
    for (const line of lines) {
      const { cursor } = await capture(quoted(['printf', '%s', line]), 250);
      expect([line, cursor]).toEqual([line, stringWidth(line)]);
    }
  });
});

it.each([
  [40, 'time,tracker,name,image,pid,comm,path,flags'],
  [60, 'time,tracker,name,image,pid,comm,path,flags,args'],
  [80, 'name,time,comm,path'],
])('on %d columns, those that --fields names are cut, but not the time', async (columns, fields) => {
  const file = recording('named', THREE, foreign);
  const main = [process.execPath, join(root, 'dist/main.js'), 'replay', file, '-f', fields];
  const { lines, joined } = await capture(quoted(main), columns);
  expect(joined).toEqual(lines); // nothing is wrapped
  expect(lines).toHaveLength(5);
  expect(lines[0]).toMatch(/^(?:time|container) /);
  for (const line of lines.slice(1, -1)) {
    expect(stringWidth(line)).toBeLessThanOrEqual(columns);
    expect(line).toMatch(/\d\d:\d\d:\d\d\.\d{3}Z(?: |$)/);
  }
});

it.each([
  ['serve', 80],
  ['run', 60],
])('the help of %s is wrapped between words on %d columns', async (command, columns) => {
  const { lines, joined } = await capture(
    quoted([process.execPath, join(root, 'dist/main.js'), command, '--help']),
    columns,
  );
  // Commands to copy stay lines.
  const wrapped = joined.filter((line) => !lines.includes(line) && !line.startsWith('  eunomia '));
  expect([lines.length > 20, wrapped]).toEqual([true, []]);
});

it('what programs read is the same for each width, and has no colours', async () => {
  const file = recording('three', THREE);
  const main = [process.execPath, join(root, 'dist/main.js'), 'replay', file];
  for (const format of ['json', 'csv']) {
    const command = quoted([...main, '-o', format]);
    const { stdout: piped } = await run('sh', ['-c', command]);
    const { joined, colored } = await capture(command, 60);
    expect(joined.slice(0, -1).join('\n')).toBe(piped.trimEnd().replaceAll('\r', ''));
    expect(colored).not.toContain('\u001b[');
  }
  const table = quoted(main);
  const [colored, plain] = await Promise.all([capture(table, 80), capture(table, 80, { NO_COLOR: '1' })]);
  expect(colored.colored).toContain('\u001b[');
  expect(plain.colored).not.toContain('\u001b[');
  expect(plain.lines).toEqual(colored.lines);
  // A pipe on a terminal is a pipe.
  const { stdout: piped } = await run('sh', ['-c', table]);
  expect((await capture(`${table} 2> ${join(folder, 'told')} | cat`, 60)).joined.join('\n')).toBe(piped.trimEnd());
});

it('events are shown while they happen', async () => {
  const marker = join(folder, 'live');
  const watched = [
    'run',
    ...THREE,
    '--pid',
    String(process.pid),
    '--where',
    `path == "${marker}" || "${marker}" in args`,
  ];
  const command = quoted([process.execPath, join(root, 'dist/main.js'), ...watched, '-n', '2']);
  const opening = setInterval(() => {
    void readFile(marker).catch(() => undefined);
    spawn('true', [marker]);
  }, 100);
  const { lines } = await capture(command, 80).finally(() => clearInterval(opening));
  const shown = lines.filter((line) => /^(?:TIME|\d\d:)/.test(line));
  expect(shown).toHaveLength(3);
  expect(shown.join('\n')).toMatch(
    /^TIME \(UTC\) .*\n(?:\d\d:\d\d:\d\d\.\d{3} .* (?:exec +true|open) +\/\S+.*\n?){2}$/,
  );
});
