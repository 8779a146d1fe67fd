import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isStream, type OperationResult } from '../../src/api/graphql/executor.js';
import { executeLocally } from '../../src/api/graphql/local.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, type Fixture } from './support.js';

const EVENTS = 9000;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let fixture: Fixture;
/** A session that only the store remembers: what recorded it has gone. */
let session: string;

async function close({ services: { manager, stores } }: Fixture): Promise<void> {
  await manager.close();
  for (const store of stores.values()) await store.close();
}

function run(query: string, of = fixture): Promise<OperationResult> {
  return executeLocally(of.service, { query }, callerOf('admin'));
}

async function ask<Data>(query: string, of = fixture): Promise<Data> {
  const answer = await run(query, of);
  if (isStream(answer)) throw new Error('a stream');
  expect(answer.errors).toBeUndefined();
  return answer.data as Data;
}

/** All results of a subscription, which has to end by itself. */
async function all<Data>(query: string): Promise<Data[]> {
  const answer = await run(`subscription { ${query} }`);
  if (!isStream(answer)) throw new Error(JSON.stringify(answer));
  const told: Data[] = [];
  for await (const { data, errors } of answer) {
    expect(errors).toBeUndefined();
    told.push(data as Data);
  }
  return told;
}

beforeEach(async () => {
  directory = await temporaryDirectory();
  const first = await createFixture({ dataDirectory: directory.path });
  const { startSession } = await ask<{ startSession: { id: string } }>(
    'mutation { startSession(input: { trackers: [{ exit: {} }], persist: {} }) { id } }',
    first,
  );
  session = startSession.id;
  const { bytes, offsets } = batchAt(0, EVENTS);
  first.kernel.deliver({
    data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    offsets,
  });
  await until('all are there', () => first.services.manager.get(session)?.nextSeq === EVENTS);
  await ask(`mutation { stopSession(id: "${session}") { id } }`, first);
  await close(first);
  fixture = await createFixture({ dataDirectory: directory.path });
});

afterEach(async () => {
  await close(fixture);
  await directory.remove();
});

interface Change {
  readonly aggregate: {
    readonly rows: readonly { readonly key: readonly { readonly value: string }[]; readonly count: string }[];
    readonly events: string;
    readonly missed: string;
    readonly complete: boolean;
    readonly final: boolean;
  };
}

const CHANGE = 'rows { key { value } count window { from } } events missed complete final';

describe('a session that only its store remembers', () => {
  it('is followed by an aggregate as one that has ended: with the events asked for, and the end', async () => {
    const changes = await all<Change>(
      `aggregate(session: "${session}", groupBy: ["tracker"], replay: 1000000) { ${CHANGE} }`,
    );
    const last = changes.at(-1)?.aggregate;
    expect(last).toMatchObject({ events: String(EVENTS), missed: '0', complete: true, final: true });
    const rows = changes.flatMap(({ aggregate }) => aggregate.rows);
    expect(rows.at(-1)).toMatchObject({ key: [{ value: 'exit' }], count: String(EVENTS) });
  });

  it('has the newest events in it where fewer are asked for, and none by default', async () => {
    const [few] = (
      await all<Change>(`aggregate(session: "${session}", groupBy: ["tracker"], replay: 7) { ${CHANGE} }`)
    ).slice(-1);
    expect(few?.aggregate).toMatchObject({ events: '7', rows: [{ count: '7' }], final: true });
    const none = await all<Change>(`aggregate(session: "${session}", groupBy: ["tracker"]) { ${CHANGE} }`);
    expect(none.at(-1)?.aggregate).toMatchObject({ events: '0', rows: [], final: true });
  });

  it('has all in windows, which are as old as its events', async () => {
    const changes = await all<Change>(
      `aggregate(session: "${session}", groupBy: [], window: { size: "1ms" }, replay: 1000000, every: "100ms") { ${CHANGE} }`,
    );
    const windows = new Map<string, number>();
    for (const { aggregate } of changes)
      for (const row of aggregate.rows) windows.set(JSON.stringify(Reflect.get(row, 'window')), Number(row.count));
    expect([...windows.values()].reduce((sum, count) => sum + count, 0)).toBe(EVENTS);
    expect(changes.at(-1)?.aggregate).toMatchObject({ missed: '0', complete: true, final: true });
  });

  it('is filtered, and wrong input is an error before anything is read', async () => {
    const [only] = (
      await all<Change>(
        `aggregate(session: "${session}", groupBy: [], measures: [{ fn: COUNT }], replay: 1000000, where: { bootNs: { lt: "10" } }) ` +
          `{ ${CHANGE} }`,
      )
    ).slice(-1);
    expect(only?.aggregate.rows).toMatchObject([{ count: '10' }]);
    const wrong = await run(`subscription { aggregate(session: "${session}", groupBy: ["nothing"]) { final } }`);
    expect(JSON.stringify(wrong)).toContain('no event of exit has the field');
  });

  it('is sent once by sessionChanged, which then ends: it does not change any more', async () => {
    expect(await all('sessionChanged(id: "' + session + '") { id state }')).toEqual([
      { sessionChanged: { id: session, state: 'STOPPED' } },
    ]);
    expect(JSON.stringify(await run('subscription { sessionChanged(id: "nothing") { id } }'))).toContain(
      'UNKNOWN_SESSION',
    );
  });
});
