import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Receiver } from '../../test/support/receiver.js';
import { temporaryDirectory } from '../../test/support/store.js';
import { until } from '../../test/support/until.js';
import { webhookConfig } from '../../test/support/webhook-config.js';
import type { Alert, NewAlert } from '../alerts/alert.js';
import { AlertBook } from '../alerts/book.js';
import { createLog } from '../base/log.js';
import { ConfigFile } from '../base/config-file.js';
import { root } from '../base/paths.js';
import { finish } from '../base/turn.js';
import { parseWebhooks, type WebhookConfig } from './config.js';
import { placeholders } from './template.js';
import { Webhook, type WebhookOptions } from './webhook.js';

const log = createLog('silent');
const node = { id: 'n', name: 'host-1' };
const closing: (() => Promise<unknown>)[] = [];
let directory = '';
let receiver: Receiver;
let book: AlertBook;

beforeEach(async () => {
  const { path, remove } = await temporaryDirectory();
  directory = path;
  receiver = await Receiver.start();
  closing.push(remove, () => receiver.stop());
  await openBook();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function openBook(): Promise<void> {
  const opened = await AlertBook.open(directory, { log });
  book = opened;
  closing.push(() => opened.close());
}

const configOf = (more: Partial<WebhookConfig> = {}): WebhookConfig =>
  webhookConfig({ url: receiver.url, on: ['raised', 'resolved'], ...more });

function open(more: Partial<WebhookConfig> = {}, options: Partial<WebhookOptions> = {}): Webhook {
  const webhook = new Webhook({ config: configOf(more), book, node, version: '1', log, firstWaitMs: 20, ...options });
  closing.push(() => webhook.close());
  return webhook;
}

const alertOf = (title: string, more: Partial<NewAlert> = {}): NewAlert => ({
  severity: 'HIGH',
  title,
  message: 'sh <!channel> & more',
  source: 'rule:shell',
  rule: 'shell',
  session: null,
  time: '2026-01-31T08:15:30.123456789Z',
  tracker: 'exec',
  process: { pid: 7, ppid: 1, uid: 0, comm: 'sh' },
  container: { id: 'c1', name: 'web', image: 'nginx:1' },
  key: null,
  tags: ['shell'],
  attack: ['T1059'],
  ...more,
});

function raise(title: string, more?: Partial<NewAlert>): Alert {
  const alert = book.raise(alertOf(title, more));
  if (!alert) throw new Error('no alert was made');
  return alert;
}

const taken = (count: number) => until(`${count} are taken`, () => receiver.taken.length >= count);
const idsOf = (deliveries: readonly { readonly headers: Record<string, unknown> }[]) =>
  deliveries.map(({ headers }) => headers['idempotency-key']);

describe('a webhook', () => {
  it('sends what happens to alerts, signed, each with an id of its own', async () => {
    const webhook = open({ secret: Buffer.from('a secret of 16 b'), headers: { 'x-tenant': 'a' } });
    const alert = raise('one', { evidence: { event: { path: '/x' } } });
    await book.change(alert, 'COMMENTED', 'ada', 'is not sent');
    await book.change(alert, 'RESOLVED', 'ada', 'done');
    await taken(2);
    const [first, second] = receiver.taken;
    expect(JSON.parse(first?.body ?? '')).toMatchObject({
      version: 1,
      event: 'raised',
      node,
      change: null,
      alert: { id: alert.id, title: 'one', ruleName: 'shell', evidence: { event: { path: '/x' } } },
    });
    expect(JSON.parse(second?.body ?? '')).toMatchObject({
      event: 'resolved',
      change: { action: 'RESOLVED', by: 'ada', comment: 'done' },
      alert: { state: 'RESOLVED', history: [{ action: 'COMMENTED' }, { action: 'RESOLVED' }] },
    });
    for (const { headers, body } of receiver.taken) {
      const timestamp = String(headers['eunomia-timestamp']);
      const signature = createHmac('sha256', 'a secret of 16 b').update(`${timestamp}.${body}`).digest('hex');
      expect(headers).toMatchObject({
        'content-type': 'application/json',
        'x-tenant': 'a',
        'eunomia-signature': `v1=${signature}`,
        'idempotency-key': (JSON.parse(body) as { delivery: string }).delivery,
      });
      expect(Math.abs(Number(timestamp) - Date.now() / 1000)).toBeLessThan(60);
    }
    expect(new Set(idsOf(receiver.taken)).size).toBe(2);
    await until('all is done', () => webhook.stats.pending === 0);
    expect(webhook.stats).toMatchObject({ delivered: 2, problem: null, address: new URL(receiver.url).origin });
  });

  it('sends what it is for: by severity, rule, source and event, and nothing that is silenced', async () => {
    await book.addSilence({
      ...{ rule: 'quiet', source: null, container: null, image: null, key: null, severityAtMost: null },
      ...{ reason: 'r', by: 'a', until: '2999-01-01T00:00:00.000000000Z' },
    });
    open({ severity: 'MEDIUM', rules: ['sh*', 'quiet'], sources: ['rule:*'], on: ['raised'] });
    raise('too low', { severity: 'LOW' });
    raise('of another rule', { rule: 'scan' });
    raise('of a plugin', { rule: null, source: 'plugin:p' });
    raise('silenced', { rule: 'quiet' });
    await book.change(raise('sent'), 'RESOLVED', 'a', null);
    raise('the last');
    await taken(2);
    expect(receiver.titles()).toEqual(['sent', 'the last']);
  });

  it('loses nothing and sends nothing twice while the receiver is away, refuses, is busy and comes back', async () => {
    const webhook = open();
    raise('0');
    await taken(1);
    await receiver.stop();
    for (let i = 1; i <= 20; i++) raise(`${i}`);
    await until('it is found to be away', () => webhook.stats.failures >= 2);
    expect(webhook.stats.problem).toContain('ECONNREFUSED');
    receiver.answers.push({ status: 500 }, { status: 503 }, { status: 401 }, { status: 302 }, { status: 200 });
    await receiver.start();
    await taken(21);
    raise('the last');
    await taken(22);
    expect(receiver.titles()).toEqual([...Array.from({ length: 21 }, (_, i) => String(i)), 'the last']);
    expect(new Set(idsOf(receiver.requests.slice(1, 6))).size).toBe(1);
    await until('all is well', () => webhook.stats.problem === null && webhook.stats.pending === 0);
  });

  it('waits as long as it is asked to, in seconds or until a date', async () => {
    open();
    receiver.answers.push({ status: 429, retryAfter: '1' });
    raise('one');
    await taken(1);
    const [first, second] = receiver.requests;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(990);
    receiver.answers.push({ status: 503, retryAfter: new Date(Date.now() + 3000).toUTCString() });
    raise('two');
    await taken(2);
    const [, , third, fourth] = receiver.requests;
    expect((fourth?.at ?? 0) - (third?.at ?? 0)).toBeGreaterThan(1000);
  });

  it('waits at least as long as it would without, whatever it is asked', async () => {
    open();
    receiver.answers.push({ status: 503, retryAfter: '0.001' }, { status: 503, retryAfter: 'Infinity' });
    raise('one');
    await taken(1);
    const [first, second, third] = receiver.requests;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(9);
    expect((third?.at ?? 0) - (second?.at ?? 0)).toBeGreaterThan(19);
  });

  it('tells nothing that the receiver says, or its address, to viewers and the log', async () => {
    const lines: string[] = [];
    const told = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const webhook = open({ headers: { authorization: 'Bearer hunter2' } }, { log: told });
    receiver.answers.push({ status: 404 }, { status: 418 }, { status: 400 });
    const problems = new Set<string | null>();
    raise('one');
    raise('two');
    await until('all are handled', () => {
      problems.add(webhook.stats.problem);
      return webhook.stats.delivered === 1;
    });
    await receiver.stop();
    raise('three');
    await until('it is found to be away', () => webhook.stats.problem !== null);
    problems.add(webhook.stats.problem);
    expect(lines.join()).toContain('responded with status 404 (Not Found)');
    expect(lines.join()).toContain('responded with status 400 (Bad Request)');
    expect(problems).toContain(`the webhook "pager" responded with status 404 (Not Found)`);
    expect([...lines, ...problems].join()).not.toMatch(/hunter2|hidden|hook\?/);
  });

  it('is taken by a success whose body never ends, and sent once', async () => {
    const webhook = open();
    receiver.answers.push(...Array.from({ length: 4 }, () => ({ status: 200, endless: true })));
    for (let i = 0; i < 5; i++) raise(`${i}`);
    await taken(5);
    await until('all is done', () => webhook.stats.pending === 0);
    expect(receiver.titles()).toEqual(['0', '1', '2', '3', '4']);
    expect(webhook.stats).toMatchObject({ delivered: 5, problem: null });
  });

  it('gives up what the receiver will never take, and goes on', async () => {
    const webhook = open();
    receiver.answers.push({ status: 400 });
    raise('bad');
    raise('good');
    await taken(1);
    expect(receiver.titles()).toEqual(['good']);
    expect(webhook.stats).toMatchObject({ refused: 1, failures: 0 });
  });

  it('that hangs is given up, and tried again, and holds up no other', async () => {
    const other = await Receiver.start();
    closing.push(() => other.stop());
    open({ name: 'hangs' }, { timeoutMs: 2000 });
    open({ name: 'works', url: other.url });
    receiver.answers.push('hang', 'hang');
    for (let i = 0; i < 10; i++) raise(`${i}`);
    await until('the other has all', () => other.taken.length === 10);
    await taken(10);
    expect(receiver.titles()).toEqual(other.titles());
    expect(receiver.requests).toHaveLength(12);
  });

  it('that switches protocols is tried again', async () => {
    open();
    receiver.answers.push('switch', 'switch');
    raise('one');
    await taken(1);
    expect(receiver.requests).toHaveLength(3);
  });

  it('goes on after a restart where it was; a new one is not told of the past', async () => {
    const first = open();
    raise('one');
    await taken(1);
    await until('its place is kept', () => book.placeOf('pager') === book.revision);
    await receiver.stop();
    raise('two');
    const three = raise('three');
    await until('it is found to be away', () => first.stats.failures > 0);
    await first.close();
    await book.close();
    await openBook();
    await receiver.start();
    open();
    const late = await Receiver.start();
    closing.push(() => late.stop());
    open({ name: 'new', url: late.url });
    await book.change(book.byId(three.id) as Alert, 'RESOLVED', 'ada', null);
    await taken(4);
    expect(receiver.titles()).toEqual(['one', 'two', 'three', 'three']);
    await until('the new one is told', () => late.taken.length > 0);
    expect(late.titles('state')).toEqual(['RESOLVED']);
  });

  it('that was there before the first alert gets it, also when the server ends while the receiver is away', async () => {
    await receiver.stop();
    const first = open();
    await until('its place is kept', () => book.placeOf('pager') !== null);
    raise('the first');
    await until('it is found to be away', () => first.stats.failures > 0);
    for (const close of closing.splice(2).reverse()) await close();
    await openBook();
    expect(await readdir(directory)).not.toContain('alerts.ndjson.damaged');
    await receiver.start();
    open();
    await taken(1);
    expect(receiver.titles()).toEqual(['the first']);
  });

  it('is not told of what it did not want before its filter was changed', async () => {
    open({ severity: 'HIGH' });
    raise('high');
    await taken(1);
    for (let i = 0; i < 50; i++) raise(`low ${i}`, { severity: 'LOW' });
    await until('its place is kept', () => book.placeOf('pager') === book.revision);
    raise('low, just before the end', { severity: 'LOW' });
    for (const close of closing.splice(2).reverse()) await close();
    await openBook();
    open({ severity: 'LOW' });
    raise('low, and wanted', { severity: 'LOW' });
    await taken(2);
    expect(receiver.titles()).toEqual(['high', 'low, and wanted']);
  });

  it('that was left out for a while goes on where it was', async () => {
    open();
    raise('one');
    await taken(1);
    await until('its place is kept', () => book.placeOf('pager') === book.revision);
    for (const close of closing.splice(2).reverse()) await close();
    await openBook();
    raise('while it was left out');
    for (let i = 0; i < 99; i++) await book.setPlace(`another ${i}`, 0);
    open();
    await taken(2);
    expect(receiver.titles()).toEqual(['one', 'while it was left out']);
  });

  it('loses nothing to a kill -9, and repeats at most the last one, with its id', async () => {
    await book.close();
    const first = await webhookInProcess();
    for (let i = 0; i < 30; i++) first.raise(`${i}`);
    await first.written();
    await taken(10);
    await first.kill();
    const before = receiver.taken.length;
    const second = await webhookInProcess();
    second.raise('the last');
    await until('the last has come', () => receiver.titles().includes('the last'));
    await second.kill();
    const ids = idsOf(receiver.taken);
    const repeated = ids.filter((id, i) => ids.indexOf(id) < i);
    expect(repeated.length).toBeLessThanOrEqual(1);
    if (repeated.length > 0) expect(repeated[0]).toBe(ids[before - 1]);
    const once = receiver.titles().filter((_title, i) => ids.indexOf(ids[i]) === i);
    expect(once).toEqual([...Array.from({ length: 30 }, (_, i) => String(i)), 'the last']);
  });
});

describe('a body', () => {
  it('of Slack shows names as they are, and calls nobody', async () => {
    open({ template: 'slack' });
    raise('A shell');
    await taken(1);
    expect(JSON.parse(receiver.taken[0]?.body ?? '')).toEqual({
      text: '[HIGH] A shell',
      mrkdwn: false,
      attachments: [
        {
          mrkdwn_in: [],
          color: '#d9601a',
          fallback: 'sh &lt;!channel&gt; &amp; more',
          text: 'sh &lt;!channel&gt; &amp; more',
          fields: [
            { title: 'Container', value: 'web', short: true },
            { title: 'Process', value: 'sh (7)', short: true },
            { title: 'Rule', value: 'shell', short: true },
            { title: 'Node', value: 'host-1', short: true },
          ],
          ts: 1769847330,
        },
      ],
    });
  });

  it('of Slack leaves nothing to those that take its format that calls people, or hides an address behind a text', async () => {
    open({ template: 'slack' });
    raise('@channel @everyone [pay](http://evil)', {
      message: '![x](http://evil/t.png) [x][y]\n[y]: http://evil <@U1>',
      process: { pid: 7, ppid: 1, uid: 0, comm: '@here' },
      container: { id: 'c1', name: '@all', image: null },
    });
    await taken(1);
    const body = receiver.taken[0]?.body ?? '';
    expect(body).not.toMatch(/@[a-zA-Z]|\](\(|\[|:)|<|>/);
    expect(JSON.parse(body)).toMatchObject({
      text: '[HIGH] @\u200bchannel @\u200beveryone [pay]\u200b(http://evil)',
      mrkdwn: false,
      attachments: [{ mrkdwn_in: [], fields: [{ value: '@\u200ball' }, { value: '@\u200bhere (7)' }, {}, {}] }],
    });
  });

  it('of Alertmanager ends no earlier than it starts, also when the clock was set back', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    closing.push(() => Promise.resolve(vi.useRealTimers()));
    vi.setSystemTime('2026-01-31T08:00:00Z');
    open({ template: 'alertmanager' });
    const alert = raise('A shell');
    vi.setSystemTime('2026-01-29T08:00:00Z');
    raise('B shell');
    await book.change(alert, 'RESOLVED', 'ada', null);
    await taken(3);
    const all = receiver.taken.map(({ body }) => (JSON.parse(body) as { startsAt: string; endsAt: string }[])[0]);
    for (const one of all)
      expect(Date.parse(one?.endsAt ?? '')).toBeGreaterThanOrEqual(Date.parse(one?.startsAt ?? ''));
    expect(all[2]).toMatchObject({ startsAt: alert.raisedAt, endsAt: alert.raisedAt });
  });

  it('of Alertmanager has the same labels for an alert and its end', async () => {
    open({ template: 'alertmanager' });
    const alert = raise('A shell');
    await taken(1);
    await book.change(alert, 'RESOLVED', 'ada', null);
    await taken(2);
    const [[raised], [resolved]] = receiver.taken.map(
      ({ body }) => JSON.parse(body) as Record<string, string | object>[],
    ) as [Record<string, string>[], Record<string, string>[]];
    expect(raised).toMatchObject({
      labels: {
        ...{ alertname: 'shell', alert_id: alert.id, severity: 'high', source: 'rule:shell' },
        ...{ instance: 'host-1', container: 'web', image: 'nginx:1' },
      },
      annotations: { summary: 'A shell' },
      startsAt: alert.raisedAt,
    });
    expect(Date.parse(raised?.['endsAt'] ?? '')).toBeGreaterThan(Date.now() + 3_600_000);
    expect(resolved).toMatchObject({ labels: raised?.['labels'], endsAt: alert.history[0]?.at });
  });

  it('of Falcosidekick is an event of Falco', async () => {
    open({ template: 'falcosidekick', on: ['raised'] });
    const alert = raise('A shell');
    await taken(1);
    expect(JSON.parse(receiver.taken[0]?.body ?? '')).toEqual({
      uuid: `${alert.id}-${alert.revision}`,
      output: 'sh <!channel> & more',
      priority: 'Error',
      rule: 'shell',
      time: '2026-01-31T08:15:30.123456789Z',
      source: 'eunomia',
      hostname: 'host-1',
      tags: ['shell', 'T1059'],
      output_fields: {
        ...{ 'evt.type': 'exec', 'container.id': 'c1', 'container.name': 'web', 'container.image': 'nginx:1' },
        ...{ 'proc.pid': 7, 'proc.ppid': 1, 'proc.name': 'sh', 'user.uid': 0 },
      },
    });
  });
});

/** The built webhook and a book with a journal in the directory, in a process of their own. */
async function webhookInProcess() {
  const path = (file: string): string => JSON.stringify(join(root, 'build', file));
  const script = `
    import { createInterface } from 'node:readline';
    const { AlertBook } = await import(${path('alerts/book.js')});
    const { Webhook } = await import(${path('webhook/webhook.js')});
    const { createLog } = await import(${path('base/log.js')});
    const log = createLog('silent');
    const book = await AlertBook.open(${JSON.stringify(directory)}, { log });
    const config = ${JSON.stringify(configOf())};
    new Webhook({ config, book, node: ${JSON.stringify(node)}, version: '1', log, firstWaitMs: 20 });
    for await (const line of createInterface({ input: process.stdin })) {
      const alert = JSON.parse(line);
      if (alert) book.raise(alert);
      else {
        await book.setPlace('parent', book.revision);
        process.stdout.write('written\\n');
      }
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  closing.push(kill);
  return {
    kill,
    raise: (title: string): void => void child.stdin.write(`${JSON.stringify(alertOf(title))}\n`),
    written: async (): Promise<void> => {
      child.stdin.write('null\n');
      await lines.next();
    },
  };
}

/** A webhook's settings with this body, as its file has them. */
function bodyIn(settings: string) {
  const file = finish(ConfigFile.of('w.yaml', `webhooks: [{ name: a, url: "http://h", ${settings} }]`, 'BAD_WEBHOOKS'));
  return parseWebhooks(file)[0]?.body ?? null;
}

describe('a body of the user\u2019s own', () => {
  it('has values of the alert in its places, whatever is in them', async () => {
    const body = bodyIn(`body: {
      routing_key: k, event_action: "{{event}}", dedup_key: "{{alert.id}}",
      client: [1, true, null, "{{ node.name }}"],
      payload: { summary: "{{alert.severity}}: {{alert.message}} in {{alert.container.name|alert.container.id}}",
        severity: "{{alert.severity}}",
        pid: "{{alert.process.pid}}", tags: "{{alert.tags}}", all: "{{alert.tags}}/{{alert.attack}}/{{change.comment}}",
        details: "{{alert.evidence}}", by: "{{change.by}}", "__proto__": "{{alert.ruleName}}" } },
      words: { event: { raised: trigger, resolved: resolve }, alert.severity: { HIGH: 3 } }`);
    const webhook = open({ body });
    const message = '"}, "routing_key": "other", {{alert.id}} \\ \n \u2028 \ud800';
    const evidence = { event: { path: '"}' } };
    const alert = raise('one', { message, evidence });
    await book.change(alert, 'RESOLVED', 'ada', 'do"ne');
    raise('two', { container: { id: 'c2', name: null, image: null }, process: null, tags: [] });
    await taken(3);
    const [first, second, third] = receiver.taken.map(({ body: text }) => JSON.parse(text) as Record<string, unknown>);
    const payload = {
      summary: `3: ${message} in web`,
      severity: 3,
      pid: 7,
      tags: ['shell'],
      all: 'shell/T1059/',
      details: expect.objectContaining(evidence) as object,
      by: null,
    };
    expect(JSON.stringify(first?.['payload'])).toContain('"__proto__":"shell"');
    expect(first).toMatchObject({
      routing_key: 'k',
      event_action: 'trigger',
      dedup_key: alert.id,
      client: [1, true, null, 'host-1'],
      payload,
    });
    expect(second).toMatchObject({ event_action: 'resolve', payload: { by: 'ada', all: 'shell/T1059/do"ne' } });
    expect(third).toMatchObject({
      payload: { summary: '3: sh <!channel> & more in c2', pid: null, tags: [], all: '/T1059/', details: null },
    });
    await until('all is done', () => webhook.stats.pending === 0); // the receiver has the last one before this knows
    expect(webhook.stats).toMatchObject({ template: 'custom', delivered: 3 });
  });

  it('may have each value that Eunomia\u2019s own body has', async () => {
    open();
    await book.change(raise('one', { evidence: { event: {} } }), 'RESOLVED', 'ada', 'done');
    await taken(2);
    const found = new Map<string, unknown>();
    const walk = (value: unknown, path: string): void => {
      if (path !== '') found.set(path, value);
      const isOpen = typeof value === 'object' && value !== null && !Array.isArray(value) && path !== 'alert.evidence';
      if (isOpen)
        for (const [name, inner] of Object.entries(value)) walk(inner, path === '' ? name : `${path}.${name}`);
    };
    walk(JSON.parse(receiver.taken[1]?.body ?? ''), '');
    expect([...placeholders.keys()].sort()).toEqual([...found.keys()].sort());
    for (const [name, form] of placeholders) expect([name, form]).toEqual([name, formOf(name, found.get(name))]);
  });
});

function formOf(name: string, value: unknown): string {
  if (Array.isArray(value) ? name !== 'alert.history' : name === 'alert.webhooks') return 'LIST';
  return typeof value === 'object' && value !== null ? 'OBJECT' : 'VALUE';
}
