import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getIntrospectionQuery } from 'graphql';
import { root } from '#eunomia/base/paths.js';
import { buildPrograms } from './build.js';
import { median, type Report } from './figure.js';
import { ServerProcess, startSession } from './served.js';
import { WatchedLoop } from './watched.js';
import { Workload } from './workload.js';

const GOAL_MS = 100;
const EVENTS = 100_000;
const ALL =
  'tracker time bootNs cgroupId process { pid tid ppid uid gid comm startTime mountNs } ... on OpenEvent { errno ' +
  'fd path resolved resolvedState deleted directory flags resolve mode }';
const FIVE = 'time process { pid comm } ... on OpenEvent { errno path }';

const page = (session: string, first: number, fields: string): string =>
  `{ session(id: "${session}") { events(first: ${first}) { nodes { ${fields} } } } }`;

/** What the costliest things that one request may ask for take of the event loop in one piece, in CPU time. */
export async function pieces(report: Report, options: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const file = join(folder, 'loop.json');
  const workload = await Workload.start();
  process.env['EUNOMIA_BENCH_LOOP'] = file;
  process.env['EUNOMIA_BENCH_PIECES'] = '1';
  const server = await ServerProcess.start(
    ['--import', join(root, 'build/bench/loop.js')],
    ['--data-dir', join(folder, 'data')],
  );
  try {
    const loop = new WatchedLoop(server.pid, file);
    const measure = async (what: string, act: () => Promise<unknown>, rounds: number): Promise<void> => {
      const worst: number[] = [];
      for (let i = 0; i < rounds; i++) {
        await loop.longestPieceMs();
        await act();
        worst.push(await loop.longestPieceMs());
      }
      const note =
        rounds === 1
          ? 'once: it is kept then'
          : `the longest of ${rounds}; median ${Math.round(median(worst) * 10) / 10}`;
      report.add(what, Math.max(...worst), 'ms', { goal: GOAL_MS, better: 'lower' }, note);
    };
    const ask = async (query: string): Promise<void> => {
      const response = await fetch(server.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
      });
      const { errors } = (await response.json()) as { errors?: unknown };
      if (errors) throw new Error(JSON.stringify(errors).slice(0, 500));
    };
    const rounds = options.quick ? 5 : 20;

    await measure('the first introspection of the whole schema', () => ask(getIntrospectionQuery()), 1);
    const session = await startSession(server, workload.pid);
    // It holds next to nothing in memory: its page comes from the store.
    const kept = await startSession(server, workload.pid, {
      capture: 'ALL',
      persist: { store: 'EMBEDDED' },
      bufferBytes: 65_536,
    });
    await workload.nsPerCall('refused', EVENTS);
    await untilHeld(server, session, kept);
    await measure('a page of 100,000 events, five fields', () => ask(page(session, EVENTS, FIVE)), rounds);
    await measure('a page of 25,000 events, all fields', () => ask(page(session, EVENTS / 4, ALL)), rounds);
    await measure(
      'a page of 25,000 events, all fields, by graphql-js',
      () => ask(page(session, EVENTS / 4, `__uncompiled: tracker ${ALL}`)),
      rounds,
    );
    await measure('a page of 100,000 stored events, five fields', () => ask(page(kept, EVENTS, FIVE)), rounds);
    await measure(
      'an aggregate of 100,000 events',
      () => ask(`{ session(id: "${session}") { aggregate(groupBy: ["process.pid", "path"]) { count } } }`),
      rounds,
    );
    const condition = Array.from({ length: 550 }, (_, i) => `process.pid==${i}`).join('||');
    await measure(
      'the longest filter in CEL',
      () =>
        ask(`{ session(id: "${session}") { events(first: 1, where: { expr: "${condition}" }) { nodes { time } } } }`),
      rounds,
    );
    await measure('/metrics', async () => void (await (await fetch(new URL('/metrics', server.url))).text()), rounds);
  } finally {
    delete process.env['EUNOMIA_BENCH_PIECES'];
    await server.close();
    await workload.close();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Held {
  readonly session: { readonly events: { readonly totalCount: string } };
  readonly kept: { readonly persistence: { readonly written: string } };
}

/** Resolves when the one holds all events in memory, and the other in its store. */
async function untilHeld(server: ServerProcess, session: string, kept: string): Promise<void> {
  const query =
    'query Held($session: ID!, $kept: ID!) { session(id: $session) { events(first: 1) { totalCount } } ' +
    'kept: session(id: $kept) { persistence { written } } }';
  for (;;) {
    const held = await server.ask<Held>(query, { session, kept });
    if (Math.min(Number(held.session.events.totalCount), Number(held.kept.persistence.written)) >= EVENTS) return;
    await sleep(50);
  }
}
