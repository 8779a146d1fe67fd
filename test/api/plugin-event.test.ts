import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, type Fixture } from './support.js';

/** What a plugin finds leads to the event: at once, and after a restart. An event's place in its session is its bootNs. */

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Which of the events the plugin gets. */
const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i).filter((i) => i % 7 === 3);

const plugin = (version: number, body = ''): string => `import { definePlugin } from 'eunomia/plugin';
let first;
export default definePlugin({ name: 'finder', version: '${version}', summary: 'A test.', reads: { exit: ['time', 'bootNs', 'process.pid'] },
  where: 'process.pid in [${numbers(0, 160).join(', ')}]',
  onBatch(events, context) {
    for (const event of events) {
      ${body}
      const number = Number(event.bootNs);
      context.emit('about', { number, id: event.id, keys: Object.keys(JSON.parse(JSON.stringify(event))).sort() }, { event });
      context.emit('of-none', { number });
      context.alert({ severity: 'LOW', title: 'about', message: String(number), event });
      if (first) context.alert({ severity: 'LOW', title: 'kept', message: String(first.number), event: first });
      first = first || { id: event.id, number };
    }
    context.alert({ severity: 'INFO', title: 'of-none', message: '' });
    context.alert({ severity: 'INFO', title: 'other', message: '', event: { id: 'event:other:1' } });
  } });`;

interface Found {
  readonly eventId: string | null;
  readonly event: {
    readonly bootNs: string;
    readonly cursor: string;
    readonly session: { readonly id: string };
  } | null;
}
type Told = Found & { readonly title: string; readonly message: string };
type Result = Found & { readonly kind: string; readonly value: { readonly number: number; readonly id: string } };

const FOUND = 'eventId event { id __typename bootNs cursor session { id } }';

async function ask<Data>({ service }: Fixture, query: string): Promise<Data> {
  const answer = await executeLocally(service, { query }, callerOf('admin'));
  if (isStream(answer)) throw new Error('a stream');
  expect(answer.errors).toBeUndefined();
  return answer.data as Data;
}

/** Returns what gives the first result of a subscription, and ends it. */
async function follow({ service }: Fixture, selection: string): Promise<() => Promise<unknown>> {
  const answer = await executeLocally(service, { query: `subscription { ${selection} }` }, callerOf('viewer'));
  if (!isStream(answer)) throw new Error(JSON.stringify(answer));
  return async () => {
    const { value } = (await answer.next()) as IteratorResult<{ readonly data: unknown }, undefined>;
    await answer.return();
    return value?.data;
  };
}

async function alertsOf(fixture: Fixture): Promise<readonly Told[]> {
  const { alerts } = await ask<{ alerts: { nodes: Told[] } }>(
    fixture,
    `{ alerts(first: 1000) { nodes { title message ${FOUND} } } }`,
  );
  return alerts.nodes;
}

async function resultsOf(fixture: Fixture, session: string): Promise<readonly Result[]> {
  const { session: told } = await ask<{ session: { plugins: { results: { nodes: Result[] } }[] } }>(
    fixture,
    `{ session(id: "${session}") { plugins { results(first: 1000) { nodes { kind value ${FOUND} } } } } }`,
  );
  return told.plugins[0]?.results.nodes ?? [];
}

/** Real records of exits. */
function emit({ kernel }: Fixture, from: number, count: number): void {
  const { bytes, offsets } = batchAt(from, count);
  kernel.deliver({
    data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    offsets,
  });
}

async function close({ services: { manager, plugins, stores, alerts } }: Fixture): Promise<void> {
  await manager.close();
  await plugins.close();
  await alerts.close();
  for (const store of stores.values()) await store.close();
}

describe.each(['trusted', 'sandboxed'])('a %s plugin', (how) => {
  it('leads to its events, from results and alerts, after new code and after a restart', async () => {
    const { path, remove } = await temporaryDirectory();
    closing.push(remove);
    const folder = join(path, 'plugins');
    await mkdir(folder);
    if (how === 'trusted') await writeFile(join(folder, 'finder.ts'), plugin(1));
    const options = { dataDirectory: path, plugins: how === 'trusted' ? folder : null };
    const fixture = await createFixture(options);
    if (how === 'sandboxed') await fixture.services.plugins.upload('finder.ts', plugin(1), false);
    const { startSession } = await ask<{ startSession: { id: string } }>(
      fixture,
      'mutation { startSession(input: { trackers: [{ exit: {} }], persist: {}, plugins: [{ name: "finder" }] }) { id } }',
    );
    const session = startSession.id;
    const next = await follow(fixture, `alerts(where: { sources: ["plugin:finder"] }) { title ${FOUND} }`);
    const nextResults = await follow(
      fixture,
      `pluginResults(session: "${session}", plugin: "finder") { results { kind ${FOUND} } }`,
    );
    const found = async (): Promise<readonly Result[]> =>
      (await resultsOf(fixture, session)).filter(({ kind }) => kind === 'about');
    emit(fixture, 0, 100);
    await until('the first are found', async () => (await found()).length === numbers(0, 100).length);
    const led = { eventId: `event:${session}:3`, event: { bootNs: '3', session: { id: session } } };
    expect(await next()).toMatchObject({ alerts: { title: 'about', ...led } });
    const { pluginResults } = (await nextResults()) as {
      readonly pluginResults: { readonly results: readonly object[] };
    };
    expect(pluginResults.results[0]).toMatchObject({ kind: 'about', ...led });
    if (how === 'trusted') await writeFile(join(folder, 'finder.ts'), plugin(2));
    else await fixture.services.plugins.upload('finder.ts', plugin(2), true);
    await until('new code runs', () => fixture.services.plugins.of(session)[0]?.plugin.facts.version === '2');
    emit(fixture, 100, 60);
    await until('all are found', async () => (await found()).length === numbers(0, 160).length);

    for (const [i, { eventId, event, value }] of (await found()).entries()) {
      const number = numbers(0, 160)[i];
      expect(value).toEqual({
        number,
        id: `event:${session}:${number}`,
        keys: ['bootNs', 'process', 'time', 'tracker'],
      });
      expect({ eventId, event }).toMatchObject({
        eventId: value.id,
        event: { id: value.id, __typename: 'ExitEvent', bootNs: String(number), session: { id: session } },
      });
    }
    expect((await resultsOf(fixture, session)).filter(({ kind }) => kind === 'of-none')[0]).toMatchObject({
      eventId: null,
      event: null,
    });

    const lead = (alerts: readonly Told[]): void => {
      const of = (title: string) => alerts.filter((alert) => alert.title === title);
      expect(of('about')).toHaveLength(numbers(0, 160).length);
      for (const { message, eventId, event } of [...of('about'), ...of('kept')])
        expect({ eventId, bootNs: event?.bootNs }).toEqual({ eventId: `event:${session}:${message}`, bootNs: message });
      expect(of('kept').length).toBeGreaterThan(0);
      for (const title of ['of-none', 'other']) expect(of(title)[0]).toMatchObject({ eventId: null, event: null });
    };
    lead(await alertsOf(fixture));
    await ask(fixture, `mutation { stopSession(id: "${session}") { id } }`);
    await close(fixture);

    const again = await createFixture({ ...options, plugins: null });
    closing.push(() => close(again));
    const alerts = await alertsOf(again);
    lead(alerts);
    const { event } = alerts.find(({ title, message }) => title === 'about' && message === '10') ?? {};
    const { session: around } = await ask<{ session: { events: { nodes: { bootNs: string }[] } } }>(
      again,
      `{ session(id: "${session}") { events(first: 3, after: "${event?.cursor}") { nodes { bootNs } } } }`,
    );
    expect(around.events.nodes.map(({ bootNs }) => bootNs)).toEqual(['11', '12', '13']);
    await ask(again, `mutation { removeSession(id: "${session}") }`);
    const gone = (await alertsOf(again)).find(({ title, message }) => title === 'about' && message === '10');
    expect(gone).toMatchObject({ eventId: `event:${session}:10`, event: null });
  }, 180_000);

  it.each([
    ["context.emit('k', {}, event);", 'emit: the third argument is { event }'],
    ["context.emit('k', {}, { events: [event] });", 'emit: the third argument is { event }'],
    ["context.emit('k', {}, { event: event.id });", 'emit: the event is one that the plugin was given'],
    [
      "context.alert({ severity: 'LOW', title: 't', message: '', event: event.id });",
      'alert: the event is one that the plugin was given',
    ],
  ])('that says %s is told what is right', async (body, message) => {
    const { path, remove } = await temporaryDirectory();
    closing.push(remove);
    if (how === 'trusted') await writeFile(join(path, 'finder.ts'), plugin(1, body));
    const fixture = await createFixture({ plugins: how === 'trusted' ? path : null });
    closing.push(() => close(fixture));
    if (how === 'sandboxed') await fixture.services.plugins.upload('finder.ts', plugin(1, body), false);
    const { startSession } = await ask<{ startSession: { id: string } }>(
      fixture,
      'mutation { startSession(input: { trackers: [{ exit: {} }], plugins: [{ name: "finder" }] }) { id } }',
    );
    emit(fixture, 0, 10);
    const [attachment] = fixture.services.plugins.of(startSession.id);
    await until('it is told', () => (attachment?.errors.length ?? 0) > 0);
    expect(attachment?.errors[0]?.message).toContain(message);
  });
});
