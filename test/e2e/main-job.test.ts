import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sessionPrograms } from '../support/bpf.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { sharedServer, startSession, stopSession, STATS, type Stats, type TestServer } from '../support/server.js';
import { run, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface ExecEvent {
  readonly args: readonly string[] | null;
  readonly argsTruncated: boolean | null;
  readonly errno: string | null;
  readonly cwd: string | null;
  readonly executable: string | null;
  readonly process: { readonly pid: number; readonly comm: string; readonly uid: number };
  readonly container: {
    readonly name: string | null;
    readonly image: string | null;
    readonly label: string | null;
  } | null;
}
interface Traced {
  readonly trace: {
    readonly id: string;
    readonly state: string;
    readonly stopReason: string;
    readonly captured: readonly string[];
    readonly stats: Stats;
    readonly events: { readonly totalCount: string; readonly nodes: readonly ExecEvent[] };
    readonly aggregate: readonly {
      readonly key: readonly { readonly field: string; readonly value: string | null }[];
      readonly count: string;
      readonly other: boolean;
    }[];
  };
}

const TRACE = `mutation ($target: TargetInput, $for: Duration, $limit: Int) {
  trace(input: { trackers: [{ exec: {} }], target: $target }, for: $for, limit: $limit) {
    id state stopReason captured ${STATS}
    events(first: 40000) { totalCount nodes { ... on ExecEvent { args argsTruncated errno cwd executable }
      process { pid comm uid } container { name image label(name: "tier") } } }
    aggregate(groupBy: ["container.name", "process.comm"]) { key { field value } count other }
  }
}`;

/** Resolves to the id of the server's only session once it runs; rejects when the request for it is refused. */
async function running(server: TestServer, answer: Promise<unknown>): Promise<string> {
  const refused = answer.then(() => Promise.reject(new Error('the trace has ended before it was seen to run')));
  const runs = until(
    'the trace runs',
    async () =>
      (await server.query<{ sessions: { nodes: { id: string }[] } }>('{ sessions(state: RUNNING) { nodes { id } } }'))
        .sessions.nodes[0],
  );
  return (await Promise.race([runs, refused])).id;
}

/** Asks for a trace, waits until it runs, does the work, ends the trace, and returns the response. */
async function traceWhile(target: object | null, work: () => Promise<unknown>): Promise<Traced['trace']> {
  const server = await sharedServer(['--engine', docker.socket]);
  const answer = server.query<Traced>(TRACE, { target, for: '10m' });
  const id = await running(server, answer);
  await work();
  await stopSession(server, id);
  return (await answer).trace;
}

describe('the main job: one request while a container starts', () => {
  it('returns with the container, its image, the full command line, and an aggregate', async () => {
    const long = 'z'.repeat(20_000);
    const trace = await traceWhile(null, () =>
      docker.run(
        '--rm',
        '--network',
        'none',
        '--name',
        'main-job',
        '--label',
        'tier=test',
        TEST_IMAGE,
        'sh',
        '-c',
        'echo "$1" | cat; true',
        'main',
        '',
        long,
      ),
    );
    expect(trace).toMatchObject({ state: 'STOPPED', stopReason: 'REQUESTED' });
    const inside = trace.events.nodes.filter((event) => event.container?.name === 'main-job');
    const shell = inside.find((event) => event.args?.[0] === 'sh');
    expect(shell).toMatchObject({
      args: ['sh', '-c', 'echo "$1" | cat; true', 'main', '', long],
      argsTruncated: false,
      errno: null,
      cwd: '/',
      executable: '/bin/busybox',
      process: { comm: 'sh', uid: 0 },
      container: { name: 'main-job', image: TEST_IMAGE, label: 'test' },
    });
    expect(inside.some((event) => event.args?.join(' ') === 'cat')).toBe(true);
    // The client that started it is the host's.
    const client = trace.events.nodes.find((event) => event.args?.includes('main-job') && event.args.includes('run'));
    expect(client).toMatchObject({ container: null });

    // The aggregate counts the same events.
    expect(trace.aggregate.reduce((sum, row) => sum + Number(row.count), 0)).toBe(Number(trace.events.totalCount));
    const row = (name: string | null, comm: string) =>
      trace.aggregate.find(({ key }) => key[0]?.value === name && key[1]?.value === comm);
    for (const comm of new Set(inside.map((event) => event.process.comm)))
      expect(Number(row('main-job', comm)?.count)).toBe(inside.filter((event) => event.process.comm === comm).length);
    const { produced, lost, received, discarded, delivered, queued } = trace.stats;
    expect(Number(produced)).toBe(Number(lost) + Number(received));
    expect(Number(received)).toBe(Number(discarded) + Number(delivered) + Number(queued));
    expect(Number(delivered)).toBe(Number(trace.events.totalCount));
  });

  it('with a target holds only the containers that it selects, also those that start later', async () => {
    const trace = await traceWhile({ containers: [{ name: 'want-*' }], waitForContainers: true }, async () => {
      await docker.run('--rm', '--network', 'none', '--name', 'want-1', TEST_IMAGE, 'echo', 'one');
      await docker.run('--rm', '--network', 'none', '--name', 'other-1', TEST_IMAGE, 'echo', 'other');
      await docker.run('--rm', '--network', 'none', '--name', 'want-2', TEST_IMAGE, 'echo', 'two');
    });
    const names = new Set(trace.events.nodes.map((event) => event.container?.name));
    expect(names).toEqual(new Set(['want-1', 'want-2']));
    expect(trace.events.nodes.filter((event) => event.args?.[0] === 'echo').map((event) => event.args?.[1])).toEqual([
      'one',
      'two',
    ]);
  });

  it('stops after its time', async () => {
    const server = await sharedServer();
    const { trace } = await server.query<Traced>(TRACE, { target: { pids: [process.pid] }, for: '1s' });
    expect(trace).toMatchObject({ state: 'STOPPED', stopReason: 'DURATION' });
  });

  it('stops at a number of events, and then nothing of it is in the kernel', async () => {
    const server = await sharedServer(['--engine', docker.socket]);
    const before = sessionPrograms(server.pid);
    const answer = server.query<Traced>(TRACE, { target: { pids: [process.pid] }, for: '60s', limit: 3 });
    await running(server, answer);
    for (let i = 0; i < 6; i++) await run('/bin/true', [String(i)]);
    const { trace } = await answer;
    expect(trace).toMatchObject({ state: 'STOPPED', stopReason: 'LIMIT' });
    expect(trace.events.nodes.map((event) => event.args)).toEqual([0, 1, 2].map((i) => ['/bin/true', String(i)]));
    expect(sessionPrograms(server.pid)).toEqual(before);
  });

  it('captures just what the request selects', async () => {
    const server = await sharedServer();
    const answer = server.query<{ trace: { captured: string[]; events: { nodes: object[] } } }>(
      `mutation { trace(input: { trackers: [{ exec: {} }], target: { pids: [${process.pid}] } }, for: "5m", ` +
        'limit: 1) { captured events { nodes { ... on ExecEvent { cwd } } } } }',
    );
    await running(server, answer);
    await run('/bin/true');
    expect((await answer).trace).toEqual({ captured: ['cwd'], events: { nodes: [{ cwd: process.cwd() }] } });
  });

  it('shows user ids of any size', async () => {
    const trace = await traceWhile({ uids: [1_000_000_000] }, async () =>
      run(await workloadPath(), ['exit', '0'], { uid: 1_000_000_000, gid: 0 }),
    );
    expect(trace.events.nodes.map((event) => event.process.uid)).toContain(1_000_000_000);
    // Linux counts users to 2^32 - 2.
    const large = await traceWhile({ pids: [process.pid] }, async () =>
      run('setpriv', ['--reuid=4000000000', '--clear-groups', await workloadPath(), 'exit', '0']),
    );
    expect(large.events.nodes.map((event) => event.process.uid)).toContain(4_000_000_000);
  });

  it('follows a container by its id, live', async () => {
    const server = await sharedServer(['--engine', docker.socket]);
    const container = await docker.run('-d', '--network', 'none', '--name', 'live', TEST_IMAGE, 'sleep', '100');
    await until(
      'the server knows it',
      async () =>
        (await server.query<{ container: { state: string } | null }>('{ container(ref: "live") { state } }')).container
          ?.state === 'RUNNING',
    );
    const id = await startSession(
      server,
      `{ trackers: [{ exec: {} }], target: { containers: [{ id: "${container.slice(0, 12)}" }] } }`,
    );
    const stream = server.subscribe<{ events: { events: ExecEvent[] } }>(
      'subscription ($id: ID!) { events(session: $id, replay: 100) { events { ... on ExecEvent { args errno } ' +
        'container { name image } } } }',
      { id },
    );
    const seen = (async () => {
      for await (const { events } of stream) {
        const found = events.events.find((event) => event.args?.includes('marker'));
        if (found) return found;
      }
      return null;
    })();
    await docker.docker('exec', 'live', 'echo', 'marker');
    expect(await seen).toEqual({
      args: ['echo', 'marker'],
      errno: null,
      container: { name: 'live', image: TEST_IMAGE },
    });
    await docker.docker('rm', '-f', 'live');
  });

  it('refuses a container that is not there, unless it is asked to wait', async () => {
    const server = await sharedServer(['--engine', docker.socket]);
    await expect(
      startSession(server, '{ trackers: [{ exec: {} }], target: { containers: [{ name: "nobody" }] } }'),
    ).rejects.toThrow('UNKNOWN_CONTAINER');
    expect(sessionPrograms(server.pid)).toEqual([]);
    await startSession(
      server,
      '{ trackers: [{ exec: {} }], target: { containers: [{ name: "nobody" }], waitForContainers: true } }',
    );
  });
});
