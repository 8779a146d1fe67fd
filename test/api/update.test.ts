import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { Recording } from '../../src/formats/index.js';
import { createReplay } from '../../src/session/replay.js';
import { specOf } from '../support/spec.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, dataOf, post } from './support.js';
import { closing, exits, factsOf, numbers, serve, start, update, type Facts } from './updating.js';

const upTo = (bound: number) => ({ bootNs: { lt: String(bound) } });
const exec = { trackers: [{ exec: {} }] };

describe('updateSession', () => {
  it('evaluates the filter that held, tells the place of the change, and reads back as what holds', async () => {
    const { fixture, url } = await serve();
    const id = await start(url, { ...exec, where: upTo(5), name: 'one' });
    fixture.kernel.emit(10);
    const changed = dataOf(await update(url, id, { where: null, name: null })).updateSession;
    expect(changed).toMatchObject({
      name: null,
      spec: { where: null, input: { where: null, name: null } },
      explain: { where: null },
      changes: [{ before: { where: upTo(5), input: { name: 'one' } } }],
    });
    fixture.kernel.emit(10);
    dataOf(await update(url, id, { where: upTo(25), target: { pids: [process.pid] } }));
    fixture.kernel.emit(10);
    expect(await numbers(url, id)).toEqual([0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
    const facts = await factsOf(url, id);
    expect(facts?.changes.map(({ before }) => before.where)).toEqual([upTo(5), null]);
    expect(await numbers(url, id, facts?.changes[0]?.cursor)).toEqual(Array.from({ length: 15 }, (_, i) => 10 + i));
    expect(await numbers(url, id, facts?.changes[1]?.cursor)).toEqual([20, 21, 22, 23, 24]);
    expect(facts).toMatchObject({
      spec: { where: upTo(25), target: { pids: [process.pid] } },
      stats: { produced: '30', lost: '0', received: '30', delivered: '20', discarded: '10' },
    });
    // What is read back is the input of the same session.
    const again = await start(url, facts?.spec.input ?? {});
    expect((await factsOf(url, again))?.spec).toEqual(facts?.spec);
    expect((await factsOf(url, again))?.changes).toEqual([]);
  });

  it('changes names, labels, capture and duration alone, and leaves what is left out', async () => {
    const { fixture, url } = await serve();
    const id = await start(url, { ...exec, where: upTo(5), labels: [{ name: 'a', value: 'b' }], for: '10m' });
    const sources = fixture.kernel.sources.length;
    const first = dataOf(await update(url, id, { name: 'two', capture: 'ALL' })).updateSession;
    expect(first).toMatchObject({
      name: 'two',
      labels: [{ name: 'a', value: 'b' }],
      capture: 'ALL',
      spec: { where: upTo(5) },
    });
    const stops = Date.parse(first?.stopsAt ?? '');
    const second = dataOf(await update(url, id, { for: '20m', labels: null })).updateSession;
    expect(second).toMatchObject({ name: 'two', labels: [], spec: { for: '20m' } });
    expect(Math.abs(Date.parse(second?.stopsAt ?? '') - stops - 600_000)).toBeLessThan(2000);
    expect(dataOf(await update(url, id, { for: null })).updateSession?.stopsAt).toBeNull();
    expect(fixture.kernel.sources).toHaveLength(sources);
  });

  it('stops after the new duration', async () => {
    const { url } = await serve();
    const id = await start(url, exec);
    dataOf(await update(url, id, { for: '3s' }));
    const stopped = async () =>
      dataOf(
        (
          await post<{ session: { stopReason: string | null } }>(url, {
            query: `{ session(id: "${id}") { stopReason } }`,
          })
        ).json,
      ).session.stopReason;
    await until('it stops', async () => (await stopped()) === 'DURATION');
  });

  it.each([
    [{}, 'input: is empty; give at least one field to change'],
    [{ capture: null }, 'input.capture: is null'],
    [{ name: '' }, 'input.name: is empty'],
    [{ name: 'ok', labels: [{ name: '', value: 'x' }] }, 'input.labels[0].name: is empty'],
    [{ name: 'ok', for: '1ms' }, 'input.for: "1ms" is out of range'],
    [{ name: 'ok', for: '10ms' }, 'input.for: "10ms" has passed'],
    [{ name: 'ok', where: { bootNs: {} } }, 'input.where.bootNs'],
    [{ name: 'ok', where: { open: {} } }, 'input.where'],
    [{ name: 'ok', target: { pids: [] } }, 'input.target.pids: is empty'],
    [{ name: 'ok', target: { pids: [4194303] } }, 'input.target.pids[0]: no process 4194303 is alive'],
    [
      { name: 'ok', target: { containers: [{ name: 'nosuch' }] } },
      'input.target.containers: no container has the name "nosuch"',
    ],
    [{ name: 'ok', target: { cgroups: ['1'], descendants: false } }, 'input.target.descendants: belongs to `pids`'],
    [{ name: 'ok', fields: ['nosuch'] }, 'input.fields[0]: no event of exec has the field "nosuch"'],
  ])('refuses %j, and changes nothing', async (input, message) => {
    const { fixture, url } = await serve();
    const id = await start(url, { ...exec, where: upTo(5) });
    const before = await factsOf(url, id);
    await until(
      '10 ms have passed',
      () => Date.now() - Date.parse(fixture.services.manager.get(id)?.startedAt ?? '') > 20,
    );
    const { data, errors } = await update(url, id, input);
    expect(data).toEqual({ updateSession: null });
    expect(errors?.[0]?.message).toContain(message);
    expect(await factsOf(url, id)).toEqual(before);
  });

  it('changes nothing where other programs cannot be loaded', async () => {
    const { fixture, url } = await serve();
    const id = await start(url, exec);
    const before = await factsOf(url, id);
    fixture.kernel.refuse = new Error('no room');
    expect((await update(url, id, { name: 'ok', target: { pids: [process.pid] } })).errors).toHaveLength(1);
    fixture.kernel.refuse = null;
    expect(await factsOf(url, id)).toEqual(before);
    fixture.kernel.emit(3);
    expect(await numbers(url, id)).toEqual([0, 1, 2]);
  });

  it('is for those who may start sessions', async () => {
    const { fixture } = await serve();
    const { id } = await fixture.service.sessions.start(callerOf('operator'), { trackers: [{ exec: {} }] });
    const { sessions } = fixture.service;
    await expect(sessions.update(callerOf('viewer'), id, { name: 'x' })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(sessions.update(callerOf('operator'), 'nosuch', { name: 'x' })).rejects.toMatchObject({
      code: 'UNKNOWN_SESSION',
    });
    expect((await sessions.update(callerOf('operator'), id, { name: 'x' })).name).toBe('x');
  });

  it('is refused once the session has ended', async () => {
    const { url } = await serve();
    const id = await start(url, exec);
    dataOf((await post(url, { query: `mutation { stopSession(id: "${id}") { id } }` })).json);
    expect((await update(url, id, { name: 'x' })).errors?.[0]?.extensions?.['code']).toBe('NOT_RUNNING');
  });

  it('can be asked for by many at once: each holds, one after the other', async () => {
    const { fixture, url } = await serve();
    const id = await start(url, exec);
    const bounds = Array.from({ length: 8 }, (_, i) => 1000 + i);
    const timer = setInterval(() => fixture.kernel.emit(5), 5);
    try {
      await Promise.all(bounds.map(async (bound) => dataOf(await update(url, id, { where: upTo(bound) }))));
    } finally {
      clearInterval(timer);
    }
    const facts = await factsOf(url, id);
    const held = [...(facts?.changes ?? []).slice(1).map(({ before }) => before.where), facts?.spec.where];
    expect(held).toHaveLength(bounds.length);
    expect(held).toEqual(expect.arrayContaining(bounds.map(upTo)));
    const all = await numbers(url, id);
    expect(all).toEqual(Array.from(all, (_, i) => i));
  });

  it('leaves it among the sessions of a container that its target held before', async () => {
    const { url } = await serve();
    const of = (name: string) => ({ containers: [{ name }], waitForContainers: true });
    const id = await start(url, { ...exec, target: of('web-*') });
    const other = await start(url, { ...exec, target: of('db') });
    const seen = async () =>
      dataOf(
        (
          await post<{ container: { sessions: readonly { id: string }[] } }>(url, {
            query: '{ container(ref: "web-1") { sessions { id } } }',
          })
        ).json,
      ).container.sessions.map((session) => session.id);
    expect(await seen()).toEqual([id]);
    dataOf(await update(url, id, { target: of('db') }));
    expect(await seen()).toEqual([id]);
    dataOf(await update(url, other, { target: null }));
    expect(await seen()).toEqual([id, other]);
  });

  it('is kept by its store, whose reports say what was excluded when', async () => {
    const { path: dataDirectory, remove } = await temporaryDirectory();
    closing.push(remove);
    const { fixture, url } = await serve({ dataDirectory });
    const id = await start(url, { trackers: [{ exit: {} }], persist: {}, where: upTo(5) });
    exits(fixture, 0);
    dataOf(await update(url, id, { where: null, name: 'renamed' }));
    exits(fixture, 10);
    dataOf((await post(url, { query: `mutation { stopSession(id: "${id}") { id } }` })).json);
    const live = await factsOf(url, id);
    await fixture.services.manager.remove(id); // in memory alone
    const stored = await factsOf(url, id);
    expect(stored).toMatchObject({ name: 'renamed', changes: live?.changes, spec: live?.spec });
    expect(await numbers(url, id)).toEqual([0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    const { json } = await post<{
      session: {
        report: { complete: boolean; restricted: readonly { restriction: string; excluded: string; value: string }[] };
      };
    }>(url, {
      query: `{ session(id: "${id}") { report { complete restricted { restriction excluded value } } } }`,
    });
    const { complete, restricted } = dataOf(json).session.report;
    const at = live?.changes[0]?.at;
    expect(complete).toBe(false);
    expect(restricted[0]).toMatchObject({
      restriction: 'session.where',
      excluded: `events that do not match the session's filter are excluded, until ${at}`,
      value: expect.stringContaining(`// until ${at}`) as string,
    });
  });

  it.each([
    { name: 'from its first event on', query: '', first: 5 },
    { name: 'where it has only some of the events', query: '&where=bootNs%20%3E%3D%203', first: 2 },
  ])('is told in a recording at its place, and a replay has it there: $name', async ({ query, first }) => {
    const { fixture, url } = await serve();
    const { services } = fixture;
    const id = await start(url, { trackers: [{ exit: {} }], where: upTo(5), name: 'one' });
    exits(fixture, 0);
    const path = `/export/${id}.ndjson?follow=true${query}`;
    const response = await fetch(url.replace('/graphql', path), { headers: { 'x-eunomia': '1' } });
    await until('a reader', () => services.manager.get(id)?.hasReaders === true);
    dataOf(await update(url, id, { where: null, name: 'two' }));
    exits(fixture, 10);
    dataOf(await update(url, id, { where: upTo(25) }));
    exits(fixture, 20);
    dataOf(await update(url, id, { labels: [{ name: 'a', value: 'b' }] }));
    dataOf((await post(url, { query: `mutation { stopSession(id: "${id}") { id } }` })).json);
    const text = await response.text();
    const kinds = text
      .trimEnd()
      .split('\n')
      .map((line) => Object.keys(JSON.parse(line) as object)[0] ?? '');
    const events = (count: number) => Array<string>(count).fill('tracker');
    expect(kinds).toEqual(
      [['eunomia'], events(first), ['change'], events(10), ['change'], events(5), ['change', 'end']].flat(),
    );

    const { path: directory, remove } = await temporaryDirectory();
    closing.push(remove);
    await writeFile(join(directory, 'it.ndjson'), text);
    const recording = await Recording.open(join(directory, 'it.ndjson'), contractSchema(), await loadTrackers());
    const { asked } = recording.session;
    expect(asked).toMatchObject({ where: 'bootNs < 5', changes: [], input: { name: 'one' } });
    const replay = await services.manager.replay(
      { ...specOf([{ name: 'exit', options: {} }]), asked },
      createReplay({
        startedAt: null,
        entries: recording.entries(),
        problem: () => recording.problem,
        speed: Infinity,
      }),
    );
    await replay.done;
    const [live, replayed] = [await factsOf(url, id), await factsOf(url, replay.id)];
    const told = ({ at, before }: Facts['changes'][number]) => ({ at, before });
    expect(replayed?.changes.map(told)).toEqual(live?.changes.map(told));
    expect(replayed?.spec).toEqual(live?.spec);
    const counts = await Promise.all(
      (replayed?.changes ?? []).map(async ({ cursor }) => (await numbers(url, replay.id, cursor)).length),
    );
    expect(counts).toEqual([15, 5, 0]);
  });
});
