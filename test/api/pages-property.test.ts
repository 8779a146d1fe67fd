import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { cursorOf } from '../../src/session/cursor.js';
import { layoutOf, packed, recordOf } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, type Fixture } from './support.js';

/**
 * Pages of a session, forwards and backwards, against a list of what happened: while it runs, when it has stopped, and as only its store
 * remembers it, which is switched on and off meanwhile, with memory for the newest events only.
 */

const layout = layoutOf('exit');
/** An event's process, by its place: what filters select is spread unevenly. */
const pidOf = (place: number): number => 1 + (((place * 2654435761) >>> 7) % 5);

type Step =
  | { readonly kind: 'EMIT'; readonly count: number }
  | { readonly kind: 'PERSIST'; readonly on: boolean }
  | { readonly kind: 'WRITTEN' };

/** Places are given in thousandths of the session. */
interface Asked {
  readonly first?: number;
  readonly last?: number;
  readonly after?: number;
  readonly before?: number;
  readonly pid?: number;
}

interface Page {
  readonly nodes: readonly { readonly bootNs: string }[];
  readonly totalCount: string | null;
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

/** What happened in a session, and what of it is to be found. */
interface Model {
  readonly id: string;
  readonly asked: readonly Asked[];
  /** Whether each event was to be stored. */
  readonly stored: boolean[];
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let fixture: Fixture;

const open = async (): Promise<void> => void (fixture = await createFixture({ dataDirectory: directory.path }));
const close = async (): Promise<void> => {
  await fixture.services.manager.close();
  for (const store of fixture.services.stores.values()) await store.close();
};

beforeAll(async () => {
  directory = await temporaryDirectory();
  await open();
});

afterAll(async () => {
  await close();
  await directory.remove();
});

async function ask<Data>(query: string, variables: Readonly<Record<string, unknown>> = {}): Promise<Data> {
  const answer = await executeLocally(fixture.service, { query, variables }, callerOf('admin'));
  if (isStream(answer)) throw new Error('a stream');
  expect(answer.errors).toBeUndefined();
  return answer.data as Data;
}

function emit(from: number, count: number): void {
  const records = Array.from({ length: count }, (_, i) => recordOf(layout, { bootNs: from + i, pid: pidOf(from + i) }));
  fixture.kernel.deliver(packed(records));
}

const PAGE = `query ($id: ID!, $first: Int, $last: Int, $after: Cursor, $before: Cursor, $where: EventFilter) {
  session(id: $id) { events(first: $first, last: $last, after: $after, before: $before, where: $where) {
    nodes { bootNs } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }`;

async function pageOf(
  id: string,
  { pid, ...range }: Omit<Asked, 'after' | 'before'> & Partial<Record<'after' | 'before', string>>,
) {
  const where = pid === undefined ? {} : { where: { process: { pid: { eq: pid } } } };
  const { session } = await ask<{ session: { events: Page } }>(PAGE, { id, ...range, ...where });
  return { ...session.events, places: session.events.nodes.map(({ bootNs }) => Number(bootNs)) };
}

/** Each page that was asked for, and walks through all of them in both directions. */
async function agrees({ id, asked, stored }: Model, visible: readonly number[]): Promise<void> {
  for (const { after, before, ...one } of asked) {
    const at = (thousandths?: number) =>
      thousandths === undefined ? null : Math.floor((thousandths / 1000) * stored.length);
    const [low, high] = [at(after), at(before)];
    const cursor = (name: string, place: number | null) =>
      place === null ? {} : { [name]: cursorOf(id, Math.min(place + 1, stored.length)) };
    const matching = visible.filter(
      (place) =>
        (low === null || place > low) &&
        (high === null || place < high) &&
        (one.pid === undefined || pidOf(place) === one.pid),
    );
    const isBackwards = one.last !== undefined || (one.first === undefined && high !== null);
    const expected = isBackwards ? matching.slice(-(one.last ?? 100)) : matching.slice(0, one.first ?? 100);
    const page = await pageOf(id, { ...one, ...cursor('after', low), ...cursor('before', high) });
    const question = { ...one, low, high, of: stored.length, visible: visible.length };
    expect([question, page.places]).toEqual([question, expected]);
    if (page.totalCount !== null) expect([question, page.totalCount]).toEqual([question, String(visible.length)]);
    if (expected.at(-1) !== matching.at(-1)) expect([question, page.pageInfo.hasNextPage]).toEqual([question, true]);
    if (expected[0] !== matching[0]) expect([question, page.pageInfo.hasPreviousPage]).toEqual([question, true]);
  }
  const size = Math.max(1, Math.ceil(visible.length / 3));
  const forwards: number[] = [];
  for (let after: string | null = null; ;) {
    const page = await pageOf(id, { first: size, ...(after !== null && { after }) });
    forwards.push(...page.places);
    after = page.pageInfo.endCursor;
    if (!page.pageInfo.hasNextPage || after === null) break;
  }
  expect(forwards).toEqual(visible);
  const backwards: number[] = [];
  for (let before: string | null = null; ;) {
    const page = await pageOf(id, { last: size, ...(before !== null && { before }) });
    backwards.unshift(...page.places);
    before = page.pageInfo.startCursor;
    if (!page.pageInfo.hasPreviousPage || before === null) break;
  }
  expect(backwards).toEqual(visible);
}

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('EMIT' as const), count: fc.integer({ min: 1, max: 500 }) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('PERSIST' as const), on: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('WRITTEN' as const) }) },
  ),
  { minLength: 1, maxLength: 10 },
);
const place = fc.integer({ min: 0, max: 999 });
const size = fc.integer({ min: 1, max: 700 });
const asked: fc.Arbitrary<readonly Asked[]> = fc.array(
  fc
    .tuple(
      fc.oneof(fc.record({ first: size }), fc.record({ last: size }), fc.constant({})),
      fc.record({ after: place, before: place, pid: fc.integer({ min: 1, max: 5 }) }, { requiredKeys: [] }),
    )
    .map(([end, more]) => ({ ...end, ...more })),
  { minLength: 1, maxLength: 6 },
);

/** 248 events and then 360, of which memory has the latter only. */
const two: readonly Step[] = [
  { kind: 'EMIT', count: 248 },
  { kind: 'EMIT', count: 360 },
];
/** What was wrong once: the page of all that memory has, and one that goes on behind what was neither stored nor kept. */
const examples: [readonly Step[], readonly Asked[], boolean][] = [
  [two, [{ last: 360 }], true],
  [[{ kind: 'EMIT', count: 1 }, { kind: 'PERSIST', on: false }, ...two], [{ last: 361 }], true],
];

const models: Model[] = [];

async function happens(steps: readonly Step[], asked: readonly Asked[], begins: boolean): Promise<void> {
  const { startSession } = await ask<{ startSession: { id: string } }>(
    `mutation { startSession(input: { trackers: [{ exit: {} }], bufferBytes: 65536${begins ? ', persist: {}' : ''} }) { id } }`,
  );
  const { id } = startSession;
  const model: Model = { id, asked, stored: [] };
  models.push(model);
  const { stored } = model;
  let on = begins;
  const session = fixture.services.manager.get(id);
  const visible = () => stored.flatMap((isStored, at) => (isStored || at >= (session?.oldestSeq ?? 0) ? [at] : []));
  for (const step of steps) {
    if (step.kind === 'EMIT') {
      emit(stored.length, step.count);
      for (let i = 0; i < step.count; i++) stored.push(on);
      await until('it is taken', () => session?.nextSeq === stored.length);
    } else if (step.kind === 'PERSIST') {
      await ask(`mutation { updateSession(id: "${id}", input: { persist: ${step.on ? '{}' : 'null'} }) { id } }`);
      on = step.on;
    } else {
      await until('all is written', async () => {
        const { session } = await ask<{ session: { persistence: { pending: string } | null } }>(
          `{ session(id: "${id}") { persistence { pending } } }`,
        );
        return session.persistence === null || session.persistence.pending === '0';
      });
    }
  }
  await agrees(model, visible());
  await ask(`mutation { stopSession(id: "${id}") { id } }`);
  await agrees(model, visible());
}

it('of a session that runs or has stopped are those of a list', async () => {
  await fc.assert(fc.asyncProperty(steps, asked, fc.boolean(), happens), {
    numRuns: 25,
    examples,
    interruptAfterTimeLimit: 20_000, // a busy machine tries fewer
  });
});

it('of a session that only its store remembers are those of a list', async () => {
  await close();
  await open();
  for (const model of models) {
    const visible = model.stored.flatMap((isStored, at) => (isStored ? [at] : []));
    if (visible.length > 0) await agrees(model, visible);
  }
});
