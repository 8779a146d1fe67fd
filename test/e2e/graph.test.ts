import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { sharedServer, startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { scratch, start } from '../support/workload.js';

const exec = promisify(execFile);

/** A process as the queries here select it. */
interface Known {
  readonly identity: string;
  readonly pid: number;
  readonly comm: string;
  readonly startTime: string;
  readonly executable: string | null;
  readonly args: readonly string[] | null;
  readonly cwd: string | null;
  readonly user: string | null;
  readonly exitTime: string | null;
  readonly exitCode: number | null;
  readonly exitSignal: string | null;
}
interface Node extends Known {
  readonly parent: Known | null;
  readonly ancestors: readonly Known[] | null;
}

const KNOWN = 'identity pid comm startTime executable args cwd user exitTime exitCode exitSignal';

async function fed(server: TestServer): Promise<void> {
  await until('the table of processes is fed', async () => {
    const { server: of } = await server.query<{
      server: { processTable: { running: boolean; problem: string | null } };
    }>('{ server { processTable { running problem } } }');
    expect(of.processTable.problem).toBeNull();
    return of.processTable.running;
  });
}

async function eventsOf(server: TestServer, session: string, where: string, more = '') {
  const { session: found } = await server.query<{ session: { events: { nodes: readonly { process: Node }[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(first: 1000, where: ${where}) {
      nodes { process { ${KNOWN} parent { ${KNOWN} } ancestors { ${KNOWN} } ${more} } } } } }`,
    { id: session },
  );
  return found.events.nodes.map(({ process: one }) => one);
}

/** From /proc: this process, its parent and so on, up to init. */
async function lineOf(pid: number): Promise<{ pid: number; comm: string; executable: string | null }[]> {
  const line = [];
  for (let at = pid; at !== 0;) {
    const stat = await readFile(`/proc/${at}/stat`, 'utf8');
    line.push({
      pid: at,
      comm: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
      executable: await readlink(`/proc/${at}/exe`).catch(() => null),
    });
    at = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  }
  return line;
}

it('tells the ancestors of an event, those that were there before the server and those that have ended', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(server, '{ trackers: [{ exec: {} }] }');
  // The shell forks one that starts `true` only when the shell has ended, as a daemon does.
  const shell = spawn(
    'sh',
    ['-c', '(while kill -0 $$ 2>/dev/null; do sleep 0.01; done; exec /bin/true marked) & exit 3'],
    {
      cwd: '/usr',
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  shell.stdout.resume();
  await once(shell, 'close'); // the last one has ended
  const [last] = await eventsOf(server, session, '{ exec: { args: { has: "marked" } } }');
  await stopSession(server, session);
  if (!last) throw new Error('no exec of true');

  const own = await lineOf(process.pid);
  expect(last).toMatchObject({
    executable: expect.stringMatching(/true|coreutils|busybox/) as string,
    args: ['/bin/true', 'marked'],
    cwd: '/usr',
    user: 'root',
    exitCode: 0,
    exitSignal: null,
  });
  const [subshell, ...ancestors] = last.ancestors ?? [];
  // `( … ) &` is the process that executes true itself: its parent is the shell.
  expect(subshell).toEqual(last.parent);
  expect(subshell).toMatchObject({
    pid: shell.pid,
    comm: 'sh',
    exitCode: 3,
    args: expect.arrayContaining(['-c']) as string[],
  });
  expect(Date.parse(subshell?.exitTime ?? '')).toBeLessThanOrEqual(Date.parse(last.exitTime ?? ''));
  expect(ancestors.map(({ pid, comm, executable }) => ({ pid, comm, executable }))).toEqual(own);
  // It was executed before the server was started: nobody has seen its arguments.
  expect(ancestors.at(-1)).toMatchObject({ pid: 1, args: null, exitTime: null });
});

it('tells two processes apart that had the same pid, and their children', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(server, '{ trackers: [{ exec: {} }] }');
  const shell = (mark: string) => ['-c', `/bin/echo ${mark} > /dev/null; exit 7`];
  const first = spawn('sh', shell('first'), { stdio: 'ignore' });
  const pid = first.pid ?? 0;
  await once(first, 'exit');
  await until('another one has its pid', async () => {
    await writeFile('/proc/sys/kernel/ns_last_pid', String(pid - 1));
    const second = spawn('sh', shell('second'), { stdio: 'ignore' });
    await once(second, 'exit');
    return second.pid === pid;
  });
  const parents = async (mark: string) =>
    (await eventsOf(server, session, `{ exec: { args: { has: "${mark}" } } }`)).map(({ parent }) => parent);
  const [[before], after] = [await parents('first'), await parents('second')];
  const again = after.find((parent) => parent?.pid === pid);
  await stopSession(server, session);
  expect(before?.args).toEqual(['sh', ...shell('first')]);
  expect(again?.args).toEqual(['sh', ...shell('second')]);
  expect(before?.pid).toBe(pid);
  expect(before?.identity).not.toBe(again?.identity);
  expect(Date.parse(before?.startTime ?? '')).toBeLessThan(Date.parse(again?.startTime ?? ''));
  // Each by its pid and start.
  for (const one of [before, again]) {
    const found = await server.query<{ process: Known }>(
      `query ($pid: Int!, $at: DateTime) { process(pid: $pid, startTime: $at) { ${KNOWN} } }`,
      { pid, at: one?.startTime },
    );
    expect(found.process).toMatchObject({ identity: one?.identity, args: one?.args, exitCode: 7 });
  }
});

it('has the program of an event’s time, not that of now, and a rename of a process', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(server, '{ trackers: [{ exec: {} }] }');
  // A process may rename itself alone. It waits then, for what nobody writes.
  const SCRIPT = 'exec env A=1 sh -c "printf renamed > /proc/$$/comm; read x"';
  const child = start('sh', ['-c', SCRIPT]);
  const pid = child.pid ?? 0;
  const succeeded = `{ process: { pid: { eq: ${pid} } }, exec: { errno: { isNull: true } } }`;
  const found = await until('it has executed its third program', async () => {
    const all = await eventsOf(server, session, succeeded);
    return all.length === 3 && all;
  });
  expect(found.map(({ args }) => args?.[0])).toEqual(['sh', 'env', 'sh']);
  expect(new Set(found.map(({ identity }) => identity)).size).toBe(1);
  const now = await until('it is renamed', async () => {
    const read = await server.query<{ process: { comm: string; args: string[]; parent: { pid: number } } }>(
      `{ process(pid: ${pid}) { comm args parent { pid } } }`,
    );
    return read.process.comm === 'renamed' && read;
  });
  expect(now.process).toEqual({
    comm: 'renamed',
    args: ['sh', '-c', expect.stringContaining('printf') as string],
    parent: { pid: process.pid },
  });
  const { process: own } = await server.query<{ process: { children: readonly { pid: number; comm: string }[] } }>(
    `{ process(pid: ${process.pid}) { children(first: 1000, running: true) { pid comm } } }`,
  );
  expect(own.children).toContainEqual({ pid, comm: 'renamed' });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const [dead] = await eventsOf(server, session, succeeded);
  expect(dead).toMatchObject({ args: ['sh', '-c', SCRIPT], exitCode: null, exitSignal: 'SIGKILL' });
  await stopSession(server, session);
});

it('leads from an event to the files and sockets that its process and its ancestors have open, and to its other events', async () => {
  const server = await sharedServer();
  await fed(server);
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const session = await startSession(server, '{ trackers: [{ exec: {} }, { exit: {} }] }');
  try {
    await exec('/bin/true', ['leads']);
    interface Held {
      readonly openFiles: readonly { readonly fd: number; readonly path: string | null }[] | null;
      readonly sockets: readonly { readonly localPort: number | null }[] | null;
    }
    const [one] = await until('it has ended', async () => {
      const { session: found } = await server.query<{
        session: {
          events: {
            nodes: readonly {
              process: Held & {
                parent: Held & { events: { nodes: readonly object[] } };
                events: { nodes: readonly { tracker: string }[] };
              };
            }[];
          };
        };
      }>(
        `query ($id: ID!) { session(id: $id) { events(where: { exec: { args: { has: "leads" } } }) { nodes { process {
          openFiles { fd path } sockets { localPort } events { nodes { tracker } }
          parent { openFiles(first: 1000) { fd path } sockets(listening: true) { localPort }
            events(where: { exit: {} }) { nodes { tracker } } }
        } } } } }`,
        { id: session },
      );
      const { nodes } = found.events;
      return nodes[0]?.process.events.nodes.length === 2 && nodes;
    });
    expect(one?.process.events.nodes).toEqual([{ tracker: 'exec' }, { tracker: 'exit' }]);
    expect(one?.process.openFiles).toBeNull(); // it has ended
    expect(one?.process.sockets).toBeNull();
    expect(one?.process.parent.sockets).toContainEqual({ localPort: port });
    const own = await Promise.all(
      (one?.process.parent.openFiles ?? []).map(async ({ fd, path }) => [path, await readlink(`/proc/self/fd/${fd}`)]),
    );
    expect(own.length).toBeGreaterThan(3);
    expect(own.filter(([path, its]) => path === its).length).toBeGreaterThan(own.length / 2); // some were closed meanwhile
  } finally {
    listener.close();
    await stopSession(server, session);
  }
});

it('is told in a subscription as soon as the event is, whatever was read first', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(server, '{ trackers: [{ exec: {} }] }');
  const stream = server.subscribe<{ events: { events: readonly { process: Node }[] } }>(
    `subscription ($id: ID!) { events(session: $id, replay: 1000, maxDelay: "0s") { events {
      process { ${KNOWN} parent { ${KNOWN} } ancestors(first: 2) { ${KNOWN} } } } } }`,
    { id: session },
  );
  const next = stream.next();
  const seen: Node[] = [];
  const counted = 30;
  for (let i = 0; i < counted; i++) await exec('sh', ['-c', `/bin/true quick-${i}; :`]);
  for (let batch = await next; ; batch = await stream.next()) {
    if (batch.done) break;
    seen.push(
      ...batch.value.events.events.map(({ process: one }) => one).filter(({ args }) => args?.[0] === '/bin/true'),
    );
    if (seen.length === counted) break;
  }
  await stream.return(undefined);
  await stopSession(server, session);
  for (const [index, one] of seen.entries()) {
    expect(one.args).toEqual(['/bin/true', `quick-${index}`]);
    expect(one.parent?.args).toEqual(['sh', '-c', `/bin/true quick-${index}; :`]);
    expect(one.ancestors?.map(({ pid }) => pid)).toEqual([one.parent?.pid, process.pid]);
  }
});

it('reads for each result of a subscription what its processes have open then, however many results there are', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(
    server,
    '{ trackers: [{ open: { failedOnly: true } }], where: { open: { path: { contains: "/none/held-" } } } }',
  );
  const stream = server.subscribe<{
    events: {
      events: readonly { process: { openFiles: readonly { path: string }[] | null; events: object | null } }[];
    };
  }>(
    `subscription ($id: ID!) { events(session: $id, replay: 100, maxDelay: "0s") { events {
      process { openFiles { path } events(first: 1) { nodes { time } } } } } }`,
    { id: session },
  );
  // An operation may list the events of 20 processes: here that is a result.
  for (let i = 0; i < 22; i++) {
    const next = stream.next();
    const child = start('sh', ['-c', `exec 9</etc/hostname; true </none/held-${i}; sleep 600`]);
    const { value } = await next;
    expect(value?.events.events).toEqual([
      {
        process: {
          openFiles: expect.arrayContaining([{ path: '/etc/hostname' }]) as unknown,
          events: { nodes: [{ time: expect.any(String) as unknown }] },
        },
      },
    ]);
    child.kill();
  }
  await stream.return(undefined);
  await stopSession(server, session);
});

it('refuses an operation as a whole that lists the events of too many processes, whatever else it has', async () => {
  const server = await sharedServer();
  await fed(server);
  const session = await startSession(server, '{ trackers: [{ exec: {} }] }');
  for (let i = 0; i < 25; i++) await exec('/bin/true');
  const asked = server.query(
    `query ($id: ID!) { session(id: $id) { events(first: 1000) { nodes { time process { events(first: 1) { nodes { time } } } } } } }`,
    { id: session },
  );
  const text = await asked.then(() => '', String);
  expect(text.match(/"message"/g)).toHaveLength(1);
  expect(text).toContain('"limit":"eventLists"');
  await stopSession(server, session);
});

it('is told of stored events in a subscription as in a query, after a restart too', async () => {
  const data = await mkdtemp(join(tmpdir(), 'eunomia-graph-'));
  try {
    const args = ['--engine', 'none', '--data-dir', data];
    const first = await startServer(args);
    const session = await startSession(first, '{ trackers: [{ exec: {} }], persist: { store: EMBEDDED } }');
    const child = start('sleep', ['600']);
    await until('its exec is seen', async () =>
      (await eventsOf(first, session, '{ exec: { args: { has: "600" } } }')).some(({ pid }) => pid === child.pid),
    );
    await stopSession(first, session);
    await first.end('SIGTERM');
    const server = await startServer(args);
    await fed(server);
    const stream = server.subscribe<{ events: { events: readonly { process: Node }[] } }>(
      `subscription ($id: ID!) { events(session: $id, replay: 1000) { events {
        process { ${KNOWN} parent { ${KNOWN} } ancestors(first: 2) { ${KNOWN} } } } } }`,
      { id: session },
    );
    const seen: Node[] = [];
    for await (const { events } of stream) seen.push(...events.events.map(({ process: one }) => one));
    const found = seen.find(({ pid }) => pid === child.pid);
    expect(found).toMatchObject({ exitTime: null, parent: { pid: process.pid } });
    expect(found?.ancestors?.map(({ pid }) => pid)).toEqual([process.pid, process.ppid]);
    child.kill();
  } finally {
    await rm(data, { recursive: true });
  }
});

it('says nothing of parents when it was started without a table', async () => {
  const server = await startServer(['--engine', 'none', '--process-table', '0']);
  const found = await server.query<object>(
    `{ server { processTable { running } } process(pid: ${process.pid}) { pid parent { pid } ancestors { pid } args openFiles { fd } } }`,
  );
  expect(found).toMatchObject({
    server: { processTable: null },
    process: { pid: process.pid, parent: null, ancestors: null, args: null },
  });
  expect(Reflect.get(Reflect.get(found, 'process') as object, 'openFiles')).not.toBeNull();
});

it('refuses lists of processes that are too long, or within lists too deep', async () => {
  const server = await sharedServer();
  const refused = async (selection: string): Promise<string> =>
    server.query(`{ process(pid: 1) { ${selection} } }`).then(
      () => 'accepted',
      (error: unknown) => String(error),
    );
  expect(await refused('ancestors(first: 0) { pid }')).toMatch(/first: 0 is out of range; give 1 to 256/);
  expect(await refused('children(first: 1001) { pid }')).toMatch(/first: 1001 is out of range; give 1 to 1,000/);
  expect(await refused('children { children { children { pid } } }')).toMatch(
    /Process.children has up to [\d]+ values/,
  );
  expect(await refused('children(first: 30) { ancestors { pid executable } }')).toBe('accepted');
});

it('leads from events that come from a store to what the table knows, and after a restart to what was stored of them', async () => {
  const flags = ['--engine', 'none', '--data-dir', join(scratch, 'history')];
  const first = await startServer(flags);
  await fed(first);
  const id = await startSession(first, '{ name: "kept", trackers: [{ exec: {} }], persist: {} }');
  await exec('sh', ['-c', '/bin/true stored; :']);
  const QUERY = `query ($sessions: [ID!]) { history(sessions: $sessions, where: { exec: { args: { has: "stored" } } }) {
    events(first: 10) { nodes { process { identity pid args parent { pid comm args } ancestors { pid } } } } } }`;
  interface Found {
    readonly history: { readonly events: { readonly nodes: readonly { readonly process: Node }[] } };
  }
  const [child] = await until('it is stored', async () => {
    const { history } = await first.query<Found>(QUERY, { sessions: [id] });
    return history.events.nodes.length === 1 && history.events.nodes.map(({ process: one }) => one);
  });
  expect(child).toMatchObject({
    args: ['/bin/true', 'stored'],
    parent: { comm: 'sh', args: ['sh', '-c', '/bin/true stored; :'] },
  });
  expect(child?.ancestors?.map(({ pid }) => pid).slice(0, 2)).toEqual([child?.parent?.pid, process.pid]);
  await stopSession(first, id);
  await first.end('SIGTERM');

  const second = await startServer(flags);
  await fed(second);
  const { history } = await second.query<Found>(QUERY, { sessions: [id] });
  // It ended before the table began.
  expect(history.events.nodes).toEqual([{ process: child }]);
});
