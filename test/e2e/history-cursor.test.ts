import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { startServer, startSession, statsOf, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { start } from '../support/workload.js';

/** How often the connection is dropped, and how long after the one before; where the machine is too slow for that, as fast as it goes. */
const ROUNDS = Number(process.env['EUNOMIA_CURSOR_ROUNDS'] ?? 25);
const EVERY_MS = 200;
/** How long a reader stays live. */
const LIVE_MS = 50;

const removing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const remove of removing.splice(0)) await remove();
});

// Opens /cursor/0, /cursor/1 and so on, about 20,000 a second, from the first line on to the second; then tells how many.
const workload = `
  const fs = require('node:fs');
  let next = 0;
  let timer = null;
  process.stdin.on('data', () => {
    if (timer) process.stdout.write(next + '\\n', () => process.exit());
    timer ??= setInterval(() => { for (let i = 0; i < 200; i++) try { fs.openSync('/cursor/' + next++); } catch {} }, 10);
  });
  process.stdout.write('ready\\n');`;

interface Node {
  readonly path: string | null;
}

interface Pages {
  readonly session: {
    readonly events: {
      readonly nodes: readonly Node[];
      readonly gaps: readonly object[];
      readonly pageInfo: { readonly startCursor: string | null; readonly endCursor: string | null };
    };
  };
}

interface Batches {
  readonly events: { readonly events: readonly Node[]; readonly gap: object | null; readonly cursor: string };
}

const PAGE =
  'query ($id: ID!, $after: Cursor) { session(id: $id) { events(first: 3000, after: $after, where: { open: { path: ' +
  '{ prefix: "/cursor/" } } }) { nodes { ... on OpenEvent { path } } gaps { where lost dropped } pageInfo { ' +
  'endCursor } } } }';
const BACK =
  'query ($id: ID!, $before: Cursor) { session(id: $id) { events(last: 3000, before: $before, where: { open: { path: ' +
  '{ prefix: "/cursor/" } } }) { nodes { ... on OpenEvent { path } } gaps { where lost dropped } pageInfo { ' +
  'startCursor } } } }';
const LIVE =
  'subscription ($id: ID!, $after: Cursor) { events(session: $id, after: $after, where: { open: { path: { prefix: ' +
  '"/cursor/" } } }) { events { ... on OpenEvent { path } } gap { where lost dropped } cursor } }';

class Reader {
  readonly seen: number[] = [];
  readonly gaps: object[] = [];
  cursor: string | null = null;

  take(nodes: readonly Node[], gaps: readonly object[], cursor: string | null): void {
    this.seen.push(...nodes.map(({ path }) => Number(path?.slice('/cursor/'.length))));
    this.gaps.push(...gaps);
    this.cursor = cursor ?? this.cursor;
  }

  async page(server: TestServer, id: string): Promise<void> {
    const { events } = (await server.query<Pages>(PAGE, { id, after: this.cursor })).session;
    this.take(events.nodes, events.gaps, events.pageInfo.endCursor);
  }

  /** For some time, or until all have come. */
  async live(server: TestServer, id: string, ms: number, all = Number.POSITIVE_INFINITY): Promise<void> {
    const until = performance.now() + ms;
    for await (const { events } of server.subscribe<Batches>(LIVE, { id, after: this.cursor })) {
      this.take(events.events, events.gap ? [events.gap] : [], events.cursor);
      if (performance.now() > until || this.seen.length >= all) return;
    }
  }
}

describe('one cursor', () => {
  it('runs from history into the live stream, through connections that drop, without gap or duplicate', async () => {
    const { path, remove } = await temporaryDirectory();
    removing.push(remove);
    const server = await startServer(['--engine', 'none', '--data-dir', path]);
    const child = start(process.execPath, ['-e', workload], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    // Memory for a twentieth of a second: most of what a reader comes back for is in the store only.
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], target: { pids: [${child.pid}], descendants: false }, bufferBytes: 131072, persist: {} }`,
    );
    child.stdin?.write('go\n');
    const reader = new Reader();
    await until('some are in the store only', async () => (await statsOf(server, id)).evicted > 0);
    for (let round = 0, due = performance.now(); round < ROUNDS; round++) {
      await reader.page(server, id);
      await reader.live(server, id, LIVE_MS);
      due = Math.max(due + EVERY_MS, performance.now());
      await sleep(due - performance.now());
    }
    const made = new Promise<number>((resolve) => child.stdout?.once('data', (text) => resolve(Number(text))));
    child.stdin?.write('stop\n');
    await reader.live(server, id, 60_000, await made);
    expect(reader.gaps).toEqual([]);
    expect(reader.seen.length).toBe(await made);
    expect(reader.seen.findIndex((number, i) => number !== i)).toBe(-1);
    // From the end back, out of memory and into the store: the same events.
    const back: Node[] = [];
    for (let before: string | null = null; back.length < 60_000 && back.length < reader.seen.length;) {
      const { events }: Pages['session'] = (await server.query<Pages>(BACK, { id, before })).session;
      expect(events.gaps).toEqual([]);
      back.unshift(...events.nodes);
      before = events.pageInfo.startCursor;
    }
    expect(back.map(({ path }) => Number(path?.slice('/cursor/'.length)))).toEqual(reader.seen.slice(-back.length));
    const { evicted, lost } = await statsOf(server, id);
    expect(lost).toBe(0);
    expect(evicted).toBeGreaterThan(0);
  });
});
