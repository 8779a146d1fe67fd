import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { checkDefinition, checkOptions } from './definition.js';
import { FilterFields } from '../filter/index.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const vocabulary = { catalog, fields: new FilterFields(schema, catalog) };

const good = { name: 'a-b', version: '1', summary: 's', reads: { exec: ['args'] }, onBatch: 'function' };
const check = (change: object): unknown => checkDefinition({ ...good, ...change }, 'p.ts', vocabulary);

describe("a plugin's definition", () => {
  it('is taken with all that it says', () => {
    expect(
      check({
        where: 'exec.errno == null',
        every: 1000,
        onInterval: 'function',
        reads: { exec: ['process', 'container.name', 'container.labels.tier', 'container'] },
      }),
    ).toMatchObject({
      name: 'a-b',
      everyMs: 1000,
      where: 'exec.errno == null',
      options: {},
      reads: {
        exec: expect.arrayContaining([
          'process.pid',
          'process.comm',
          'container.name',
          'container.labels',
          'container.labels.tier',
        ]),
      },
    });
  });

  it.each([
    ['no default export', null, /has no plugin: write `export default definePlugin/],
    ['a bad name', { ...good, name: 'A b' }, /lower-case letters/],
    ['no version', { ...good, version: undefined }, /`version` must be a text.*missing/],
    ['an unknown property', { ...good, onBach: 'function' }, /no property "onBach"; did you mean "onBatch"/],
    ['no onBatch', { ...good, onBatch: undefined }, /`onBatch` is missing/],
    ['no reads', { ...good, reads: {} }, /`reads` is missing/],
    [
      'an unknown tracker',
      { ...good, reads: { exce: [] } },
      /reads.exce: there is no tracker "exce"; did you mean "exec"/,
    ],
    [
      'an unknown field',
      { ...good, reads: { exec: ['arg'] } },
      /reads.exec\[0\]: no event of exec has the field "arg"; did you mean "args"/,
    ],
    ["another tracker's field", { ...good, reads: { exec: ['requestedPort'] } }, /; bind would$/],
    ["several other trackers' field", { ...good, reads: { exec: ['remotePort'] } }, /; (\w+, )+\w+ and \w+ would$/],
    ['a bad where', { ...good, where: 'exec.nope == 1' }, /p\.ts: .*nope/],
    ['an interval without its hook', { ...good, every: 1000 }, /belong together/],
    ['a short interval', { ...good, every: 10, onInterval: 'function' }, /100 to 3600000/],
    [
      'an option without a default',
      { ...good, options: { n: { type: 'integer', description: 'd' } } },
      /options.n.default must be a whole number; it is missing/,
    ],
    [
      'an option of no type',
      { ...good, options: { n: { type: 'int', default: 1, description: 'd' } } },
      /options.n.type is one of/,
    ],
    [
      'a default out of range',
      { ...good, options: { n: { type: 'number', default: 1, min: 2, description: 'd' } } },
      /from 2 to any; it is 1/,
    ],
    ['a histogram without buckets', { ...good, metrics: { m: { type: 'histogram', help: 'h' } } }, /metrics.m.buckets/],
    [
      'too many labels',
      { ...good, metrics: { m: { type: 'counter', help: 'h', labels: ['a', 'b', 'c', 'd', 'e', 'f'] } } },
      /up to five/,
    ],
  ])('is refused with %s', (_what, told, message) => {
    expect(() => checkDefinition(told, 'p.ts', vocabulary)).toThrow(message);
  });
});

describe('options', () => {
  const facts = {
    name: 'p',
    options: {
      n: { type: 'integer', default: 3, min: 1, max: 9, description: 'd' },
      mode: { type: 'string', default: 'a', enum: ['a', 'b'], description: 'd' },
      on: { type: 'boolean', default: false, description: 'd' },
      list: { type: 'strings', default: ['x'], description: 'd' },
    },
  } as const;

  it('have their defaults', () =>
    expect(checkOptions(facts, { n: 5 }, 'options')).toEqual({ n: 5, mode: 'a', on: false, list: ['x'] }));

  it.each([
    [{ m: 1 }, /options.m: the plugin p has no option "m"/],
    [{ n: 1.5 }, /options.n: must be a whole number from 1 to 9; it is 1.5/],
    [{ n: 10 }, /from 1 to 9; it is 10/],
    [{ mode: 'c' }, /one of a, b/],
    [{ on: 'yes' }, /true or false/],
    [{ list: [1] }, /list of up to 1000 texts/],
    ['text', /must be an object/],
    [JSON.parse('{"__proto__": 1}'), /no option "__proto__"/],
  ])('%j are refused', (given, message) => expect(() => checkOptions(facts, given, 'options')).toThrow(message));
});
