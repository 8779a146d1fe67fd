import fc from 'fast-check';
import { getOperationAST, getVariableValues, parse, validate } from 'graphql';
import { describe, expect, it } from 'vitest';
import { executeSlow, type Execution } from '../graphql/compile.js';
import type { RequestContext } from '../graphql/context.js';
import { contractSchema } from '../graphql/schema.js';
import { TextEncoders, type EncodedResult, type TextEncoder } from './text.js';
import { finish } from '../../base/turn.js';
import { createContainer } from '../../inventory/container.js';
import { eventTypeName } from '../../base/names.js';
import { kinds } from '../../btf/kind.js';
import type { RecordField, RecordLayout } from '../../btf/layout.js';
import { RecordBatch, type BatchContext, type EventBatch } from '../../record/batch.js';
import { Delivery } from '../../record/delivery.js';
import { RowBatch } from '../../record/row.js';
import { compileView } from '../../record/view.js';
import { loadTrackers } from '../../catalog/load.js';
import { layoutOf, packed, recordOf, type Values } from '../../../test/support/record.js';
import { holdsFor } from '../../../test/support/property.js';

const schema = contractSchema();
const trackers = await loadTrackers();
const layouts = trackers.map(({ name }) => layoutOf(name));
const views = trackers.map((tracker, i) => compileView(tracker, layouts[i] as RecordLayout));
const containers = [
  null,
  {
    ...createContainer('c'.repeat(64), 'docker'),
    name: 'wéb "1"\u2028',
    ips: ['10.0.0.1', '::1'],
    cgroupId: 2 ** 53 - 1,
    pid: 77,
  },
  { ...createContainer('d'.repeat(64), 'podman'), image: '\ud800 lone' },
];
const context: BatchContext = {
  views,
  containerAt: (view, at) => containers[view.getUint8(at + 8) % containers.length] ?? null,
};

const placeAt = (clock: RecordBatch['clock']) => ({ clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 });
const second = { seconds: 1, nanoseconds: 0 };
const sink = { head: '{"id":"1","payload":', tail: '}' };

// Records

const integer = fc.oneof(
  fc.nat(200),
  fc.constantFrom(0, 1, 9, 10, 99, 100, 999_999_999, 1_000_000_000, 2 ** 31 - 1),
  fc.integer({ min: 0, max: 2 ** 31 - 1 }),
);
const negative = fc.oneof({ weight: 6, arbitrary: integer }, { weight: 1, arbitrary: integer.map((n) => -n) });
const long = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(
    0n,
    1n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 53n - 1n,
    2n ** 63n,
    2n ** 64n - 2n ** 32n,
    2n ** 64n - 1n,
  ),
  fc.bigInt({ min: 0n, max: 2n ** 50n }),
);
/** Bytes as a kernel has them: mostly text, now and then anything. */
const content = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 90 }).map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.string({ maxLength: 40, unit: 'grapheme' }).map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
);

type Part =
  | { readonly name: string; readonly value: number | bigint | Uint8Array }
  | { readonly name: string; readonly tail: Buffer | null };

function part(field: RecordField, rare: boolean): fc.Arbitrary<Part> {
  const { name, size } = field;
  const kind = kinds[field.kind];
  if (kind.form === 'container') return fc.constant({ name, tail: null }); // at another field's place
  if (kind.behind) return fc.option(content, { freq: 4 }).map((tail) => ({ name, tail }));
  switch (kind.form) {
    case 'fixed':
      return content.map((bytes) => ({ name, value: new Uint8Array(bytes.subarray(0, size)) }));
    case 'wide':
    case 'time':
      // A time of less than 500 years.
      return (
        kind.form === 'time' || name.toLowerCase().endsWith('bootns') ? fc.bigInt({ min: 0n, max: 2n ** 54n }) : long
      ).map((value) => ({
        name,
        value,
      }));
    case 'flag':
      return fc.nat(1).map((value) => ({ name, value }));
    case 'integer':
    case 'code':
      // A value without a name is null, which the schema does not allow.
      if (field.kind === 'enum')
        return fc.integer({ min: rare ? 0 : 1, max: field.values.size }).map((value) => ({ name, value }));
      return (kind.signed || rare ? negative : integer).map((value) => ({ name, value: value % 2 ** (8 * size - 1) }));
    case 'text':
    case 'made':
      return fc.uint8Array({ minLength: size, maxLength: size }).map((value) => ({ name, value }));
  }
}

function record(index: number, rare: boolean): fc.Arbitrary<Uint8Array> {
  const layout = layouts[index] as RecordLayout;
  const fields = [...layout.header.values(), ...layout.fields.values()].filter(({ name }) => name !== 'tracker');
  return fc.tuple(...fields.map((field) => part(field, rare))).map((parts) => {
    const values: Record<string, Values[string]> = { tracker: index };
    const tails: Buffer[] = [];
    let at = layout.size;
    for (const each of parts) {
      if ('value' in each) values[each.name] = each.value;
      else if (each.tail) {
        values[each.name] = ((each.tail.length << 16) | at) >>> 0;
        tails.push(each.tail);
        at += each.tail.length;
      }
    }
    return recordOf(layout, values, Buffer.concat(tails));
  });
}

const clock = fc.record({ seconds: fc.nat(2_000_000_000), nanoseconds: fc.nat(999_999_999) });
const batches = (rare: boolean) =>
  fc
    .array(
      fc.tuple(
        fc.array(
          fc.nat(trackers.length - 1).chain((index) => record(index, rare)),
          { maxLength: 4 },
        ),
        clock,
      ),
      { minLength: 1, maxLength: 2 },
    )
    .map((list) =>
      list.map(([records, offset]) => {
        const { data, offsets } = packed(records);
        return new RecordBatch(data, offsets, context, placeAt(offset));
      }),
    );
const gap = fc.option(
  fc.constant({
    from: '2026-01-31T08:15:30.000000000Z',
    to: '2026-01-31T08:15:31.000000000Z',
    lost: 3,
    dropped: 2 ** 40,
    where: 'QUEUE' as const,
  }),
);

/** As a stream does: no slice is empty. */
function deliver(list: readonly EventBatch[], missing: Delivery['gap'] = null): Delivery {
  return new Delivery(
    list.filter(({ count }) => count).map((batch) => ({ batch, from: 0, to: batch.count })),
    missing,
    'cursor',
  );
}

// Selections

const leaves = (type: string): string[] =>
  Object.values(
    (
      schema.getType(type) as {
        getFields(): Record<string, { name: string; resolve?: unknown; args: readonly unknown[]; type: unknown }>;
      }
    ).getFields(),
  )
    .filter((field) => !field.resolve && !field.args.length && !/Process|Container|Pod/.test(String(field.type)))
    .map(({ name }) => name);
const directive = fc.constantFrom(
  '',
  '',
  '',
  '@include(if: $yes)',
  '@skip(if: $yes)',
  '@include(if: $no)',
  '@skip(if: false)',
);
const alias = fc.constantFrom('', '', '', 'a: ', 'b_c: ', 'toString: ');
const some = (names: readonly string[]) =>
  fc
    .array(
      fc.tuple(alias, fc.constantFrom(...names, '__typename'), directive).map((parts) => parts.join('')),
      { minLength: 1, maxLength: 5 },
    )
    .map((list) => list.join(' '));
const types = trackers.map(({ name }) => eventTypeName(name));
const event = fc.oneof(
  some(['tracker', 'time', 'bootNs', 'cgroupId']),
  fc.tuple(alias, directive, some(leaves('Process'))).map(([as, how, inner]) => `${as}process ${how} { ${inner} }`),
  fc.tuple(directive, some(leaves('Container'))).map(([how, inner]) => `container ${how} { ${inner} }`),
  fc
    .constantFrom(...types)
    .chain((type) =>
      fc.tuple(directive, some(leaves(type))).map(([how, inner]) => `... on ${type} ${how} { ${inner} }`),
    ),
  directive.map((how) => `...One ${how}`),
);
const selection = fc.array(event, { minLength: 1, maxLength: 6 }).map((list) => list.join(' '));
const document = fc
  .tuple(
    alias,
    selection,
    fc.constantFrom('', 'gap { lost dropped where from }', 'cursor __typename gap { to }', 'more: events { tracker }'),
    directive,
  )
  .map(
    ([as, events, more, how]) =>
      `subscription S($yes: Boolean!, $no: Boolean!) { ${as}events(session: "s") { ${more} events { ${events} ` +
      `tracker } c: cursor ${how} } } fragment One on TraceEvent { bootNs process { uid mountNs } }`,
  );

function prepare(query: string): Execution | null {
  const parsed = parse(query);
  if (validate(schema, parsed).length) return null;
  const operation = getOperationAST(parsed);
  if (!operation) return null;
  const rawVariables = { yes: true, no: false };
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], rawVariables);
  return { schema, document: parsed, operation, variables: coerced, rawVariables, context: {} as RequestContext };
}

function textOf(execution: Execution, delivery: Delivery): string | null {
  const encoder = new TextEncoders().open(execution, sink);
  if (!encoder) throw new Error('the selection has no plan');
  return finish(encoder.encode(delivery))?.stringify() ?? null;
}

function encoded(encoder: TextEncoder | null | undefined, delivery: Delivery): EncodedResult | null {
  return encoder ? finish(encoder.encode(delivery)) : null;
}

const open = trackers.findIndex(({ name }) => name === 'open');
function opens(count: number): EventBatch {
  const layout = layouts[open] as RecordLayout;
  const path = Buffer.from(`/etc/${'x'.repeat(60)}`);
  const { data, offsets } = packed(
    Array.from({ length: count }, (_, i) =>
      recordOf(layout, { tracker: open, pid: i, path: ((path.length << 16) | layout.size) >>> 0 }, path),
    ),
  );
  return new RecordBatch(data, offsets, context, placeAt(second));
}
const pathOnly = 'subscription { events(session: "s") { events { ... on OpenEvent { path } } cursor } }';

describe('the text of a batch', () => {
  it.each([
    ['sound', false],
    ['odd', true],
  ])('returns what graphql-js returns, in its order, for any selection over %s records', async (_name, rare) => {
    let written = 0;
    await holdsFor(
      fc.property(document, batches(rare), gap, (query, list, missing) => {
        const execution = prepare(query);
        fc.pre(execution !== null);
        if (!execution) return;
        const delivery = deliver(list, missing);
        const reference = executeSlow(execution, delivery) as { data?: unknown; errors?: unknown };
        const text = textOf(execution, delivery);
        if (text === null) return void expect(reference.errors).toBeDefined();
        written++;
        expect(Buffer.byteLength(text)).toBe(text.length);
        expect(reference.errors).toBeUndefined();
        expect(JSON.stringify((JSON.parse(text) as { payload: unknown }).payload)).toBe(JSON.stringify(reference));
      }),
      { numRuns: 150 },
    );
    expect(written).toBeGreaterThan(rare ? 10 : 50);
  });

  it('tells of nothing itself where a value does not fit the schema: graphql-js does', () => {
    const layout = layouts[open] as RecordLayout;
    const { data, offsets } = packed([recordOf(layout, { tracker: open, pid: 2 ** 32 - 1 })]);
    const delivery = deliver([new RecordBatch(data, offsets, context, placeAt(second))]);
    const execution = prepare('subscription { events(session: "s") { events { process { pid } } } }') as Execution;
    expect(textOf(execution, delivery)).toBeNull();
    expect(executeSlow(execution, delivery)).toMatchObject({
      errors: [{ path: ['events', 'events', 0, 'process', 'pid'] }],
    });
  });

  it.each(['container { labels { name } }', 'container { label(name: "x") }', 'container { pod { name } }'])(
    'is left to an executor when it selects %s',
    (inner) => {
      expect(
        new TextEncoders().open(
          prepare(`subscription { events(session: "s") { events { ${inner} } } }`) as Execution,
          sink,
        ),
      ).toBeNull();
    },
  );

  it('is left to an executor when the events are no records', () => {
    const batch = opens(2);
    const delivery = deliver([batch, new RowBatch([batch.event(0)], placeAt(second))]);
    expect(textOf(prepare(pathOnly) as Execution, delivery)).toBeNull();
  });

  it('reads a container anew for each batch: its facts change', () => {
    const container = { ...createContainer('e'.repeat(64), 'docker'), name: 'before' };
    const named: BatchContext = { views, containerAt: () => container };
    const { data, offsets } = packed([recordOf(layouts[open] as RecordLayout, { tracker: open })]);
    const delivery = deliver([new RecordBatch(data, offsets, named, placeAt(second))]);
    const encoder = new TextEncoders().open(
      prepare('subscription { events(session: "s") { events { container { name } } } }') as Execution,
      sink,
    );
    expect(encoded(encoder, delivery)?.stringify()).toContain('before');
    container.name = 'after';
    expect(encoded(encoder, delivery)?.stringify()).toContain('after');
  });
});

describe('the text of a delivery', () => {
  it('is written in pieces, so that others have their turns while it is made', () => {
    const work = new TextEncoders().open(prepare(pathOnly) as Execution, sink)?.encode(deliver([opens(4096)]));
    let pieces = 1;
    while (work?.next().done === false) pieces += 1;
    expect(pieces).toBe(8);
  });
});

describe('operations with equal selections', () => {
  it('share the text of a batch, each in an envelope of its own', () => {
    const encoders = new TextEncoders();
    const delivery = deliver([opens(1000), opens(2)]);
    const [one, two, other] = [
      pathOnly,
      'subscription { events(session: "s") { events { ...P } cursor } } fragment P on OpenEvent { path }',
      pathOnly.replace('path', 'p: path'),
    ].map((query, i) => encoders.open(prepare(query) as Execution, { head: `{"id":${i},"payload":`, tail: '}' }));
    const parts = [one, two, other].map((encoder) => encoded(encoder, delivery)?.parts ?? []);
    const texts = parts.map((list) => Buffer.concat(list).toString());
    // Two pieces of the batch between what is written for this operation alone.
    expect(parts[0]).toHaveLength(5);
    for (const piece of [1, 3]) expect(parts[1]?.[piece]).toBe(parts[0]?.[piece]);
    expect(texts[1]).toBe(texts[0]?.replace('"id":0', '"id":1'));
    expect(parts[2]).toHaveLength(1);
    expect(JSON.parse(texts[2] ?? '')).toMatchObject({
      id: 2,
      payload: { data: { events: { events: { length: 1002 }, cursor: 'cursor' } } },
    });
    // The one that is left writes into a buffer of its own.
    two?.close();
    expect(Buffer.concat(encoded(one, delivery)?.parts ?? []).toString()).toBe(texts[0]);
    expect(encoded(one, delivery)?.parts).toHaveLength(1);
    encoders.close();
  });
});
