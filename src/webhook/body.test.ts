import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, isListType, isNonNullType, isObjectType, type GraphQLNamedType } from 'graphql';
import { expect, it } from 'vitest';
import { webhookConfig } from '../../test/support/webhook-config.js';
import type { NewAlert } from '../alerts/alert.js';
import { AlertBook } from '../alerts/book.js';
import { root } from '../base/paths.js';
import { bodyOf } from './body.js';

const whole: NewAlert = {
  severity: 'HIGH',
  title: 'one',
  message: 'x',
  source: 'rule:shell',
  rule: 'shell',
  session: 's1',
  time: '2026-01-31T08:15:30.123456789Z',
  eventId: 'e1',
  tracker: 'exec',
  process: { pid: 7, ppid: 1, uid: 0, comm: 'sh', startTime: '2026-01-31T08:15:30.000000000Z' },
  container: { id: 'c1', name: 'web', image: 'nginx:1' },
  key: 'k',
  tags: ['shell'],
  attack: ['T1059'],
  webhooks: ['pager'],
  evidence: {
    event: { path: '/x' },
    ancestors: [{ pid: 1, comm: 'init' }],
    container: { id: 'c1' },
    events: [{ id: 'e0' }],
  },
};

/** Objects that a query looks up, what is null in all that is sent, and what is of a subscriber. */
const ELSEWHERE = ['rule', 'plugin', 'session', 'event', 'evidenceSession', 'silencedBy', 'missedBefore'];
const PRIMITIVES: Readonly<Record<string, string>> = { Int: 'number', UInt32: 'number', Boolean: 'boolean' };

/** Where a value is not as a query with all fields of this type would return it. */
function unlike(type: unknown, value: unknown, path: string): string[] {
  if (isNonNullType(type)) return value === null ? [`${path} is null`] : unlike(type.ofType, value, path);
  if (value === null) return [];
  if (isListType(type))
    return Array.isArray(value)
      ? value.flatMap((item, i) => unlike(type.ofType, item, `${path}[${i}]`))
      : [`${path} is no list`];
  if (isObjectType(type)) {
    const fields = Object.values(type.getFields()).filter(({ name }) => path !== 'alert' || !ELSEWHERE.includes(name));
    const more = Object.keys(value as object).filter((key) => !fields.some(({ name }) => name === key));
    return [
      ...more.map((key) => `${path}.${key} is no field`),
      ...fields.flatMap((field) =>
        Object.hasOwn(value as object, field.name)
          ? unlike(field.type, Reflect.get(value as object, field.name), `${path}.${field.name}`)
          : [`${path}.${field.name} is missing`],
      ),
    ];
  }
  const { name } = type as GraphQLNamedType;
  return name === 'JSON' || typeof value === (PRIMITIVES[name] ?? 'string') ? [] : [`${path} is a ${typeof value}`];
}

interface Body {
  readonly alert: Readonly<Record<string, unknown>>;
  readonly change: object | null;
}

it('the body of Eunomia has of an alert what the schema has, in the same form', async () => {
  const book = new AlertBook();
  const before = book.revision;
  const alert = book.raise(whole);
  if (!alert) throw new Error('no alert was made');
  await book.change(alert, 'ACTED', 'rule:shell', 'collect: session s2', 's2');
  await book.change(alert, 'RESOLVED', 'ada', null);
  book.raise({ ...whole, key: null, process: null, container: null, evidence: null, webhooks: null, rule: null });
  const bodies: Body[] = [];
  for (let next = book.after(before); next !== null; next = book.after(next.revision)) {
    const body = bodyOf(webhookConfig())(next, { node: { id: 'n', name: 'host-1' }, delivery: 'd' });
    bodies.push(JSON.parse(JSON.stringify(body)) as Body);
  }
  expect(bodies.map(({ alert: told }) => [told['ruleName'], told['sessionId'], told['count']])).toEqual([
    ['shell', 's1', '1'],
    ['shell', 's1', '1'],
    ['shell', 's1', '1'],
    [null, 's1', '1'],
  ]);
  expect(bodies[2]?.alert).toMatchObject({ evidenceSessionId: 's2', state: 'RESOLVED' });
  const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
  for (const { alert: told, change } of bodies) {
    expect(unlike(schema.getType('Alert'), told, 'alert')).toEqual([]);
    expect(unlike(schema.getType('AlertChange'), change, 'change')).toEqual([]);
  }
});
