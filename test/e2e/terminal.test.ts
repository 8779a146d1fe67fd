import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import stringWidth from 'string-width';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

/** Commands on a real terminal (a pseudo-terminal of `script`), over a recording of a process with hostile names. */
const run = promisify(execFile);
/** A faint time, and a failure in red. */
const ourColors = [2, 22, 31, 39].map((code) => `\u001b[${code}m`);
const uncolored = (text: string): string => ourColors.reduce((rest, color) => rest.replaceAll(color, ''), text);
const hostile = 'a\u001b]0;title\u0007\u009b31m\u202eb\u200b=\uFEFF';
let folder: string;
let recording: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-terminal-'));
  recording = join(folder, 'r.ndjson');
  const process = {
    pid: 1,
    tid: 1,
    ppid: 0,
    uid: 0,
    gid: 0,
    comm: hostile,
    startTime: '2026-01-31T08:15:30.123456789Z',
    mountNs: null,
  };
  const container = {
    id: 'c'.repeat(64),
    name: hostile,
    image: hostile,
    imageId: null,
    labels: [{ name: hostile, value: hostile }],
    composeProject: null,
    composeService: null,
    pod: null,
    runtime: 'docker',
    state: 'RUNNING',
    createdAt: null,
    startedAt: null,
    finishedAt: null,
    pid: 7,
    ips: [],
    cgroupId: '4242',
  };
  const exit = {
    tracker: 'exit',
    time: '2026-01-31T08:15:31.000000001Z',
    bootNs: '5',
    process,
    container,
    cgroupId: '4242',
    exitCode: 0,
    signal: null,
    coreDumped: false,
    lifetimeNs: '5',
  };
  const head = {
    eunomia: {
      recording: 1,
      version: '0.1.0',
      fields: null,
      session: { id: 's', name: hostile, labels: [], trackers: ['exit'], startedAt: null },
    },
  };
  await writeFile(
    recording,
    [head, exit, { end: { items: '1', lost: '0', dropped: '0', complete: true, state: 'STOPPED' } }]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
});
afterAll(() => rm(folder, { recursive: true }));

it.each([
  ['replay as a table', (file: string) => ['replay', file, '--speed', 'max']],
  ['replay as JSON', (file: string) => ['replay', file, '--speed', 'max', '-o', 'json']],
  [
    'replay as CSV',
    (file: string) => ['replay', file, '--speed', 'max', '-o', 'csv', '-f', 'process.comm,container.name'],
  ],
  ['export as NDJSON', (file: string) => ['export', '--file', file]],
  ['export as CSV', (file: string) => ['export', '--file', file, '--format', 'csv']],
  ['report as Markdown', (file: string) => ['report', '--file', file]],
  ['report as JSON', (file: string) => ['report', '--file', file, '--json']],
  ['an error', () => ['replay', `/no/${hostile}`]],
])('%s sends nothing to the terminal that acts on it', async (_what, argsOf) => {
  const quoted = [process.execPath, join(root, 'dist/main.js'), ...argsOf(recording)]
    .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
    .join(' ');
  const { stdout } = await run('script', ['-qec', quoted, '/dev/null'], { maxBuffer: 1 << 24 }).catch(
    (error: { stdout: string }) => error,
  );
  expect(stdout).toContain('\\u001b');
  expect(uncolored(stdout.replaceAll(/\r+\n/g, '\n'))).not.toMatch(/(?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
});

it.each([60, 80, 120, 200])(
  'a terminal of %d columns shows each event in one line, with the whole time',
  async (width) => {
    const command = `stty cols ${width}; '${process.execPath}' '${join(root, 'dist/main.js')}' replay '${recording}' --speed max`;
    const { stdout } = await run('script', ['-qec', command, '/dev/null']);
    const lines = uncolored(stdout)
      .split(/\r*\n/)
      .filter((line) => /^(TIME|\d\d:)/.test(line));
    expect(lines.map((line) => line.slice(0, 12))).toEqual(['TIME (UTC)  ', '08:15:31.000']);
    for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(width);
  },
);

it('shows colours on a terminal, and none where NO_COLOR or a pipe asks for none', async () => {
  const command = `'${process.execPath}' '${join(root, 'dist/main.js')}' replay '${recording}' --speed max`;
  // Nothing of the environment of whoever runs the test: Node shows no colours in a CI, either.
  const env = { PATH: process.env['PATH'], TERM: 'xterm-256color' };
  const faint = '\u001b[2m08:15:31.000\u001b[22m';
  const onTerminal = await run('script', ['-qec', command, '/dev/null'], { env });
  expect(onTerminal.stdout).toContain(faint);
  const without = await run('script', ['-qec', command, '/dev/null'], { env: { ...env, NO_COLOR: '1' } });
  expect(without.stdout).toContain('08:15:31.000');
  expect(without.stdout).not.toContain('\u001b[');
  const piped = await run('sh', ['-c', command], { env });
  expect(piped.stdout).toContain('08:15:31.000');
  expect(piped.stdout).not.toContain('\u001b[');
});

describe('completion', () => {
  const commandLines = [
    'eunomia al',
    'eunomia alerts si',
    'eunomia run oomk',
    'eunomia run open --out',
    'eunomia alerts --sta',
    'eunomia run open -o ',
  ];
  const expected = ['alerts', 'silence silences', 'oomkill', '--output', '--state', 'table json csv'];
  /** What the shell offers for each line, with the script that the command prints. */
  async function offered(shell: string, script: string): Promise<readonly string[]> {
    const file = join(folder, `completion.${shell}`);
    const { stdout: completion } = await run(process.execPath, [join(root, 'dist/main.js'), 'completion', shell]);
    await writeFile(file, completion);
    const { stdout, stderr } = await run(shell, ['-c', script, shell, file], { env: { ...process.env, HOME: folder } });
    expect(stderr).toBe('');
    return stdout.trim().split('\n');
  }

  const perLine = (call: (words: string) => string): string =>
    commandLines
      .map((line) =>
        call(
          line
            .split(' ')
            .map((word) => `'${word}'`)
            .join(' '),
        ),
      )
      .join('\n');

  it('completes in bash', async () => {
    const script = `source "$1"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _eunomia; echo "\${COMPREPLY[*]}"; }
${perLine((words) => `try ${words}`)}
try eunomia run --output =
try eunomia run --output = j
try eunomia run open : ex
IFS=, try eunomia run open -o c
complete -p eunomia`;
    expect(await offered('bash', script)).toEqual([
      ...expected,
      'table json csv',
      'json',
      '',
      'csv',
      'complete -o bashdefault -o default -F _eunomia eunomia',
    ]);
  });

  it('completes in zsh', async () => {
    // As bashcompinit calls it, which filters by what is typed afterwards.
    const script = `autoload -U compinit && compinit -u -D && source "$1"
try() {
  local -a COMP_WORDS COMPREPLY; COMP_WORDS=("$@"); integer COMP_CWORD=$(($# - 1)); local typed=\${@[-1]}
  () { emulate -L sh; setopt kshglob noshglob braceexpand ksharrays; _eunomia }
  print -r -- \${(M)COMPREPLY:#$typed*}
}
${perLine((words) => `try ${words}`)}
try eunomia run --output=j
print -r -- \${_comps[eunomia]}`;
    expect(await offered('zsh', script)).toEqual([
      ...expected,
      '--output=json',
      '_bash_complete -o bashdefault -o default -F _eunomia',
    ]);
  });

  it('completes in fish', async () => {
    const script = `source $argv[2]
${commandLines.map((line) => `string join -- ' ' (complete -C '${line}' | string split -f1 \\t)`).join('\n')}`;
    const sorted = (words: string): readonly string[] => words.split(' ').sort();
    expect((await offered('fish', script)).map(sorted)).toEqual(expected.map(sorted));
  });
});

it('a pipe is given the characters themselves, as a program needs them', async () => {
  const { stdout } = await run(process.execPath, [
    join(root, 'dist/main.js'),
    'replay',
    recording,
    '--speed',
    'max',
    '-o',
    'json',
    '-f',
    'process.comm',
  ]);
  expect(stdout).toContain('\u009b31m\u202eb\u200b=');
  expect(JSON.parse(stdout)).toEqual({ process: { comm: hostile } });
});

it('goes on where nobody reads what it tells any more', async () => {
  const [head, event] = (await readFile(recording, 'utf8')).split('\n');
  const between = { from: '2026-01-31T08:15:30.000000000Z', to: '2026-01-31T08:15:31.000000000Z' };
  const gap = JSON.stringify({ gap: { ...between, lost: '5', dropped: '0', where: 'KERNEL' } });
  const end = JSON.stringify({ end: { items: '1', lost: '5', dropped: '0', complete: true, state: 'STOPPED' } });
  const file = join(folder, 'gap.ndjson');
  await writeFile(file, [head, gap, event, end].map((line) => `${line}\n`).join(''));
  const child = spawn(process.execPath, [join(root, 'dist/main.js'), 'replay', file, '-f', 'exitCode', '-o', 'csv'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stderr.destroy(); // a gap is told before the event
  const ended = once(child, 'exit');
  expect([await text(child.stdout), ...(await ended)]).toEqual(['exitCode\r\n0\r\n', 0, null]);
});
