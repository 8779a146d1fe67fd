import * as fc from 'fast-check';
import { getOperationAST, getVariableValues, parse, validate } from 'graphql';
import { describe, expect, it } from 'vitest';
import { executeHot, executeSlow, isCompiled, readsEvents, type Execution } from './compile.js';
import type { Caller } from '../../access/caller.js';
import { contractSchema } from './schema.js';
import { shareOf } from './share.js';

const schema = contractSchema();

const own: Readonly<Record<string, readonly string[]>> = {
  ExecEvent: ['errno', 'filename', 'args', 'argsTruncated', 'cwd', 'parentComm', 'pidNs'],
  ExitEvent: ['exitCode', 'signal', 'coreDumped', 'lifetimeNs'],
  OpenEvent: ['errno', 'fd', 'path', 'flags', 'mode'],
  TcpEvent: ['tcpOperation', 'ipVersion', 'localPort', 'sentBytes'],
};

// Selections

const directive = fc.constantFrom(
  '',
  '',
  '',
  '',
  '@include(if: $yes)',
  '@skip(if: $yes)',
  '@include(if: $maybe)',
  '@skip(if: $maybe)',
  '@skip(if: false)',
  '@include(if: $yes) @skip(if: $maybe)',
);
const alias = fc.constantFrom('', '', '', 'a: ', 'b_c: ', 'toString: ');

function fields(names: readonly string[]): fc.Arbitrary<string> {
  const field = fc.tuple(alias, fc.constantFrom(...names), directive).map(([as, name, how]) => `${as}${name} ${how}`);
  return fc.array(field, { minLength: 1, maxLength: 4 }).map((list) => list.join(' '));
}

const processes = fields(['pid', 'tid', 'comm', 'startTime', 'mountNs', '__typename']);
const containers = fc
  .tuple(
    fields(['id', 'name', 'state', 'ips', 'cgroupId', 'composeProject']),
    fc.constantFrom(
      '',
      'labels { name value }',
      'label(name: "tier")',
      'label(name: $label)',
      'pod { name uid labels { value } }',
    ),
  )
  .map((parts) => parts.join(' '));
const event = fc.oneof(
  { weight: 3, arbitrary: fields(['tracker', 'time', 'bootNs', 'cgroupId', '__typename']) },
  {
    weight: 2,
    arbitrary: fc.tuple(alias, directive, processes).map(([as, how, inner]) => `${as}process ${how} { ${inner} }`),
  },
  { weight: 2, arbitrary: fc.tuple(directive, containers).map(([how, inner]) => `container ${how} { ${inner} }`) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(...Object.keys(own))
      .chain((type) =>
        fc.tuple(directive, fields(own[type] ?? [])).map(([how, inner]) => `... on ${type} ${how} { ${inner} }`),
      ),
  },
  { weight: 1, arbitrary: directive.map((how) => `...One ${how}`) },
  {
    weight: 1,
    arbitrary: fc.tuple(directive, fields(['tracker', 'bootNs'])).map(([how, inner]) => `... ${how} { ${inner} }`),
  },
);
const selection = fc.array(event, { minLength: 1, maxLength: 5 }).map((list) => list.join(' '));
const fragment = fc
  .tuple(fields(['tracker', 'time']), processes)
  .map(([outer, inner]) => `fragment One on TraceEvent { ${outer} process { ${inner} } }`);

// Data: mostly as it should be, now and then not.

const odd = <Value>(value: fc.Arbitrary<Value>, rate: number): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 100, arbitrary: value },
    {
      weight: rate,
      arbitrary: fc.constantFrom<unknown>(
        null,
        undefined,
        Number.NaN,
        2 ** 40,
        'text',
        true,
        [],
        {},
        new Error('broken'),
      ),
    },
  );

function events(rate: number): fc.Arbitrary<unknown[]> {
  const text = fc.string({ maxLength: 8, unit: 'binary' });
  const number = odd(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), rate);
  const process = fc.record({
    pid: number,
    tid: number,
    comm: odd(text, rate),
    startTime: odd(text, rate),
    mountNs: odd(fc.oneof(fc.nat(), fc.constant(null)), rate),
  });
  const container = fc.record({
    id: odd(text, rate),
    name: odd(fc.oneof(text, fc.constant(null)), rate),
    state: odd(fc.constantFrom('RUNNING', 'UNKNOWN'), rate),
    ips: odd(fc.array(odd(text, rate), { maxLength: 2 }), rate),
    cgroupId: fc.constantFrom(4242, null),
    composeProject: fc.constant(null),
    labels: fc.constantFrom({}, { tier: 'web', b: 'c' }),
    pod: fc.constantFrom(null, { name: 'p', uid: null, labels: { x: 'y' } }),
  });
  const one = fc.record({
    __typename: fc.oneof(
      { weight: 100, arbitrary: fc.constantFrom(...Object.keys(own)) },
      { weight: rate, arbitrary: fc.constantFrom('Process', 'Nothing') },
    ),
    tracker: odd(text, rate),
    time: odd(text, rate),
    bootNs: odd(fc.nat(), rate),
    cgroupId: odd(text, rate),
    process: odd(process, rate),
    container: odd(fc.oneof(container, fc.constant(null)), rate),
    errno: odd(fc.constantFrom('ENOENT', null), rate),
    filename: odd(fc.oneof(text, fc.constant(null)), rate),
    args: odd(fc.oneof(fc.array(odd(text, rate), { maxLength: 3 }), fc.constant(null)), rate),
    argsTruncated: odd(fc.boolean(), rate),
    parentComm: odd(text, rate),
    pidNs: odd(text, rate),
    exitCode: number,
    signal: fc.constantFrom('SIGKILL', null),
    coreDumped: odd(fc.boolean(), rate),
    lifetimeNs: odd(text, rate),
    fd: number,
    path: odd(text, rate),
    flags: odd(fc.array(text, { maxLength: 2 }), rate),
    mode: number,
    tcpOperation: odd(fc.constantFrom('CONNECT', 'CLOSE'), rate),
    ipVersion: number,
    localPort: number,
    sentBytes: odd(fc.nat(), rate),
  });
  return fc.array(odd(one, rate), { maxLength: 4 });
}

const caller: Caller = { who: 'a test', role: 'admin', signal: new AbortController().signal };

function prepare(query: string, rawVariables: Readonly<Record<string, unknown>>): Execution | null {
  const document = parse(query);
  const operation = getOperationAST(document);
  if (!operation || validate(schema, document).length > 0) return null;
  const { coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], rawVariables);
  const context = { variables: rawVariables, caller, share: shareOf(caller) };
  return coerced ? { schema, document, operation, variables: coerced, rawVariables, context } : null;
}

const VARIABLES = '($yes: Boolean!, $maybe: Boolean = true, $label: String!)';
const variables = fc
  .record({ yes: fc.boolean(), label: fc.constantFrom('tier', 'none') })
  .chain((set) => fc.constantFrom<Record<string, unknown>>(set, { ...set, maybe: false }));

/** The answer as the client gets it. */
async function answer(execute: typeof executeHot, execution: Execution, root: unknown): Promise<unknown> {
  const { data, errors } = await execute(execution, root);
  return { text: JSON.stringify(data), errors: errors?.map((error) => error.toJSON()) };
}

describe('compiled execution', () => {
  for (const [what, rate, runs] of [
    ['sound data', 0, 300],
    ['broken data', 4, 500],
  ] as const) {
    it(`returns byte for byte as graphql-js on ${what}`, async () => {
      let compiledOnes = 0;
      const property = fc.asyncProperty(
        selection,
        fragment,
        variables,
        events(rate),
        async (inner, named, raw, list) => {
          const spread = inner.includes('...One') ? named : '';
          const used = `container { label(name: $label) } ... @include(if: $yes) { time } ... @skip(if: $maybe) { time }`;
          const execution = prepare(
            `subscription ${VARIABLES} { batch: events(session: "x") { events { ${inner} ${used} } gap { lost where } cursor } } ${spread}`,
            raw,
          );
          fc.pre(execution !== null);
          const root = { events: list, gap: { lost: 5, where: 'QUEUE' }, cursor: 'c' };
          expect(await answer(executeHot, execution, root)).toEqual(await answer(executeSlow, execution, root));
          if (isCompiled(execution)) compiledOnes += 1;
        },
      );
      await fc.assert(property, { numRuns: runs });
      expect(compiledOnes).toBeGreaterThanOrEqual(runs);
    });
  }

  const compiles = (query: string, raw: Record<string, unknown> = {}): boolean => {
    const execution = prepare(query, raw);
    if (!execution) throw new Error('invalid');
    return isCompiled(execution);
  };

  it('is left to graphql-js where graphql-jit would differ', () => {
    expect(compiles('subscription { events(session: "x") { events { time } } }')).toBe(true);
    expect(compiles('subscription { events(session: "x") { events { __proto__: time } } }')).toBe(false);
    expect(
      compiles(
        'query ($p: EventField!) { session(id: "x") { aggregate(groupBy: [$p]) { count } events { nodes { time } } } }',
        { p: 'time' },
      ),
    ).toBe(false);
    expect(
      compiles('mutation { a: removeSession(id: "x") b: stopSession(id: "x") { events { nodes { time } } } }'),
    ).toBe(false);
    expect(compiles('mutation { stopSession(id: "x") { events { nodes { time } } } }')).toBe(false);
  });

  it('is used only for operations that read events', () => {
    expect(readsEvents(schema, parse('{ session(id: "x") { events { nodes { time } } } }'))).toBe(true);
    expect(
      readsEvents(
        schema,
        parse('{ session(id: "x") { ...S } } fragment S on Session { events { edges { node { time } } } }'),
      ),
    ).toBe(true);
    expect(readsEvents(schema, parse('{ server { version } }'))).toBe(false);
  });

  it('passes variables on as graphql-js coerced them', async () => {
    const raw = { first: 3, id: 7 };
    const execution = prepare(
      'query ($id: ID!, $first: Int = 9, $after: Cursor) { session(id: $id) { events(first: $first, after: ' +
        '$after) { nodes { time } totalCount } } }',
      raw,
    );
    if (!execution) throw new Error('invalid');
    expect(isCompiled(execution)).toBe(true);
    const asked: unknown[] = [];
    const page = {
      events: [{ __typename: 'ExecEvent', time: 't' }],
      cursorAfter: () => 'c',
      hasNext: false,
      hasPrevious: false,
      total: 1,
      gaps: [],
    };
    const session = { page: async (request: unknown) => (asked.push(request), page) };
    const find = async (_caller: unknown, id: unknown) => (asked.push(id), session);
    const context = { variables: raw, caller, share: shareOf(caller), service: { sessions: { find } } };
    const expected = { data: { session: { events: { nodes: [{ time: 't' }], totalCount: '1' } } } };
    expect(JSON.parse(JSON.stringify(await executeHot({ ...execution, context })))).toEqual(expected);
    expect(JSON.parse(JSON.stringify(await executeSlow({ ...execution, context })))).toEqual(expected);
    const request = { first: 3, last: undefined, after: undefined, before: undefined, where: undefined };
    expect(asked).toEqual(['7', request, '7', request]);
  });

  describe('where a property throws', () => {
    const broken = {
      __typename: 'ExecEvent',
      time: 't',
      get tracker(): string {
        throw new RangeError('outside of the buffer');
      },
    };
    const sound = { __typename: 'ExecEvent', time: 't', tracker: 'exec' };
    const soundOnes = Array.from({ length: 600 }, () => sound);
    const pageOf = (rows: readonly object[]) => ({
      rows,
      cursorAfter: String,
      hasNext: false,
      hasPrevious: false,
      total: rows.length,
    });
    const brokenAlert = {
      get title(): string {
        throw new RangeError('outside of the buffer');
      },
    };
    const sessionWith = (events: readonly unknown[]) => ({
      stats: async () => ({ lost: 1 }),
      page: async () => ({ events, total: events.length, gaps: [], cursorAfter: () => 'c' }),
    });
    const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

    it.each<[string, string, object, (string | number)[]]>([
      [
        'behind a promise',
        '{ session(id: "x") { stats { lost } events { nodes { time tracker } } } }',
        { sessions: { find: async () => sessionWith([broken]) } },
        ['session', 'events', 'nodes', 0, 'tracker'],
      ],
      [
        'in the first window of a long page',
        '{ session(id: "x") { events(first: 1000) { edges { node { time tracker } } } } }',
        { sessions: { find: async () => sessionWith([broken, ...soundOnes]) } },
        ['session', 'events', 'edges', 0, 'node', 'tracker'],
      ],
      [
        'in a later window of a long page',
        '{ session(id: "x") { events(first: 1000) { nodes { time tracker } } } }',
        { sessions: { find: async () => sessionWith([...soundOnes, broken]) } },
        ['session', 'events', 'nodes', 600, 'tracker'],
      ],
      [
        'beside promises that settle later',
        '{ container(ref: "x") { id } alerts { nodes { title } } session(id: "x") { events { nodes { time } } } }',
        {
          facts: { container: () => turn().then(() => ({ id: 'c' })) },
          alerts: { page: () => pageOf([brokenAlert]) },
          sessions: { find: () => turn().then(() => sessionWith([sound])) },
        },
        ['alerts', 'nodes', 0, 'title'],
      ],
      [
        'in a long list of promises',
        '{ alerts(first: 1000) { nodes { title } } session(id: "x") { events { nodes { time } } } }',
        {
          alerts: { page: () => pageOf([brokenAlert, ...Array.from({ length: 300 }, () => ({ title: 't' }))]) },
          sessions: { find: async () => sessionWith([sound]) },
        },
        ['alerts', 'nodes', 0, 'title'],
      ],
    ])('%s, the operation ends with the error, and nothing is left unhandled', async (_where, query, service, path) => {
      const execution = prepare(query, {});
      if (!execution) throw new Error('invalid');
      expect(isCompiled(execution)).toBe(true);
      const unhandled: unknown[] = [];
      const note = (reason: unknown): void => void unhandled.push(reason);
      process.on('unhandledRejection', note);
      try {
        const context = { variables: {}, service, caller, share: shareOf(caller) };
        const run = (execute: typeof executeHot) => execute({ ...execution, context });
        const { errors } = await run(executeHot);
        expect(errors?.map((error) => [error.message, error.path])).toEqual([['outside of the buffer', path]]);
        expect((await run(executeSlow)).errors).toEqual(errors);
        for (let turns = 0; turns < 5; turns++) await turn();
      } finally {
        process.off('unhandledRejection', note);
      }
      expect(unhandled).toEqual([]);
    });
  });

  it('runs a mutation once, also when its result has errors', async () => {
    const execution = prepare('mutation { s: stopSession(id: "x") { events { nodes { time } } } }', {});
    if (!execution) throw new Error('invalid');
    let stopped = 0;
    const page = {
      events: [{ __typename: 'ExecEvent', time: null }],
      cursorAfter: () => 'c',
      hasNext: false,
      hasPrevious: false,
      total: 1,
      gaps: [],
    };
    const session = { page: async () => page };
    const service = { sessions: { stop: async () => ((stopped += 1), session) } };
    const context = { variables: {}, caller, share: shareOf(caller), service };
    const { errors, data } = await executeHot({ ...execution, context });
    expect(errors?.map(({ path }) => path)).toEqual([['s', 'events', 'nodes', 0, 'time']]);
    expect(data).toEqual({ s: { events: null } });
    expect(stopped).toBe(1);
  });
});
