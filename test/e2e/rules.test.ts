import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ABLE_RUNTIME, startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** Rules on the real server: real processes in a real container, over changes of the rules and a restart of the server. */

const run = promisify(execFile);

const closing: (() => Promise<unknown>)[] = [];
let docker: TestDocker;
let data = '';
let folder = '';

beforeEach(async () => {
  for (const set of [(path: string) => (data = path), (path: string) => (folder = path)]) {
    const { path, remove } = await temporaryDirectory();
    set(path);
    closing.push(remove);
  }
  docker = await startDocker();
  closing.push(() => docker.stop());
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const write = (text: string): Promise<void> => writeFile(join(folder, 'a.yaml'), text, { mode: 0o600 });
const start = (): Promise<TestServer> =>
  startServer(['--engine', docker.socket, '--data-dir', data, '--rules', folder]);

interface AlertFacts {
  readonly ruleName: string;
  readonly eventId: string | null;
  readonly event: { readonly id: string } | null;
  readonly rule: { readonly name: string } | null;
  readonly message: string;
  readonly count: string;
  readonly process: { readonly pid: number; readonly comm: string };
  readonly container: { readonly name: string } | null;
  readonly evidence: {
    readonly event: Record<string, unknown>;
    readonly events: readonly object[];
    readonly eventsAfter: readonly object[];
    readonly gathering: boolean;
    readonly eventsAfterProblem: string | null;
    readonly ancestors: readonly { readonly comm: string }[];
  };
}

const alertsOf = async (server: TestServer): Promise<readonly AlertFacts[]> => {
  const { alerts } = await server.query<{ alerts: { nodes: AlertFacts[] } }>(
    '{ alerts(first: 10000) { nodes { eventId event { id } ruleName rule { name } message count process { pid comm } container { name } ' +
      'evidence { event events eventsAfter gathering eventsAfterProblem ancestors { comm startTime } } } } }',
  );
  return alerts.nodes;
};

const inContainer = `rules:
  - name: secret-read
    description: A process of a container read a secret.
    severity: HIGH
    attack: [T1552.001]
    trackers: open
    condition: container != null && path == "/tmp/secret" && resolved.endsWith("/secret") && errno == null
    message: '{process.comm} read {resolved} in {container.name}'
    key: [container.id, process.pid]
  - name: loader
    description: A shell loads something and runs it.
    severity: LOW
    message: '{process.comm} after a write'
    key: [container.id, process.pid]
    sequence:
      within: 30s
      by: tree
      steps:
        - { trackers: open, condition: 'container != null && path == "/tmp/loaded" && "O_CREAT" in flags' }
        - { trackers: exec, condition: 'filename == "/tmp/loaded"' }`;

it('tell what happens in a container, once, with its process and where it comes from, also over a restart', async () => {
  await write(inContainer);
  await docker.run('-d', '--name', 'vault', TEST_IMAGE, 'sleep', '600');
  const first = await start();
  const act = (script: string) => docker.docker('exec', 'vault', 'sh', '-c', script);
  await act(
    'echo x > /tmp/secret; cat /tmp/secret; cat /tmp/secret; cp /bin/busybox /tmp/loaded; /tmp/loaded true; true',
  );
  await until('all are told', async () => (await alertsOf(first)).length >= 4);
  const [newest] = await alertsOf(first);
  expect(newest?.evidence).toMatchObject({ gathering: true, eventsAfter: [] });
  await until('what came after is gathered', async () =>
    (await alertsOf(first)).every(({ evidence }) => !evidence.gathering),
  );
  const told = await alertsOf(first);
  // The shell that wrote the secret opened it too.
  expect(told.map(({ message }) => message).sort()).toEqual(
    [
      'cat read /tmp/secret in vault',
      'cat read /tmp/secret in vault',
      'sh read /tmp/secret in vault',
      'loaded after a write',
    ].sort(),
  );
  const [read] = told.filter(({ process }) => process.comm === 'cat');
  expect(read).toMatchObject({
    ruleName: 'secret-read',
    rule: { name: 'secret-read' },
    count: '1',
    container: { name: 'vault' },
    evidence: { event: { resolved: '/tmp/secret' } },
  });
  expect(read?.evidence.ancestors[0]?.comm).toBe('sh');
  // From the alert to its event, and to what happened before it.
  const ids = [read?.evidence.event, ...(read?.evidence.events ?? [])].map((event) =>
    String(Reflect.get(event ?? {}, 'id')),
  );
  expect(new Set(ids).size).toBe(ids.length);
  expect(read).toMatchObject({ eventId: ids[0], event: { id: ids[0] } });
  for (const id of ids) {
    const found = await first.query<{ node: object }>(
      'query ($id: ID!) { node(id: $id) { ... on TraceEvent { id cursor session { id } } ... on OpenEvent { resolved } } }',
      { id },
    );
    expect(found.node).toMatchObject({ id });
    if (id === ids[0])
      expect(found.node).toMatchObject({ resolved: '/tmp/secret', cursor: expect.any(String) as string });
  }
  // What the container did before.
  expect(read?.evidence.events).toContainEqual(
    expect.objectContaining({
      tracker: 'open',
      resolved: '/tmp/secret',
      process: expect.objectContaining({ comm: 'sh' }) as object,
    }),
  );
  // What it did afterwards: the shell wrote the secret, and then others read it.
  const written = told.find(({ process }) => process.comm === 'sh');
  expect(written?.evidence.eventsAfterProblem).toBeNull();
  expect(written?.evidence.eventsAfter).toContainEqual(
    expect.objectContaining({
      id: expect.any(String) as string,
      tracker: 'open',
      resolved: '/tmp/secret',
      process: expect.objectContaining({ comm: 'cat' }) as object,
    }),
  );
  expect(written?.evidence.eventsAfter).not.toContainEqual(written?.evidence.event);
  expect(await first.query('{ rules { missed problem } }')).toEqual({ rules: { missed: '0', problem: null } });
  await first.end('SIGKILL');

  const second = await start();
  // The session of rules is in memory only: its events are gone, and their ids are told.
  expect(await alertsOf(second)).toEqual(told.map((alert) => ({ ...alert, event: null })));
  await act('cat /tmp/secret');
  await until('one more', async () => (await alertsOf(second)).length === told.length + 1);
});

it('change while a container works, and each of its processes is told once', async () => {
  const each = (version: number): string => `rules:
  - name: marked
    description: A marked program ran.
    severity: LOW
    trackers: exec
    condition: 'args.exists(a, a.startsWith("mark-"))'
    message: '${version} {args}'
    key: [process.pid, bootNs]
    interval: 0s
    throttle: { alerts: 10000, within: 1s }`;
  await write(each(0));
  const server = await start();
  await docker.run('-d', '--name', 'worker', TEST_IMAGE, 'sleep', '600');
  const stop = join(data, 'stop');
  const working = run('sh', [
    '-c',
    `i=0; while [ ! -e ${stop} ]; do i=$((i + 1)); /bin/true mark-$i; sleep 0.01; done; echo $i`,
  ]);
  const messages = async (): Promise<readonly string[]> =>
    (await alertsOf(server)).map(({ message }) => message).toReversed();
  const isTold = (version: number) =>
    until(`version ${version} is told`, async () => (await messages()).some((text) => text.startsWith(`${version} `)));
  await isTold(0);
  for (let version = 1; version <= 5; version++) {
    await write(each(version));
    await isTold(version);
  }
  await writeFile(stop, '');
  const last = Number((await working).stdout);
  await until('all are told', async () => (await messages()).length >= last);
  // Behind all that may have been told twice.
  const count = last + 1;
  await run('/bin/true', [`mark-${count}`]);
  await until('the last is told', async () => (await messages()).some((text) => text.includes(`mark-${count}`)));
  const found = await messages();
  const marks = found.map((message) => /mark-\d+/.exec(message)?.[0]);
  expect(marks).toEqual(Array.from({ length: count }, (_, i) => `mark-${i + 1}`));
  const versions = found.map((message) => Number(message.split(' ')[0]));
  expect([...new Set(versions)]).toEqual([0, 1, 2, 3, 4, 5]);
  expect(versions).toEqual(versions.toSorted());
  expect(await server.query('{ rules { missed } }')).toEqual({ rules: { missed: '0' } });
});

it('tell of each privileged container, however short it lives', async () => {
  await write(`rules:
  - name: privileged
    description: A program runs in a privileged container.
    severity: MEDIUM
    trackers: exec
    condition: container.privileged && errno == null && process.comm == "true"
    message: '{container.name} of {container.image}'
    key: [container.id]`);
  const server = await start();
  const brief = (name: string, ...more: string[]) =>
    docker.run('--rm', '--network', 'none', '--name', name, ...more, TEST_IMAGE, 'true');
  for (let i = 0; i < 5; i++) await brief(`privileged-${i}`, '--privileged', '--runtime', ABLE_RUNTIME);
  await brief('ordinary');
  await until('all are told', async () => (await alertsOf(server)).length >= 5);
  expect((await alertsOf(server)).map(({ message }) => message).sort()).toEqual(
    Array.from({ length: 5 }, (_, i) => `privileged-${i} of ${TEST_IMAGE}`),
  );
  expect(await server.query('{ rules { missed withoutFacts } }')).toEqual({
    rules: { missed: '0', withoutFacts: '0' },
  });
});
