import { getIntrospectionQuery, graphqlSync } from 'graphql';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog, compileField } from './catalog.js';
import { loadTrackers } from './load.js';
import { eventWith } from '../../test/support/event.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), (tracker, field) => tracker === 'exec' && field === 'args');

describe('the catalog', () => {
  it('lists fields with the description that the schema gives them', () => {
    expect(catalog.need('exec').fields).toEqual(
      expect.arrayContaining([
        {
          path: 'process.comm',
          type: 'String!',
          valueType: { name: 'String!', kind: 'TEXT', list: false, nullable: false, values: null },
          description: expect.stringContaining('15 bytes'),
          unit: null,
          onDemand: false,
        },
        {
          path: 'time',
          type: 'DateTime!',
          valueType: { name: 'DateTime!', kind: 'TIME', list: false, nullable: false, values: null },
          description: 'When the event happened, in wall-clock time.',
          unit: null,
          onDemand: false,
        },
        {
          path: 'args',
          type: '[String!]',
          valueType: { name: '[String!]', kind: 'TEXT', list: true, nullable: true, values: null },
          description: expect.stringContaining('Null if not captured'),
          unit: null,
          onDemand: true,
        },
      ]),
    );
    expect(catalog.trackers.flatMap(({ fields }) => fields).filter(({ description }) => description === '')).toEqual(
      [],
    );
  });

  it('has descriptions without line breaks inside of a paragraph, which a table would show', () => {
    const { data } = graphqlSync({ schema, source: getIntrospectionQuery({ inputValueDeprecation: true }) });
    const descriptions: string[] = [];
    JSON.stringify(data, (key, value: unknown) => {
      if (key === 'description' && typeof value === 'string') descriptions.push(value);
      return value;
    });
    expect(descriptions.length).toBeGreaterThan(500);
    expect(descriptions.filter((text) => /[^\n]\n[^\n]/.test(text))).toEqual([]);
  });

  it('shows of a tracker that names no columns all of its own fields but flags and namespaces', async () => {
    const definitions = (await loadTrackers()).map((definition) => ({ ...definition, columns: undefined }));
    const columns = new Map(
      new Catalog(schema, definitions, () => false).trackers.map((tracker) => [tracker.name, tracker.columns]),
    );
    expect(columns.get('exec')).toEqual([
      'errno',
      'filename',
      'executable',
      'executableState',
      'args',
      'cwd',
      'cwdState',
      'directory',
      'stdin',
      'parentComm',
    ]);
    expect(columns.get('exit')).toEqual(['exitCode', 'signal', 'lifetimeNs']);
  });

  it('takes the summary of a tracker from the contract', () => {
    expect(catalog.need('exec').summary).toBe('Program executions and failed attempts.');
  });

  it('lists options with their defaults', () => {
    expect(catalog.get('open')?.options).toContainEqual({
      name: 'failedOnly',
      type: 'Boolean',
      valueType: { name: 'Boolean', kind: 'BOOLEAN', list: false, nullable: true, values: null },
      description: expect.any(String),
      default: false,
    });
    expect(catalog.get('tcp')?.options).toContainEqual({
      name: 'operations',
      type: '[TcpOperation!]',
      valueType: expect.objectContaining({
        kind: 'ENUM',
        list: true,
        nullable: true,
        values: expect.arrayContaining([{ name: 'CONNECT', description: expect.any(String) }]),
      }),
      description: expect.any(String),
      default: null,
    });
  });

  it.each([
    ['procss.comm', 'did you mean "process.comm"?'],
    ['comm', '; did you mean "process.comm"?'],
    ['process', 'name one inside it, for example "process.pid"'],
    ['container.labels', 'for example "container.labels.NAME"'],
    ['container.labels.', 'no event of exec has the field'],
    ['fd', 'no event of exec has the field "fd"; ipc and open would'],
    ['', 'no event of exec has the field ""'],
  ])('refuses the field %j', (path, message) =>
    expect(() => catalog.checkField(path, ['exec'], 'groupBy[0]')).toThrow(message),
  );

  it.each(['process.comm', 'container.labels.com.example/a.b', 'args'])('takes the field %s', (path) =>
    expect(() => catalog.checkField(path, ['exec'])).not.toThrow(),
  );

  it('checks options as the schema would', () => {
    expect(catalog.checkOptions('open', { failedOnly: true })).toEqual({ failedOnly: true, writesOnly: false });
    expect(() => catalog.checkOptions('open', { faildOnly: true })).toThrow(
      'open: Field "faildOnly" is not defined. Did you mean "failedOnly"?',
    );
    expect(() => catalog.checkOptions('open', { failedOnly: 1 })).toThrow(
      'open.failedOnly: Boolean cannot represent a non boolean value: 1',
    );
    expect(() => catalog.checkOptions('opne', {})).toThrow('there is no tracker "opne"; did you mean "open"?');
  });

  const lists = catalog.trackers.flatMap(({ name, options }) =>
    options.filter(({ type }) => type.startsWith('[')).map((option) => ({ tracker: name, option: option.name })),
  );

  it('finds options that are lists', () => expect(lists.length).toBeGreaterThan(5));

  it.each(lists)('refuses an empty list for $option of $tracker, which would select all or nothing', (each) =>
    expect(() => catalog.check(each.tracker, { [each.option]: [] }, 'w')).toThrow(`w.${each.option}: `),
  );

  it('says what a list of names could hold', () =>
    expect(() => catalog.check('tcp', { operations: [] }, 'trackers[0].tcp')).toThrow(
      'trackers[0].tcp.operations: is empty; leave it out, or give at least one, for example [',
    ));
});

describe('a compiled field', () => {
  const event = eventWith('exec', {
    args: ['a', 'b'],
    process: { pid: 7 },
    container: { name: null, labels: { 'a.b': 'c', toString: 'own' } },
  });

  it.each([
    ['tracker', 'exec'],
    ['args', ['a', 'b']],
    ['process.pid', 7],
    ['container.name', null],
    ['container.labels.a.b', 'c'],
    ['container.labels.toString', 'own'],
    ['container.labels.constructor', null],
    ['path', null],
  ])('reads %s', (path, value) => expect(compileField(path)(event)).toEqual(value));

  it('is null for an event of the host', () => {
    const host = { ...event, container: null };
    expect(compileField('container.name')(host)).toBeNull();
    expect(compileField('container.labels.a.b')(host)).toBeNull();
  });
});
