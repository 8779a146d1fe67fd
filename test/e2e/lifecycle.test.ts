import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { heldIds, released, sessionPrograms } from '../support/bpf.js';
import { sharedServer, startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { run, work } from '../support/workload.js';
import { until } from '../support/until.js';

const target = `target: { pids: [${process.pid}] }`;
const EVENTS =
  'subscription ($id: ID!, $replay: Int, $after: Cursor) { events(session: $id, replay: $replay, after: $after) ' +
  '{ cursor gap { lost dropped } events { ... on OpenEvent { path } } } }';
interface Events {
  readonly events: {
    readonly cursor: string;
    readonly gap: { readonly lost: string; readonly dropped: string } | null;
    readonly events: readonly { readonly path: string | null }[];
  };
}

async function stateOf(server: TestServer, id: string): Promise<{ state: string; stopReason: string | null } | null> {
  return (
    await server.query<{ session: { state: string; stopReason: string | null } | null }>(
      'query ($id: ID!) { session(id: $id) { state stopReason } }',
      { id },
    )
  ).session;
}

/** Numbers behind a prefix in paths, in the order in which they came. */
const numbersOf = ({ events }: Events, prefix: string) =>
  events.events.flatMap(({ path }) => (path?.startsWith(prefix) ? [Number(path.slice(prefix.length))] : []));

describe('a server that ends', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('by %s detaches everything and exits with 0', async (signal) => {
    const server = await startServer();
    await startSession(server, `{ trackers: [{ exec: {} }, { open: {} }, { tcp: {} }, { exit: {} }], ${target} }`);
    const ids = heldIds(server.pid);
    expect(ids.programs.size).toBeGreaterThanOrEqual(8);
    expect(ids.links.size).toBeGreaterThanOrEqual(8);
    expect(await server.end(signal)).toBe(0);
    await released(ids);
    await expect(fetch(server.url)).rejects.toThrow();
  });

  it('ends the streams of its clients', async () => {
    const server = await startServer();
    const id = await startSession(server, `{ trackers: [{ exit: {} }], ${target} }`);
    const stream = server.subscribe('subscription ($id: ID!) { events(session: $id) { events { tracker } } }', { id });
    const first = stream.next();
    await until('it is subscribed', async () => (await statsOf(server, id)).subscribers.length === 1);
    await work('exit', 1);
    expect((await first).done).toBe(false);
    const rest = (async () => {
      for await (const _ of stream);
    })();
    expect(await server.end('SIGTERM')).toBe(0);
    await rest.catch(() => undefined); // it ended; whether with a close frame's reason is the client's
  });

  it('by SIGKILL leaves no program, link or map in the kernel', async () => {
    const server = await startServer();
    await startSession(server, `{ trackers: [{ exec: {} }, { open: {} }, { tcp: {} }, { exit: {} }], ${target} }`);
    const ids = heldIds(server.pid);
    expect(Math.min(ids.programs.size, ids.links.size, ids.maps.size)).toBeGreaterThanOrEqual(8);
    expect(await server.end('SIGKILL')).toBe('SIGKILL');
    await released(ids);
  });
});

describe('two servers', () => {
  it('run side by side, and the end of one is nothing to the other', async () => {
    const [one, two] = await Promise.all([startServer(), startServer()]);
    const ids = await Promise.all(
      [one, two].map((server) => startSession(server, `{ trackers: [{ exit: {} }], ${target} }`)),
    );
    const seen = async (server: TestServer, id: string, pid: number) => {
      const { session } = await server.query<{ session: { events: { nodes: { process: { pid: number } }[] } } }>(
        'query ($id: ID!) { session(id: $id) { events(last: 100) { nodes { process { pid } } } } }',
        { id },
      );
      return session.events.nodes.some((event) => event.process.pid === pid);
    };
    const first = await work('exit', 0);
    await until(
      'both have seen it',
      async () => (await seen(one, ids[0] ?? '', first.pid)) && (await seen(two, ids[1] ?? '', first.pid)),
    );
    await one.end('SIGKILL');
    const second = await work('exit', 0);
    await until('the other has seen it', () => seen(two, ids[1] ?? '', second.pid));
  });

  it('do not share a port: the second says so, exits with an error and leaves nothing', async () => {
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { code, stdout } = await run('/bin/sh', [
      '-c',
      `${process.execPath} ${join(root, 'dist/main.js')} serve --engine none --port ${port} 2>&1`,
    ]);
    taken.close();
    expect(code).toBeGreaterThan(0);
    const [told = ''] = /127\.0\.0\.1:\d+ is in use by .*/.exec(stdout) ?? [];
    expect(told.replace(/by .+ \(process/, 'by PROGRAM (process')).toBe(
      `127.0.0.1:${port} is in use by PROGRAM (process ${process.pid}); give another --port (0 takes a free one), or stop that program`,
    );
  });
});

describe('a session', () => {
  it('stops by itself when its time is up, and stays for queries', async () => {
    const server = await sharedServer();
    const id = await startSession(server, `{ trackers: [{ exit: {} }], ${target}, for: "3s" }`);
    const { pid } = await work('exit', 4);
    await until('it has stopped', async () => (await stateOf(server, id))?.state === 'STOPPED');
    expect(await stateOf(server, id)).toEqual({ state: 'STOPPED', stopReason: 'DURATION' });
    expect(sessionPrograms(server.pid)).toEqual([]);
    const { session } = await server.query<{ session: { events: { nodes: object[] } } }>(
      'query ($id: ID!) { session(id: $id) { events { nodes { process { pid } ... on ExitEvent { exitCode } } } } }',
      { id },
    );
    expect(session.events.nodes).toContainEqual({ process: { pid }, exitCode: 4 });
  });

  it('can be stopped twice, is removed once, and is unknown then', async () => {
    const server = await sharedServer();
    const id = await startSession(server, `{ trackers: [{ exit: {} }], ${target} }`);
    for (let i = 0; i < 2; i++) {
      await stopSession(server, id);
      expect(await stateOf(server, id)).toEqual({ state: 'STOPPED', stopReason: 'REQUESTED' });
    }
    await server.query('mutation ($id: ID!) { removeSession(id: $id) }', { id });
    expect(await stateOf(server, id)).toBeNull();
    await expect(stopSession(server, id)).rejects.toThrow('UNKNOWN_SESSION');
    await expect(server.query('mutation ($id: ID!) { removeSession(id: $id) }', { id })).rejects.toThrow(
      'UNKNOWN_SESSION',
    );
  });

  it('that nobody uses for its time to live is stopped and removed; one that is asked for stays', async () => {
    const server = await sharedServer();
    const ttl = 1000;
    /** The longest time between two uses: on a machine that stood still for so long, the other one is forgotten, too. */
    let longest: number;
    let state: string | undefined;
    do {
      const input = `{ trackers: [{ exit: {} }], ${target}, ttl: "${ttl}ms" }`;
      const forgotten = await startSession(server, input);
      const used = await startSession(server, input);
      let last = performance.now();
      longest = 0;
      await until('the forgotten one is gone', async () => {
        state = (await stateOf(server, used))?.state; // asking for it is use
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
        const { sessions } = await server.query<{ sessions: { nodes: { id: string }[] } }>(
          '{ sessions { nodes { id } } }',
        );
        return !sessions.nodes.some((session) => session.id === forgotten);
      });
      state = (await stateOf(server, used))?.state;
      longest = Math.max(longest, performance.now() - last);
    } while (state === undefined && longest >= ttl);
    expect(state).toBe('RUNNING');
  });

  it('gives a late subscriber what was, then what is, without gap or duplicate, while events flow', async () => {
    const server = await sharedServer();
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], ${target}, ringBytes: 67108864, bufferBytes: 268435456 }`,
    );
    const count = 20_000;
    const prefix = '/no/late-';
    const working = work('count', prefix, count, 20);
    await until('a part has come', async () => (await statsOf(server, id)).delivered > 2000);
    const numbers: number[] = [];
    for await (const batch of server.subscribe<Events>(EVENTS, { id, replay: 1000 })) {
      expect(batch.events.gap).toBeNull();
      numbers.push(...numbersOf(batch, prefix));
      if (numbers.at(-1) === count - 1) break;
    }
    await working;
    const [first = 0] = numbers;
    expect(first).toBeGreaterThan(0);
    expect(numbers).toEqual(Array.from({ length: count - first }, (_, i) => first + i));
  });

  it('goes on after a cursor just where the reader was', async () => {
    const server = await sharedServer();
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], ${target}, ringBytes: 67108864, bufferBytes: 268435456 }`,
    );
    const count = 10_000;
    const prefix = '/no/resume-';
    const working = work('count', prefix, count, 20);
    const numbers: number[] = [];
    let cursor: string | undefined;
    let readers = 0;
    while (numbers.at(-1) !== count - 1) {
      readers += 1;
      let batches = 0;
      for await (const batch of server.subscribe<Events>(
        EVENTS,
        cursor === undefined ? { id, replay: 1_000_000 } : { id, after: cursor },
      )) {
        expect(batch.events.gap).toBeNull();
        numbers.push(...numbersOf(batch, prefix));
        cursor = batch.events.cursor;
        batches += 1;
        if (batches === 10 || numbers.at(-1) === count - 1) break;
      }
    }
    await working;
    expect(readers).toBeGreaterThan(1);
    expect(numbers).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it('refuses the cursor of another session', async () => {
    const server = await sharedServer();
    const ids = [
      await startSession(server, `{ trackers: [{ open: {} }], ${target} }`),
      await startSession(server, `{ trackers: [{ open: {} }], ${target} }`),
    ];
    await work('openat', '/no/cursor', 0, 0);
    const { value } = await server.subscribe<Events>(EVENTS, { id: ids[0], replay: 1 }).next();
    const other = server.subscribe<Events>(EVENTS, { id: ids[1], after: value?.events.cursor });
    await expect(other.next()).rejects.toThrow('BAD_CURSOR');
  });
});
