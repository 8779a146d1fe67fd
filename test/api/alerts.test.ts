import { createClient } from 'graphql-ws';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { NewAlert } from '../../src/alerts/alert.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { createFixture, createServer, dataOf, post, type Fixture, type FixtureOptions } from './support.js';

/** Alerts as clients see them: what people do with them, filters, counts, silences. How they last, src/alerts/journal.test.ts shows. */

const closing: (() => Promise<unknown>)[] = [];
let fixture: Fixture;
let url = '';

const TOKENS = [
  { role: 'viewer', secret: 'v' },
  { role: 'operator', secret: 'o' },
] as const;

async function serve(options: FixtureOptions = {}): Promise<() => Promise<void>> {
  fixture = await createFixture({ tokens: TOKENS, ...options });
  const { services } = fixture;
  const server = await createServer(services);
  ({ url } = server);
  let ended = false;
  const end = async (): Promise<void> => {
    if (ended) return;
    ended = true;
    await services.manager.close();
    await server.close();
    await services.alerts.close();
    for (const store of services.stores.values()) await store.close();
  };
  closing.push(end);
  return end;
}

beforeEach(() => serve());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function raise(more: Partial<NewAlert> = {}) {
  const alert = fixture.services.alerts.raise({
    severity: 'HIGH',
    title: 'A shell',
    message: 'sh started',
    source: `rule:${more.rule ?? 'shell'}`,
    rule: 'shell',
    session: null,
    time: null,
    tracker: 'exec',
    process: { pid: 7, comm: 'sh' },
    container: { id: 'c1', name: 'web-1', image: 'docker.io/library/nginx:1.27' },
    key: null,
    ...more,
  });
  if (!alert) throw new Error('no alert was made');
  return alert;
}

async function ask<Data = Record<string, unknown>>(query: string, variables: object = {}, secret = 'o') {
  return (await post<Data>(url, { query, variables }, { authorization: `Bearer ${secret}` })).json;
}

async function asked<Data>(query: string, variables: object = {}, secret = 'o'): Promise<Data> {
  return dataOf(await ask<Data>(query, variables, secret));
}

async function refused(query: string, variables: object = {}, secret = 'o') {
  const { errors } = await ask(query, variables, secret);
  return { code: errors?.[0]?.extensions?.['code'], message: errors?.[0]?.message ?? '' };
}

const HANDLED = '{ id state history { action by comment at } }';

describe('an alert', () => {
  it('has the rule, its tags, and the evidence of the moment', async () => {
    const { id } = raise({
      tags: ['shell'],
      attack: ['T1059.004'],
      evidence: {
        event: { path: '/bin/sh' },
        ancestors: [{ pid: 3, comm: 'nginx', executable: '/usr/sbin/nginx', args: ['nginx', '-g'] }],
        container: { id: 'c1', labels: { tier: 'web' } },
      },
    });
    const evidence =
      'evidence { event ancestors { pid comm executable args startTime } container events truncated } silencedBy { id }';
    const fields = `ruleName tags attack sessionId session { id } state ${evidence}`;
    const query = `query ($id: ID!) { alert(id: $id) { ${fields} } node(id: $id) { id } }`;
    expect(await asked(query, { id }, 'v')).toEqual({
      alert: {
        ruleName: 'shell',
        tags: ['shell'],
        attack: ['T1059.004'],
        sessionId: null,
        session: null,
        state: 'OPEN',
        evidence: {
          event: { path: '/bin/sh' },
          ancestors: [{ pid: 3, comm: 'nginx', executable: '/usr/sbin/nginx', args: ['nginx', '-g'], startTime: null }],
          container: { id: 'c1', labels: { tier: 'web' } },
          events: [],
          truncated: false,
        },
        silencedBy: null,
      },
      node: { id },
    });
  });

  it('keeps 64 KiB of evidence, the event before all else', async () => {
    const { id } = raise({
      evidence: {
        event: { path: '/x' },
        ancestors: [{ pid: 3, comm: 'a', args: ['y'.repeat(70_000)] }],
        events: [{ big: 'z'.repeat(70_000) }],
      },
    });
    const query = 'query ($id: ID!) { alert(id: $id) { evidence { event ancestors { pid args } events truncated } } }';
    expect(await asked(query, { id })).toEqual({
      alert: { evidence: { event: { path: '/x' }, ancestors: [{ pid: 3, args: null }], events: [], truncated: true } },
    });
  });

  it('is acknowledged, commented, resolved and reopened, by whom and when', async () => {
    const { id } = raise();
    const m = (name: string, comment?: string) =>
      asked<Record<string, { state: string; history: { action: string; by: string; comment: string | null }[] }>>(
        `mutation ($id: ID!, $comment: String${name === 'commentAlert' ? '!' : ''}) { ${name}(id: $id, comment: $comment) ${HANDLED} }`,
        { id, comment },
      ).then((data) => data[name]);
    expect(await m('acknowledgeAlert', 'mine')).toMatchObject({
      state: 'ACKNOWLEDGED',
      history: [{ action: 'ACKNOWLEDGED', by: 'token', comment: 'mine' }],
    });
    expect((await m('acknowledgeAlert'))?.history).toHaveLength(1);
    expect((await m('acknowledgeAlert', 'still mine'))?.history[1]).toMatchObject({ action: 'COMMENTED' });
    expect(await m('commentAlert', 'hm')).toMatchObject({ state: 'ACKNOWLEDGED' });
    expect(await m('resolveAlert')).toMatchObject({ state: 'RESOLVED' });
    expect(await refused(`mutation { acknowledgeAlert(id: "${id}") { id } }`)).toMatchObject({
      code: 'ALERT_RESOLVED',
      message: expect.stringContaining('reopenAlert'),
    });
    expect((await m('reopenAlert'))?.history.map(({ action }) => action)).toEqual([
      'ACKNOWLEDGED',
      'COMMENTED',
      'COMMENTED',
      'RESOLVED',
      'REOPENED',
    ]);
    expect(await asked('{ alertStatus { open acknowledged resolved lasting problem suppressed } }', {}, 'v')).toEqual({
      alertStatus: { open: 1, acknowledged: 0, resolved: 0, lasting: false, problem: null, suppressed: '0' },
    });
  });

  it('that several handle at once has each of their changes once, also after a restart', async () => {
    const { path, remove } = await temporaryDirectory();
    closing.push(remove);
    const end = await serve({ dataDirectory: path });
    const { id } = raise();
    const m = (name: string, comment?: string) =>
      asked<Record<string, object>>(
        `mutation ($id: ID!, $comment: String${name === 'commentAlert' ? '!' : ''}) { ${name}(id: $id, comment: $comment) { id state } }`,
        { id, comment },
      );
    await Promise.all([m('acknowledgeAlert'), m('acknowledgeAlert')]);
    await Promise.all([m('commentAlert', 'a'), m('commentAlert', 'b'), m('resolveAlert', 'c'), m('resolveAlert', 'd')]);
    const query = `query ($id: ID!) { alert(id: $id) ${HANDLED} }`;
    const { alert } = await asked<{ alert: { history: { action: string; comment: string | null }[] } }>(query, { id });
    expect(alert).toMatchObject({ state: 'RESOLVED' });
    expect(alert.history.map(({ action }) => action).sort()).toEqual(
      ['ACKNOWLEDGED', 'COMMENTED', 'COMMENTED', 'COMMENTED', 'RESOLVED'], // who resolves second has said something
    );
    expect(new Set(alert.history.map(({ comment }) => comment))).toEqual(new Set([null, 'a', 'b', 'c', 'd']));
    await end();
    await serve({ dataDirectory: path });
    expect(await asked(query, { id })).toEqual({ alert });
  });

  it('is handled by operators, with a comment that says something, and at most 100 times', async () => {
    const { id } = raise();
    for (const name of ['acknowledgeAlert', 'resolveAlert', 'reopenAlert'])
      expect(await refused(`mutation { ${name}(id: "${id}") { id } }`, {}, 'v')).toMatchObject({ code: 'FORBIDDEN' });
    expect(await refused(`mutation { acknowledgeAlert(id: "none") { id } }`)).toMatchObject({ code: 'UNKNOWN_ALERT' });
    const comment = 'mutation ($id: ID!, $c: String!) { commentAlert(id: $id, comment: $c) { id } }';
    expect((await refused(comment, { id, c: '' })).message).toMatch(/^comment: is empty/);
    expect((await refused(comment, { id, c: ' ' })).message).toMatch(/^comment: is blank/);
    expect((await refused(comment, { id, c: 'x'.repeat(2001) })).message).toMatch(/at most 2000/);
    for (let i = 0; i < 100; i++) await asked(comment, { id, c: `${i}` });
    expect(await refused(comment, { id, c: 'more' })).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(await asked(`mutation { resolveAlert(id: "${id}") { state } }`)).toEqual({
      resolveAlert: { state: 'RESOLVED' },
    });
  });

  it('that is resolved is raised anew; while it is acknowledged, it counts on, beyond its interval too', async () => {
    const once = { key: 'k', intervalMs: 1 };
    const first = raise(once);
    await sleep(5);
    const second = raise(once);
    expect(second.id).not.toBe(first.id);
    await asked(`mutation { acknowledgeAlert(id: "${second.id}") { id } }`);
    await sleep(5);
    expect(raise(once)).toMatchObject({ id: second.id, count: 2 });
    await asked(`mutation { resolveAlert(id: "${second.id}") { id } }`);
    const third = raise({ ...once, intervalMs: 60_000 });
    expect(third.id).not.toBe(second.id);
    expect(raise(once).id).toBe(third.id);
    await asked(`mutation { resolveAlert(id: "${third.id}") { id } }`);
    expect(raise(once).id).not.toBe(third.id);
  });

  it('has a count beyond 32 bits', async () => {
    raise().count = 3_000_000_000;
    expect(await asked('{ alerts { nodes { count } } }')).toEqual({ alerts: { nodes: [{ count: '3000000000' }] } });
  });
});

describe('alerts', () => {
  beforeEach(() => {
    raise({ rule: 'shell', severity: 'LOW', tags: ['shell'], attack: ['T1059.004'], session: 's' });
    raise({ rule: 'shell', container: { id: 'c2', name: 'db', image: 'postgres' }, key: 'k' });
    raise({ rule: 'shell', container: { id: 'c2', name: 'db', image: 'postgres' }, key: 'k' });
    raise({ rule: 'scan', severity: 'CRITICAL', container: null });
    raise({ rule: null, source: 'plugin:p' });
  });

  const titles = async (where: object) => {
    const data = await asked<{
      alerts: { totalCount: string; nodes: { ruleName: string | null; severity: string }[] };
    }>(
      'query ($where: AlertFilter) { alerts(where: $where) { totalCount nodes { ruleName severity } } }',
      { where },
      'v',
    );
    return data.alerts.nodes.map(({ ruleName, severity }) => `${ruleName} ${severity}`);
  };

  it('are filtered by each of their sides', async () => {
    expect(await titles({ severity: 'CRITICAL' })).toEqual(['scan CRITICAL']);
    expect(await titles({ rules: ['shell'] })).toEqual(['shell HIGH', 'shell LOW']);
    expect(await titles({ sources: ['plugin:p'] })).toEqual(['null HIGH']);
    expect(await titles({ container: { name: 'web-*' } })).toEqual(['null HIGH', 'shell LOW']);
    expect(await titles({ container: { image: 'nginx' } })).toEqual(['null HIGH', 'shell LOW']);
    expect(await titles({ container: { id: 'c2' } })).toEqual(['shell HIGH']);
    expect(await titles({ tags: ['shell', 'other'] })).toEqual(['shell LOW']);
    expect(await titles({ attack: ['T1059'] })).toEqual(['shell LOW']);
    expect(await titles({ session: 's' })).toEqual(['shell LOW']);
    expect(await titles({ key: 'k', states: ['OPEN'] })).toEqual(['shell HIGH']);
    expect(await titles({ states: ['RESOLVED'] })).toEqual([]);
    expect(await titles({ until: '2020-01-01T00:00:00Z' })).toEqual([]);
    expect(await titles({ since: '2020-01-01T00:00:00Z', silenced: false })).toHaveLength(4);
  });

  it('refuse a filter that says nothing', async () => {
    const query = 'query ($where: AlertFilter) { alerts(where: $where) { totalCount } }';
    const told = async (where: object) => (await refused(query, { where })).message;
    expect(await told({ states: [] })).toMatch(/^where.states: is empty/);
    expect(await told({ container: {} })).toMatch(/^where.container: is empty/);
    expect(await told({ container: { name: '[' } })).toMatch(/has a \[ without its \]/);
    expect(await told({ since: '2026-01-02T00:00:00Z', until: '2026-01-01T00:00:00Z' })).toMatch(
      /^where.until: is not later/,
    );
  });

  it('are counted by what is asked for', async () => {
    const query =
      'query ($by: [AlertGroup!]!) { alertCounts(by: $by) { rule severity container { id name } image state source alerts raised } }';
    const none = { rule: null, severity: null, container: null, image: null, state: null, source: null };
    expect(await asked(query, { by: ['RULE'] }, 'v')).toEqual({
      alertCounts: [
        { ...none, rule: 'shell', alerts: 2, raised: '3' },
        { ...none, rule: null, alerts: 1, raised: '1' },
        { ...none, rule: 'scan', alerts: 1, raised: '1' },
      ],
    });
    expect(await asked(query, { by: ['CONTAINER', 'STATE'] }, 'v')).toEqual({
      alertCounts: [
        { ...none, container: { id: 'c1', name: 'web-1' }, state: 'OPEN', alerts: 2, raised: '2' },
        { ...none, container: { id: 'c2', name: 'db' }, state: 'OPEN', alerts: 1, raised: '2' },
        { ...none, container: null, state: 'OPEN', alerts: 1, raised: '1' },
      ],
    });
    expect((await refused(query, { by: [] })).message).toMatch(/^by: is empty/);
    expect((await refused(query, { by: ['RULE', 'RULE'] })).message).toMatch(/^by\[1\]: RULE is there already/);
  });
});

describe('a silence', () => {
  const SILENCE = `mutation ($input: SilenceInput!) { silence(input: $input) {
    id rule container severityAtMost reason by until active endedAt endedBy } }`;

  it('keeps new alerts from being sent out, and they say by which', async () => {
    const { silence } = await asked<{ silence: { id: string } }>(SILENCE, {
      input: { rule: 'shell', container: 'web-*', severityAtMost: 'HIGH', for: '1h', reason: 'a test' },
    });
    expect(silence).toMatchObject({
      reason: 'a test',
      by: 'token',
      active: true,
      endedAt: null,
    });
    const heard: string[] = [];
    const reader = fixture.service.alerts.follow(
      { who: 'x', role: 'viewer', signal: new AbortController().signal },
      { severity: null, where: null, includeSilenced: false },
    );
    const reading = (async () => {
      for await (const { title } of reader) heard.push(title);
    })();
    raise({ title: 'quiet', key: 'k' });
    raise({ title: 'too severe', severity: 'CRITICAL' });
    raise({ title: 'elsewhere', container: { id: 'c2', name: 'db', image: null } });
    raise({ title: 'of the host', container: null });
    raise({ title: 'of another', rule: 'scan' });
    const query = '{ alerts(where: { silenced: true }) { nodes { title silencedBy { id reason active } } } }';
    expect(await asked(query, {}, 'v')).toMatchObject({
      alerts: { nodes: [{ title: 'quiet', silencedBy: { id: silence.id, reason: 'a test', active: true } }] },
    });
    const { endSilence } = await asked<{ endSilence: object }>(
      'mutation ($id: ID!) { endSilence(id: $id) { active endedAt endedBy } }',
      { id: silence.id },
    );
    expect(endSilence).toMatchObject({ active: false, endedBy: 'token' });
    // It would count on one that nobody was told of.
    raise({ title: 'loud', key: 'k' });
    raise({ title: 'again', key: 'k' });
    fixture.services.alerts.end();
    await reading;
    expect(heard).toEqual(['too severe', 'elsewhere', 'of the host', 'of another', 'loud']);
    expect(await asked('{ silences { id active } silences2: silences(active: true) { id } }')).toEqual({
      silences: [{ id: silence.id, active: false }],
      silences2: [],
    });
    expect(await asked('query ($id: ID!) { node(id: $id) { __typename } }', { id: silence.id })).toEqual({
      node: { __typename: 'Silence' },
    });
  });

  it('has an end within 30 days, a reason, and something that it is for', async () => {
    const told = async (input: object) => (await refused(SILENCE, { input })).message;
    const ok = { rule: 'shell', for: '1h', reason: 'a test' };
    expect(await told({ ...ok, for: null })).toMatch(/^input: needs an end/);
    expect(await told({ ...ok, until: '2099-01-01T00:00:00Z' })).toMatch(/^input: needs an end/);
    expect(await told({ ...ok, for: null, until: '2020-01-01T00:00:00Z' })).toMatch(/^input.until: .* has passed/);
    expect(await told({ ...ok, for: null, until: '2099-01-01T00:00:00Z' })).toMatch(/more than 30 days/);
    expect(await told({ ...ok, for: '721h' })).toMatch(/^input.for: .*"720h"/);
    expect(await told({ ...ok, rule: null })).toMatch(/^input: names nothing/);
    expect(await told({ ...ok, reason: ' ' })).toMatch(/^input.reason: is empty/);
    expect(await told({ ...ok, container: '[' })).toMatch(/has a \[ without its \]/);
    expect(await refused(SILENCE, { input: ok }, 'v')).toMatchObject({ code: 'FORBIDDEN' });
    expect(await refused('mutation { endSilence(id: "silence:x") { id } }')).toMatchObject({ code: 'UNKNOWN_SILENCE' });
  });
});

it('silences and handled alerts are there after a restart, and cursors keep their places', async () => {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  let end = await serve({ dataDirectory: path });
  for (const title of ['a', 'b', 'c']) raise({ title });
  const { silence } = await asked<{ silence: { id: string } }>(
    'mutation { silence(input: { rule: "shell", for: "1h", reason: "r" }) { id } }',
  );
  const pages = 'query ($after: Cursor) { alerts(first: 1, after: $after) { nodes { title } pageInfo { endCursor } } }';
  interface Page {
    readonly alerts: { readonly nodes: { title: string }[]; readonly pageInfo: { readonly endCursor: string } };
  }
  const first = await asked<Page>(pages);
  await end();
  end = await serve({ dataDirectory: path });
  expect(raise({ title: 'd' }).silencedBy?.id).toBe(silence.id);
  expect(await asked<Page>(pages, { after: first.alerts.pageInfo.endCursor })).toMatchObject({
    alerts: { nodes: [{ title: 'b' }] },
  });
  expect(await asked('{ alertStatus { lasting problem } }')).toEqual({ alertStatus: { lasting: true, problem: null } });
});

it('changes of alerts are sent to whom asks for them, and to nobody else', async () => {
  const client = createClient({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    connectionParams: { authorization: 'Bearer v' },
  });
  closing.push(async () => client.dispose());
  const changes = client.iterate<{ alertChanged: { title: string; state: string; count: string } }>({
    query: 'subscription { alertChanged(severity: HIGH) { title state count } }',
  });
  const alerts = client.iterate<{ alerts: { title: string; silencedBy: object | null } }>({
    query:
      'subscription { alerts(where: { rules: ["shell"] }, includeSilenced: true) { title silencedBy { reason } } }',
  });
  const next = async () => (await changes.next()).value.data.alertChanged;
  const book = fixture.services.alerts;
  const subscribed = [vi.spyOn(book, 'follow'), vi.spyOn(book, 'followChanges')];
  const [change, alert] = [next(), alerts.next()];
  await until('both are subscribed', () => subscribed.every(({ mock }) => mock.calls.length > 0));
  const { id } = raise({ title: 'one', key: 'k' });
  expect(await change).toEqual({ title: 'one', state: 'OPEN', count: '1' });
  expect((await alert).value.data.alerts).toEqual({ title: 'one', silencedBy: null });
  await asked(`mutation { acknowledgeAlert(id: "${id}") { id } }`);
  expect(await next()).toEqual({ title: 'one', state: 'ACKNOWLEDGED', count: '1' });
  raise({ key: 'k' });
  raise({ key: 'k' });
  expect(await next()).toEqual({ title: 'one', state: 'ACKNOWLEDGED', count: '3' });
  await asked('mutation { silence(input: { rule: "shell", for: "1h", reason: "r" }) { id } }');
  raise({ title: 'two' });
  expect((await alerts.next()).value.data.alerts).toEqual({ title: 'two', silencedBy: { reason: 'r' } });
});
