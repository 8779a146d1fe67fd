import { getIntrospectionQuery, parse, type ExecutionResult } from 'graphql';
import { describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/base/config.js';
import type { Execution } from '../../src/api/graphql/compile.js';
import { Introspection } from '../../src/api/graphql/introspection.js';
import { checkLimits, parseWithin } from '../../src/api/graphql/limits.js';
import { contractSchema } from '../../src/api/graphql/schema.js';

const { limits } = defaultConfig;
const schema = contractSchema();

function costOf(query: string): number {
  const document = parseWithin(query, limits);
  const [operation] = document.definitions.flatMap((node) => (node.kind === 'OperationDefinition' ? [node] : []));
  if (!operation) throw new Error('no operation');
  return checkLimits(schema, document, operation, {}, limits).cost;
}

const WHOLE = getIntrospectionQuery({
  descriptions: true,
  specifiedByUrl: true,
  directiveIsRepeatable: true,
  schemaDescription: true,
  inputValueDeprecation: true,
  oneOf: true,
  experimentalDirectiveDeprecation: true,
} as Parameters<typeof getIntrospectionQuery>[0]);

describe('introspection', () => {
  it('passes under the default limits as tools ask for it', () => {
    expect(costOf(WHOLE)).toBeLessThanOrEqual(limits.cost);
    expect(costOf(getIntrospectionQuery())).toBeLessThanOrEqual(limits.cost);
    // Before graphql 16.9 tools had seven levels of ofType written out, and no fragment for them.
    const deep = 'kind name '.repeat(1) + 'ofType { kind name '.repeat(9) + '}'.repeat(9);
    expect(
      costOf(
        '{ __schema { types { kind name description fields(includeDeprecated: true) { name args { name type { ' +
          `${deep} } } type { ${deep} } } } } }`,
      ),
    ).toBeLessThanOrEqual(limits.cost);
  });

  it('costs: an operation has room for one of the whole schema, not for two', () => {
    const two = WHOLE.replace(
      '__schema {',
      '__schema { types { name fields { name args { name type { name } } type { name } } } } b: __schema { types ' +
        '{ fields { name description args { name description defaultValue isDeprecated deprecationReason } } } } ' +
        'c: __schema {',
    );
    expect(() => costOf(two)).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', details: expect.objectContaining({ limit: 'cost' }) }),
    );
  });

  it('has the limits of aliases and depth, also inside', () => {
    const aliases = Array.from({ length: limits.aliases + 1 }, (_, i) => `a${i}: __typename`).join(' ');
    expect(() => costOf(`{ __schema { queryType { ${aliases} } } }`)).toThrow(/aliases/);
    expect(() =>
      costOf(`{ ${Array.from({ length: 200 }, (_, i) => `a${i}: __schema { types { name } }`).join(' ')} }`),
    ).toThrow(/150 times|aliases/);
    expect(() =>
      costOf(`{ __schema { queryType ${'{ fields { type '.repeat(7)} { name } ${'} }'.repeat(7)} } }`),
    ).toThrow(/levels deep/);
    expect(() => costOf(`{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }`)).toThrow(
      /costs/,
    );
  });
});

describe('fragments for different types', () => {
  const eventsOf = (...fragments: readonly string[]): number =>
    costOf(`subscription { events(session: "x") { events { time ${fragments.join(' ')} } } }`);
  const exec = '... on ExecEvent { args executable cwd }';
  const open = '... on OpenEvent { path flags }';

  it('cost what the largest costs: an event is of one type', () => {
    expect(eventsOf(exec, open)).toBe(eventsOf(exec));
    expect(eventsOf(exec)).toBeGreaterThan(eventsOf(open));
  });

  it('of one type cost what they cost together, however they are written', () => {
    const twice = eventsOf('... on OpenEvent { path }', '... on OpenEvent { flags }');
    expect(twice).toBe(eventsOf(open));
    expect(eventsOf('... { ... on OpenEvent { path flags } }')).toBe(twice);
    expect(eventsOf('... on TraceEvent { cgroupId }', open)).toBe(eventsOf('cgroupId', open));
  });
});

describe('a document', () => {
  it.each([
    ['one field a thousand times', `{ ${'__typename '.repeat(1000)} }`],
    [
      'one field in two hundred fragments',
      `{ ${Array.from({ length: 200 }, (_, i) => `...f${i}`).join(' ')} } ` +
        `${Array.from({ length: 200 }, (_, i) => `fragment f${i} on Query { x: __typename }`).join(' ')}`,
    ],
    ['one fragment three hundred times', `{ ${'...f '.repeat(300)} } fragment f on Query { __typename }`],
    ['one alias for many fields', `{ sessions { ${'x: id '.repeat(200)} } }`],
  ])('with %s is refused before it is validated, which would take long', (_name, query) => {
    expect(() => parseWithin(query, { ...limits, tokens: 10_000 })).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', details: expect.objectContaining({ limit: 'repeats' }) }),
    );
    expect(parse(query).definitions.length).toBeGreaterThan(0);
  });
});

it('a document of a million lines is refused before the place of an error in it is counted, from its beginning', () => {
  for (const end of ['\n', '\r', '\r\n'])
    expect(() => parseWithin(`${end.repeat(1_000_000)}{ nope }`, limits)).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', details: expect.objectContaining({ limit: 'lines' }) }),
    );
  expect(parseWithin(`${'\r\n'.repeat(4_999)}{ nope }`, limits).definitions).toHaveLength(1);
});

describe('results of introspection', () => {
  const executionOf = (query: string, variables: Record<string, unknown> = {}): Execution => {
    const document = parse(query);
    const [operation] = document.definitions;
    if (operation?.kind !== 'OperationDefinition') throw new Error('no operation');
    return { schema, document, operation, variables, rawVariables: variables, context: {} as Execution['context'] };
  };

  it('are made once for a document and its variables, and bounded in number', () => {
    const introspection = new Introspection();
    let made = 0;
    const execute = (): ExecutionResult => ({ data: { made: ++made } });
    const ask = (execution: Execution): unknown => introspection.of(execution, execute);
    const first = executionOf(
      'query ($d: Boolean = true) { __schema { types { name @include(if: $d) } } ...x } fragment x on Query { __typename }',
    );
    expect(ask(first)).toBe(ask(first));
    expect(made).toBe(1);
    expect(ask({ ...first, variables: { d: false } })).not.toBe(ask(first));
    expect(made).toBe(2);
    for (let i = 0; i < 20; i++) ask(executionOf(`{ a${i}: __typename }`));
    ask(first);
    expect(made).toBe(23);
  });

  it('are made anew where anything else is asked for', () => {
    const introspection = new Introspection();
    let made = 0;
    const other = executionOf('{ __typename server { version } }');
    for (let i = 0; i < 2; i++) void introspection.of(other, () => ({ data: { made: ++made } }));
    expect(made).toBe(2);
  });
});
