import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, startSession, stopSession } from '../support/server.js';
import { until } from '../support/until.js';
import { firstLine } from '../support/workload.js';

const exec = promisify(execFile);
/** Nobody: no root, no capability, no BPF. */
const nobody = { uid: 65_534, gid: 65_534 };
/** An ordinary user: the uid of nobody also stands for users of other namespaces, and is never an operator's. */
const somebody = { uid: 64_321, gid: 64_321 };
const main = join(root, 'dist/main.js');
const ASK =
  'fetch(process.argv[1], { method: "POST", headers: { "content-type": "application/json" }, body: ' +
  'process.argv[2] }).then((response) => response.text()).then((text) => process.stdout.write(text))';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function eunomia(args: readonly string[], as: { uid?: number; gid?: number } = {}): Promise<Ran> {
  return exec(process.execPath, [main, ...args], { ...as, maxBuffer: 64 << 20 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      stdout: error.stdout,
      stderr: error.stderr,
    }),
  );
}

let folder: string;
let recording: string;
let exportedMode: number;

const eventsOf = (text: string): string[] =>
  text
    .trimEnd()
    .split('\n')
    .filter((line) => line.startsWith('{"tracker"'));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-replay-'));
  await chmod(folder, 0o777);
  recording = join(folder, 'recorded.ndjson');
  const server = await startServer();
  const id = await startSession(server, '{ trackers: [{ exec: {} }, { open: {} }, { exit: {} }], name: "recorded" }');
  for (let i = 0; i < 5; i++) await exec('/bin/sh', ['-c', `/bin/cat /etc/hostname /no/such/${i} || true`]);
  await stopSession(server, id);
  const { code, stderr } = await eunomia(['export', id, '--server', server.url, '--output', recording]);
  if (code !== 0) throw new Error(stderr);
  exportedMode = (await stat(recording)).mode & 0o777;
  await chmod(recording, 0o644); // for the users of these tests
});

afterAll(() => rm(folder, { recursive: true }));

describe('a recording', () => {
  it('is for its owner alone, however wide the umask is', async () => {
    expect(exportedMode).toBe(0o600);
  });

  it('is written under no name that somebody could have laid out a link for, and over nothing but files', async () => {
    const [victim, target] = [join(folder, 'victim'), join(folder, 'planted.ndjson')];
    await writeFile(victim, 'precious');
    await symlink(victim, `${target}.part`);
    expect((await eunomia(['export', '--file', recording, '--output', target])).code).toBe(0);
    await symlink(victim, join(folder, 'link.ndjson'));
    for (const file of [join(folder, 'link.ndjson'), '/dev/null', folder]) {
      expect(await eunomia(['export', '--file', recording, '--output', file])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`--output: ${file} is there and is no regular file`) as string,
      });
    }
    expect(await readFile(victim, 'utf8')).toBe('precious');
    expect((await stat('/dev/null')).isCharacterDevice()).toBe(true);
  });

  it('replays for a user who may do nothing, and exports again to the same events', async () => {
    const again = join(folder, 'again.ndjson');
    const { code, stderr } = await eunomia(['export', '--file', recording, '--output', again], nobody);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/again\.ndjson: \d+ bytes/) });
    const [before, after] = await Promise.all([readFile(recording, 'utf8'), readFile(again, 'utf8')]);
    expect(eventsOf(after).length).toBeGreaterThan(20);
    expect(eventsOf(after)).toEqual(eventsOf(before));
    expect(after).toMatch(/"complete":true/);
  });

  it('prints as `run` would, with the recorded times', async () => {
    const { code, stdout, stderr } = await eunomia(
      ['replay', recording, '-o', 'json', '-f', 'time,tracker,process.comm,exitCode'],
      nobody,
    );
    expect(stderr).toMatch(/\d+ events, 0 lost, 0 dropped/);
    expect(code).toBe(0);
    const printed = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { time: string });
    const recorded = eventsOf(await readFile(recording, 'utf8')).map((line) => JSON.parse(line) as { time: string });
    expect(printed.map(({ time }) => time)).toEqual(recorded.map(({ time }) => time));
  });

  it('is served with the access settings and the limits of a server', async () => {
    const child = spawn(
      process.execPath,
      [main, 'replay', recording, '--port', '0', '--token', 'viewer:just-look-at-this', '--max-aliases', '1'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      const url = /(http:\S+)/.exec(await firstLine(child))?.[1] ?? '';
      const ask = async (query: string, authorization: string): Promise<unknown> => {
        const headers = { 'content-type': 'application/json', authorization };
        return (await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) })).json();
      };
      expect(await ask('{ __typename }', 'Bearer wrong')).toMatchObject({
        errors: [{ extensions: { code: 'UNAUTHENTICATED' } }],
      });
      expect(await ask('{ sessions { nodes { name } } }', 'Bearer just-look-at-this')).toEqual({
        data: { sessions: { nodes: [{ name: 'recorded' }] } },
      });
      expect(await ask('{ a: __typename b: __typename }', 'Bearer just-look-at-this')).toMatchObject({
        errors: [{ extensions: { code: 'LIMIT_EXCEEDED', limit: 'aliases', maximum: 1 } }],
      });
    } finally {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    }
    expect(child.exitCode).toBe(0);
  });

  it('returns GraphQL as the live session did: pages, filters, aggregates, subscriptions', async () => {
    const child = spawn(process.execPath, [main, 'replay', recording, '--port', '0', '--speed', '10'], {
      ...somebody,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const url = /(http:\S+)/.exec(await firstLine(child))?.[1] ?? '';
      interface Answer<Data> {
        readonly data: Data;
        readonly errors?: { message: string; extensions: { code: string } }[];
      }
      const query = async <Data = Record<string, never>>(text: string): Promise<Answer<Data>> => {
        // As the same user: a server without rights cannot see whose root's connections are, and asks root for a token.
        const { stdout } = await promisify(execFile)(
          process.execPath,
          ['-e', ASK, url, JSON.stringify({ query: text })],
          somebody,
        );
        return JSON.parse(stdout) as Answer<Data>;
      };
      const recorded = eventsOf(await readFile(recording, 'utf8')).map(
        (line) => JSON.parse(line) as { tracker: string; errno?: string | null },
      );
      interface Replayed {
        readonly sessions: {
          readonly nodes: readonly {
            readonly id: string;
            readonly name: string;
            readonly origin: string;
            readonly state: string;
            readonly stopReason: string | null;
            readonly startedAt: string;
          }[];
        };
      }
      const sessions = async () =>
        (await query<Replayed>('{ sessions { nodes { id name origin state stopReason startedAt } } }')).data.sessions
          .nodes;
      const [session] = await sessions();
      expect(session).toMatchObject({ name: 'recorded', origin: 'REPLAY' });
      for (let state = session; state?.state !== 'STOPPED'; [state] = await sessions())
        await new Promise((resolve) => setTimeout(resolve, 50));
      expect((await sessions())[0]).toMatchObject({ state: 'STOPPED', stopReason: 'REPLAYED' });
      interface Held {
        readonly session: {
          readonly all: { readonly totalCount: string };
          readonly events: { readonly totalCount: null; readonly nodes: object[] };
          readonly aggregate: { readonly key: { readonly value: string }[]; readonly count: string }[];
          readonly stats: object;
          readonly explain: object;
        };
      }
      const { data } = await query<Held>(`{ session(id: "${session?.id}") {
        all: events(first: 1) { totalCount }
        events(where: { open: { errno: { eq: "ENOENT" } } }, first: 1000) { totalCount nodes { ... on OpenEvent { errno path } } }
        aggregate(groupBy: ["tracker"]) { key { value } count } stats { produced lost delivered retained }
        explain { trackers { hooks captured } sharing { sessions eventsPerSecond reason } }
      } }`);
      const answer = data.session;
      expect([answer.all.totalCount, answer.events.totalCount]).toEqual([String(recorded.length), null]);
      expect(answer.events.nodes).toHaveLength(
        recorded.filter(({ tracker, errno }) => tracker === 'open' && errno === 'ENOENT').length,
      );
      expect(Object.fromEntries(answer.aggregate.map(({ key, count }) => [key[0]?.value, Number(count)]))).toEqual(
        Object.fromEntries(
          ['exec', 'open', 'exit'].map((name) => [name, recorded.filter(({ tracker }) => tracker === name).length]),
        ),
      );
      expect(answer.stats).toEqual({
        produced: String(recorded.length),
        lost: '0',
        delivered: String(recorded.length),
        retained: String(recorded.length),
      });
      expect(answer.explain).toEqual({
        trackers: ['exec', 'open', 'exit'].map(() => ({ hooks: [], captured: [] })),
        sharing: { sessions: 0, eventsPerSecond: null, reason: 'it replays a recording: no programs are loaded' },
      });
      const refused = await query('mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }');
      expect(refused.errors?.[0]?.extensions.code).toBe('NO_KERNEL');
    } finally {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  });
});

describe('a file that is not a whole recording', () => {
  const write = async (text: string): Promise<string> => {
    const file = join(folder, 'bad.ndjson');
    await writeFile(file, text);
    return file;
  };

  it('loses a cut last line, and says so', async () => {
    const whole = await readFile(recording, 'utf8');
    const lines = whole.trimEnd().split('\n');
    const cut = await write(`${lines.slice(0, 11).join('\n')}\n${lines[11]?.slice(0, 50)}`);
    const { code, stdout, stderr } = await eunomia(['replay', cut, '-o', 'json'], nobody);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n')).toHaveLength(10);
    expect(stderr).toContain('ends in the middle of line 12: that line is lost');
  });

  it('tells what was asked of the session, and with what filter it was exported', async () => {
    const server = await startServer();
    const id = await startSession(server, '{ trackers: [{ exec: {} }], where: { process: { uid: { eq: 0 } } } }');
    await exec('/bin/true');
    await stopSession(server, id);
    const file = join(folder, 'filtered.ndjson');
    const { spec } = (
      await server.query<{ session: { spec: { input: object } } }>(`{ session(id: "${id}") { spec { input where } } }`)
    ).session;
    const args = ['export', id, '--server', server.url, '--where', 'errno == null', '--output', file];
    expect(await eunomia(args)).toMatchObject({ code: 0 });
    const child = spawn(process.execPath, [main, 'replay', file, '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const url = /(http:\S+)/.exec(await firstLine(child))?.[1] ?? '';
      const headers = { 'content-type': 'application/json' };
      const query =
        '{ sessions { nodes { id state spec { input where } explain { where } notices ' +
        'report { complete restrictions restricted { value } } } } }';
      const replayed = await until('it is replayed', async () => {
        const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) });
        const { data } = (await response.json()) as { data: { sessions: { nodes: { id: string; state: string }[] } } };
        const [first] = data.sessions.nodes;
        return first?.state === 'STOPPED' ? first : null;
      });
      expect(replayed).toMatchObject({
        spec,
        explain: { where: 'process.uid == 0' },
        notices: ['the recording has only events that match errno == null'],
        report: { complete: false, restrictions: ['session.where', 'export.where'] },
      });
      const { stdout } = await eunomia(['export', replayed.id, '--server', url]);
      expect(JSON.parse(stdout.split('\n')[0] ?? '')).toMatchObject({
        eunomia: {
          where: null,
          session: { spec: { input: spec.input, where: 'process.uid == 0' }, exported: ['errno == null'] },
        },
      });
    } finally {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    }
  });

  it('gives a report and an export that are not complete', async () => {
    const whole = await readFile(recording, 'utf8');
    const cut = await write(`${whole.trimEnd().split('\n').slice(0, 11).join('\n')}\n`);
    const child = spawn(process.execPath, [main, 'replay', cut, '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const url = /(http:\S+)/.exec(await firstLine(child))?.[1] ?? '';
      const ask = async <Data>(query: string): Promise<Data> => {
        const headers = { 'content-type': 'application/json' };
        const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) });
        return ((await response.json()) as { data: Data }).data;
      };
      const { id, problem } = await until('it is replayed', async () => {
        const { sessions } = await ask<{ sessions: { nodes: { id: string; problem: string | null }[] } }>(
          '{ sessions(state: STOPPED) { nodes { id problem } } }',
        );
        return sessions.nodes[0];
      });
      expect(problem).toContain('it was cut');
      const { session } = await ask<{ session: object }>(
        `{ session(id: "${id}") { report { events lost dropped complete markdown } } }`,
      );
      expect(session).toEqual({
        report: {
          events: '10',
          lost: '0',
          dropped: '0',
          complete: false,
          markdown: expect.stringContaining('**Not complete**: events are missing that nobody counted.') as string,
        },
      });
      const { stdout } = await eunomia(['export', id, '--server', url]);
      const [missing, end] = stdout
        .trimEnd()
        .split('\n')
        .slice(-2)
        .map((line) => JSON.parse(line) as object);
      expect(missing).toMatchObject({ gap: { lost: '0', dropped: '0', where: 'STORE' } });
      expect(end).toMatchObject({ end: { items: '10', complete: false } });
    } finally {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    }
  });

  it.each([
    ['', /line 1: the file is empty/],
    ['PAR1....', /line 1: this is no recording/],
    ['{"eunomia":{"recording":9,"version":"7.0"}}\n', /has the format 9, and this build reads 1/],
    ['HEAD{"tracker":"exec"}\n', /line 2: "time" is missing/],
    ['HEAD<html>\n{}\n', /line 2: this is no JSON object/],
    ['HEAD{"tracker":"nosuch"}\n', /line 2: "tracker" is "nosuch", and the recording's first line names exec/],
  ])('is refused with the line and what is wrong with it: %s', async (text, message) => {
    const head = (await readFile(recording, 'utf8')).split('\n')[0] ?? '';
    const { code, stderr } = await eunomia(
      ['replay', await write(text.replace('HEAD', `${head}\n`)), '-o', 'json'],
      nobody,
    );
    expect(stderr).toMatch(message);
    expect(code).not.toBe(0);
  });

  it('that is missing is told as such', async () => {
    const { code, stderr } = await eunomia(['replay', join(folder, 'none.ndjson')], nobody);
    expect(stderr).toMatch(/none\.ndjson: cannot be read: ENOENT/);
    expect(code).toBe(1);
  });
});
