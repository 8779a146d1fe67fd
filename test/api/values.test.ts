import { afterEach, describe, expect, it, vi } from 'vitest';
import { Connection } from '../../src/api/graphql/connection.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { executeLocally } from '../../src/api/graphql/local.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, type Fixture } from './support.js';

let fixture: Fixture | null = null;
afterEach(async () => {
  await fixture?.services.manager.close();
  fixture = null;
});

/** A session with ten events of exec and open in turn. Its kernel captures what `capture` names. */
async function withEvents(capture: string): Promise<Fixture & { readonly session: string }> {
  const made = await createFixture();
  fixture = made;
  const answer = await ask(
    made,
    `mutation { startSession(input: { trackers: [{ exec: {} }, { open: {} }], capture: ${capture} }) { id } }`,
  );
  const { startSession } = answer.data as { startSession: { id: string } };
  made.kernel.emit(10);
  await until('all are there', () => made.services.manager.get(startSession.id)?.nextSeq === 10);
  return { ...made, session: startSession.id };
}

async function ask({ service }: Fixture, query: string, variables: Record<string, unknown> = {}) {
  const answer = await executeLocally(service, { query, variables }, callerOf('admin'));
  if (isStream(answer)) throw new Error('a stream');
  return answer;
}

interface Value {
  readonly field: string;
  readonly type: { readonly kind: string; readonly name: string; readonly list: boolean } | null;
  readonly unit: string | null;
  readonly json: unknown;
  readonly text: string | null;
  readonly number: number | null;
  readonly list: readonly string[] | null;
  readonly buckets: readonly unknown[] | null;
}

const VALUE =
  'field unit json text number list buckets { from to count } type { kind name list nullable values { name } }';

const page = (selection: string): string =>
  `query ($session: ID!, $fields: [EventField!]!) { session(id: $session) { events(first: 2) { nodes { ${selection} } } } }`;

async function valuesOf(
  of: Fixture & { readonly session: string },
  fields: readonly string[],
  selection = VALUE,
): Promise<Value[][]> {
  const { errors, data } = await ask(of, page(`values(fields: $fields) { ${selection} }`), {
    session: of.session,
    fields,
  });
  expect(errors).toBeUndefined();
  const told = data as { session: { events: { nodes: { values: Value[] }[] } } };
  return told.session.events.nodes.map(({ values }) => values);
}

describe('values by name', () => {
  it('are those of the fields, in the order asked for, with type and unit', async () => {
    const of = await withEvents('ALL');
    const [exec = [], open = []] = await valuesOf(of, ['args', 'fd', 'process.pid', 'container.labels.tier', 'bootNs']);
    expect(exec.map(({ field }) => field)).toEqual(['args', 'fd', 'process.pid', 'container.labels.tier', 'bootNs']);
    expect(exec[0]).toMatchObject({
      type: { kind: 'TEXT', list: true, name: '[String!]' },
      json: ['run', '0'],
      text: '["run","0"]',
      number: null,
      list: ['run', '0'],
    });
    // Events of exec have none; it is no error, since those of open have it.
    expect(exec[1]).toEqual({
      field: 'fd',
      type: null,
      unit: null,
      json: null,
      text: null,
      number: null,
      list: null,
      buckets: null,
    });
    expect(open[1]).toMatchObject({ type: { kind: 'INTEGER', name: 'Int' }, json: 3, text: '3', number: 3 });
    expect(exec[4]).toMatchObject({ type: { kind: 'INTEGER' }, unit: 'NANOSECONDS', json: '0', text: '0', number: 0 });
  });

  it('are what the fields have of which they are the names, of each field of a tracker', async () => {
    const of = await withEvents('ALL');
    const { data } = await ask(of, '{ trackers(name: "exec") { fields { path type { name kind } unit } } }');
    const { trackers } = data as { trackers: { fields: { path: string; type: object; unit: string | null }[] }[] };
    const fields = trackers[0]?.fields ?? [];
    expect(fields.length).toBeGreaterThan(20);
    const [exec = []] = await valuesOf(
      of,
      fields.map(({ path }) => path),
    );
    expect(exec.map(({ field, type, unit }) => ({ path: field, type, unit }))).toMatchObject(fields);
    const own = fields.map(({ path }) => path).filter((path) => !path.includes('.'));
    const plain = await ask(
      of,
      `query ($session: ID!) { session(id: $session) { events(first: 1) { nodes { ... on ExecEvent { ${own.join(' ')} } } } } }`,
      { session: of.session },
    );
    const [event = {}] = (plain.data as { session: { events: { nodes: Record<string, unknown>[] } } }).session.events
      .nodes;
    expect(Object.fromEntries(own.map((path) => [path, exec.find(({ field }) => field === path)?.json]))).toEqual(
      event,
    );
  });

  it('can be those of all fields of all trackers at once, whatever their types', async () => {
    const of = await withEvents('ALL');
    const { data } = await ask(of, '{ trackers { fields { path } } }');
    const { trackers } = data as { trackers: { fields: { path: string }[] }[] };
    const fields = [...new Set(trackers.flatMap(({ fields: own }) => own.map(({ path }) => path)))];
    const [exec = [], open = []] = await valuesOf(of, fields, 'field unit text type { kind list }');
    expect([exec, open].map((values) => values.map(({ field }) => field))).toEqual([fields, fields]);
    const types = (values: readonly Value[]) => values.filter(({ type }) => type !== null).length;
    expect([types(exec), types(open)]).toEqual(
      await Promise.all(
        ['exec', 'open'].map(async (name) => {
          const told = await ask(of, `{ trackers(name: "${name}") { fields { path } } }`);
          return (told.data as typeof data as { trackers: { fields: object[] }[] }).trackers[0]?.fields.length;
        }),
      ),
    );
  });

  it('have the buckets of a histogram', async () => {
    const made = await createFixture();
    fixture = made;
    const { data } = await ask(made, 'mutation { startSession(input: { trackers: [{ syscount: {} }] }) { id } }');
    const { id } = (data as { startSession: { id: string } }).startSession;
    made.kernel.emit(1);
    await until('it is there', () => made.services.manager.get(id)?.nextSeq === 1);
    const [[value] = []] = await valuesOf({ ...made, session: id }, ['durationHistogramNs']);
    expect(value).toMatchObject({
      type: { kind: 'HISTOGRAM', list: false },
      unit: 'NANOSECONDS',
      number: null,
      list: null,
    });
    expect(value?.buckets).toHaveLength(5);
    expect(value?.buckets?.[0]).toEqual({ from: 1024, to: 2048, count: '9' });
    expect(JSON.parse(value?.text ?? '')).toEqual(value?.json);
  });

  it('are captured because they are named', async () => {
    const made = await createFixture();
    fixture = made;
    const trace = await ask(
      made,
      'mutation { startSession(input: { trackers: [{ exec: {} }], capture: DEMANDED }) { id } }',
    );
    const { id } = (trace.data as { startSession: { id: string } }).startSession;
    const stream = await executeLocally(
      made.service,
      {
        query:
          `subscription ($fields: [EventField!]!) { events(session: "${id}", maxDelay: "0ms") ` +
          '{ events { values(fields: $fields) { json } } } }',
        variables: { fields: ['args', 'cwd'] },
      },
      callerOf('admin'),
    );
    if (!isStream(stream)) throw new Error(JSON.stringify(stream));
    await until('both are captured', () => made.kernel.sources[0]?.masks[0] === 3n);
    made.kernel.emit(1);
    const { value } = await stream.next();
    expect(value?.data).toEqual({ events: { events: [{ values: [{ json: ['run', '0'] }, { json: '/tmp' }] }] } });
    await stream.return();
  });

  it.each([
    [['args', 'agrs'], 'fields[1]: no event has the field "agrs"', 'did you mean "args"?'],
    [[], 'fields: is empty', 'name at least one field'],
    [Array.from({ length: 1001 }, () => 'args'), 'fields: has 1001 entries', '1,000'],
  ])('of names that are wrong are one error, not one an event', async (fields, where, right) => {
    const of = await withEvents('DEFAULT');
    const { errors, data } = await ask(of, page('values(fields: $fields) { text }'), { session: of.session, fields });
    expect(data).toBeUndefined();
    expect(errors).toHaveLength(1);
    expect(errors?.[0]?.message).toContain(where);
    expect(errors?.[0]?.message).toContain(right);
    expect(errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
  });

  it('cost what so many fields cost', async () => {
    const of = await withEvents('DEFAULT');
    const fields = Array.from({ length: 200 }, () => 'tracker');
    const query = page('values(fields: $fields) { text type { name } }').replace('first: 2', 'first: 10000');
    const { errors } = await ask(of, query, { session: of.session, fields });
    expect(errors?.[0]?.extensions['code']).toBe('LIMIT_EXCEEDED');
  });

  it('are of the fields that were named, whatever characters are in the name of a label', async () => {
    const of = await withEvents('DEFAULT');
    const one = ['container.labels.tier\nprocess.pid'];
    const two = ['container.labels.tier', 'process.pid'];
    for (const fields of [one, two]) {
      const [first = []] = await valuesOf(of, fields, 'field');
      expect(first.map(({ field }) => field)).toEqual(fields);
    }
  });

  const other = (declared: string, fields: string): string =>
    `query Other(${declared}) { session(id: "x") { events { nodes { values(fields: ${fields}) { text } } } } }`;

  it.each([
    [
      'is text there',
      `query Asked($f: String) { trackers(name: $f) { name } } ${other('$f: [EventField!]!', '$f')}`,
      'exec',
    ],
    [
      'is null there',
      `query Asked($f: String) { trackers(name: $f) { name } } ${other('$f: [EventField!]!', '$f')}`,
      null,
    ],
    [
      'is a number there',
      `query Asked($f: Int) { alerts(first: $f) { totalCount } } ${other('$f: EventField!', '["args", $f]')}`,
      5,
    ],
    ['is not there', `query Asked { server { version } } ${other('$f: EventField!', '["args", $f]')}`, undefined],
  ])('of another operation are not checked: its variable %s', async (_what, query, f) => {
    const { service } = await withEvents('DEFAULT');
    const answer = await executeLocally(
      service,
      { query, variables: { f }, operationName: 'Asked' },
      callerOf('admin'),
    );
    expect(answer).not.toHaveProperty('errors');
    expect(answer).toHaveProperty('data');
  });

  it('are read a few events at a time where there are many of each', async () => {
    const of = await withEvents('DEFAULT');
    const look = vi.spyOn(Connection.prototype, 'look');
    const fields = Array.from({ length: 1000 }, () => 'tracker');
    const query = page('values(fields: $fields) { text }').replace('first: 2', 'first: 10');
    const { data } = await ask(of, query, { session: of.session, fields });
    const { nodes } = (data as { session: { events: { nodes: { values: object[] }[] } } }).session.events;
    expect(nodes.map(({ values }) => values.length)).toEqual(Array.from({ length: 10 }, () => 1000));
    const windows = look.mock.calls.map(([from, to]) => to - from);
    look.mockRestore();
    expect(windows.reduce((sum, length) => sum + length, 0)).toBe(10);
    expect(Math.max(...windows)).toBeLessThanOrEqual(3);
  });
});
