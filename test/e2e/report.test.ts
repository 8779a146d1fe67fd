import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import type { BehaviourReport } from '../../src/event/report.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';

const exec = promisify(execFile);
const main = join(root, 'dist/main.js');

/** What the container does, and nothing else: each thing is one entry of its report. */
const BEHAVIOUR = [
  'cat /etc/hostname > /tmp/copied',
  'cat /no/such/file',
  'mkdir /proc/denied',
  'nc -l -p 8123 -e /bin/true & sleep 1; echo hello | nc 127.0.0.1 8123',
  'nc 127.0.0.1 9',
  "sh -c 'kill -9 $$'",
].join('; ');
/** What the one beside it does, which must be in no report of the first. */
const NEIGHBOUR = 'cat /etc/hosts > /tmp/neighbour; cat /no/neighbour';

let docker: TestDocker;
let folder: string;
let server: TestServer;
let id: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-report-'));
  docker = await startDocker();
  server = await startServer(['--engine', docker.host], { keep: true });
  id = await startSession(
    server,
    '{ trackers: [{ exec: {} }, { exit: {} }, { open: {} }, { tcp: {} }, { syscall: { only: ["mkdir"] } }] }',
  );
  await Promise.all([
    docker.run('--name', 'known', TEST_IMAGE, 'sh', '-c', `${BEHAVIOUR}; true`),
    docker.run('--name', 'neighbour', TEST_IMAGE, 'sh', '-c', `${NEIGHBOUR}; true`),
  ]);
  await stopSession(server, id);
});

afterAll(async () => {
  await server?.end('SIGTERM');
  await docker?.stop();
  await rm(folder, { recursive: true });
});

async function report(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return exec(process.execPath, [main, 'report', ...args], { maxBuffer: 64 << 20 });
}

const paths = (section: { readonly entries: readonly { readonly path: string | null }[] } | null): (string | null)[] =>
  (section?.entries ?? []).map(({ path }) => path);

describe('the report of a container', () => {
  it('has what it did, and nothing that another did', async () => {
    const made = JSON.parse(
      (await report('known', '--session', id, '--server', server.url, '--json')).stdout,
    ) as BehaviourReport;
    expect(made).toMatchObject({
      session: id,
      container: { name: 'known', image: TEST_IMAGE },
      host: false,
      lost: '0',
      dropped: '0',
      complete: true,
      restrictions: ['syscall.only'],
    });
    expect(paths(made.filesWritten)).toContain('/tmp/copied');
    expect(paths(made.filesRead)).toContain('/etc/hostname');
    expect(made.failedOpens?.entries).toContainEqual(
      expect.objectContaining({ path: '/no/such/file', errno: 'ENOENT', comms: ['cat'] }),
    );
    const commands = made.programs?.entries
      .flatMap(({ args }) => args.map((list) => list.join(' ')))
      .filter((command) => !command.startsWith('sh -c cat') && command !== 'runc init');
    expect(commands?.toSorted()).toEqual(
      [
        '/bin/true',
        'cat /etc/hostname',
        'cat /no/such/file',
        'nc -l -p 8123 -e /bin/true',
        'nc 127.0.0.1 8123',
        'nc 127.0.0.1 9',
        'sh -c kill -9 $$',
        'sleep 1',
      ].toSorted(),
    );
    expect(made.peers?.entries).toContainEqual(
      expect.objectContaining({
        direction: 'OUT',
        address: '127.0.0.1',
        port: 8123,
        errno: null,
        count: '1',
        sentBytes: '6',
        comms: ['nc'],
      }),
    );
    expect(made.peers?.entries).toContainEqual(
      expect.objectContaining({ direction: 'OUT', address: '127.0.0.1', port: 9, errno: 'ECONNREFUSED' }),
    );
    expect(made.peers?.entries).toContainEqual(expect.objectContaining({ direction: 'IN', port: 8123, count: '1' }));
    expect(made.listeningPorts?.entries).toEqual([expect.objectContaining({ port: 8123, count: '1' })]);
    expect(made.syscalls?.entries).toEqual([expect.objectContaining({ name: 'mkdir', count: '1', errors: '1' })]);
    expect(made.exits?.entries).toContainEqual(expect.objectContaining({ comm: 'sh', signal: 'SIGKILL', count: '1' }));
    expect(JSON.stringify(made)).not.toContain('neighbour');
    const without = (section: string, tracker: string) => ({
      section,
      tracker,
      problem: `not observed: the session ran without the tracker ${tracker}`,
    });
    expect(made.missing).toEqual([
      without('privileges', 'privilege'),
      without('capabilities', 'capability'),
      without('dnsNames', 'dns'),
      without('refusedCalls', 'seccomp'),
    ]);
  });

  it('is the same of a recording, read without the server and as Markdown', async () => {
    const file = join(folder, 'known.ndjson');
    await exec(process.execPath, [main, 'export', id, '--server', server.url, '--output', file]);
    const live = JSON.parse(
      (await report('known', '--session', id, '--server', server.url, '--json')).stdout,
    ) as BehaviourReport;
    const replayed = JSON.parse((await report('known', '--file', file, '--json')).stdout) as BehaviourReport;
    expect({ ...replayed, session: id, sessions: live.sessions }).toEqual(live);
    const { stdout } = await report('known', '--file', file);
    expect(stdout).toMatch(/^# Behaviour of container known\n/);
    expect(stdout).toContain('| 1 | /no/such/file | ENOENT | cat |');
    expect(stdout).toContain('- Complete: no event was lost.');
    expect(stdout).toContain(
      '## System calls\n\nIncomplete: calls that are not listed are excluded (syscall.only: `["mkdir"]`).\n',
    );
  });

  it('tells by comparison what is new and what is gone', async () => {
    const { compareReports } = await server.query<{
      compareReports: {
        added: { section: string; what: string }[];
        gone: { section: string; what: string }[];
        certain: boolean;
      };
    }>(
      `{ compareReports(before: { session: "${id}", container: "neighbour" }, after: { session: "${id}", ` +
        'container: "known" }) { added { section what } gone { section what } certain } }',
    );
    expect(compareReports.certain).toBe(true);
    expect(compareReports.added).toContainEqual({ section: 'peers', what: 'to 127.0.0.1 port 8123' });
    expect(compareReports.added).toContainEqual({ section: 'filesWritten', what: '/tmp/copied' });
    expect(compareReports.gone).toContainEqual({ section: 'failedOpens', what: '/no/neighbour (ENOENT)' });
    expect(compareReports.added.map(({ what }) => what)).not.toContain('/bin/sh');
  });

  it('is made of a time of its own, without a session', async () => {
    await docker.run(
      '-d',
      '--name',
      'looping',
      TEST_IMAGE,
      'sh',
      '-c',
      'while true; do cat /etc/hostname > /dev/null; sleep 0.2; done',
    );
    const { stdout, stderr } = await report('looping', '--for', '2s', '--server', server.url, '--json');
    await docker.docker('rm', '-f', 'looping');
    expect(stderr).toContain('watching for 2s');
    const made = JSON.parse(stdout) as BehaviourReport;
    expect(made.complete).toBe(true);
    expect(made.trackers).toEqual(expect.arrayContaining(['dns', 'exec', 'opencount', 'privilege', 'syscount', 'tcp']));
    // What opencount and syscount observe with a lower cost.
    for (const dearer of ['open', 'syscall']) expect(made.trackers).not.toContain(dearer);
    expect(paths(made.filesRead)).toContain('/etc/hostname');
    expect(made.syscalls?.entries.map(({ name }) => name)).toContain('openat');
    const { sessions } = await server.query<{ sessions: { nodes: { id: string }[] } }>('{ sessions { nodes { id } } }');
    expect(sessions.nodes).toEqual([{ id }]);
  });

  it.each([
    [['nobody'], /no event that was recorded is of a container "nobody"; there are .*known/],
    [['known', '--from', '2026-02-01T00:00:00Z', '--to', '2026-01-01T00:00:00Z'], /to: .* is not after `from`/],
    [['known', '--host'], /a container is not the host/],
  ])('is refused with what would be right: %j', async (args, message) => {
    const error = await report(...args, '--session', id, '--server', server.url).then(
      () => null,
      (failed: { stderr: string; code: number }) => failed,
    );
    expect(error?.stderr).toMatch(message);
    expect(error?.code).toBeGreaterThan(0);
  });
});
