import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, isInputObjectType, isInterfaceType, isObjectType } from 'graphql';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

interface Part {
  readonly path: string;
  readonly text: string;
}
interface Parts {
  readonly base: readonly Part[];
  readonly trackers: readonly Part[];
}
const { assembleSchema, readParts } = (await import(join(root, 'scripts/setup/schema.mjs'))) as {
  assembleSchema: (parts: Parts) => string;
  readParts: () => Parts;
};

const own = `
"""Flows of packets."""
input MadeUpOptions {
  """Only long ones."""
  longOnly: Boolean = false
}

"""Where a packet goes."""
enum FlowDirection {
  """In."""
  IN
  """Out."""
  OUT
}

"""A flow ended."""
type MadeUpEvent implements TraceEvent {
  """When it ended, by the wall clock."""
  time: DateTime!
  """Its direction. Never of another."""
  flowDirection: FlowDirection!
  """The direction before; null when it had none."""
  before: FlowDirection
  """The peer's address, e.g. "::1". Null when it has none."""
  peer: String
  """Its packets."""
  packets: UInt64!
  """Names."""
  names: [String!]
}

input MadeUpEventFilter {
  peer: AddressFilter
  """Its packets: those above 2^63 too."""
  packets: UInt64Filter
}
`;

/** The contract with one more tracker. */
function withTracker(text: string, path = 'src/trackers/made_up.graphql'): string {
  const { base, trackers } = readParts();
  return assembleSchema({ base, trackers: [...trackers, { path, text }] });
}

it('schema.graphql is what its parts give: run `npm run build` and commit it', () => {
  expect(readFileSync(join(root, 'schema.graphql'), 'utf8')).toBe(assembleSchema(readParts()));
});

it('the assembled contract has no extensions, which some tools do not take', () => {
  expect(assembleSchema(readParts())).not.toMatch(/^extend /m);
});

it('a tracker of two words gets its input, its event and its filter from its own fields', () => {
  const schema = buildSchema(withTracker(own));
  const fieldsOf = (name: string) => {
    const type = schema.getType(name);
    if (!isObjectType(type) && !isInterfaceType(type) && !isInputObjectType(type)) throw new Error(`no ${name}`);
    return Object.fromEntries(
      Object.values(type.getFields()).map((field) => [field.name, [String(field.type), field.description]]),
    );
  };
  expect(fieldsOf('TrackerInput').madeUp).toEqual(['MadeUpOptions', 'Flows of packets.']);
  expect(fieldsOf('EventFilter').madeUp).toEqual([
    'MadeUpEventFilter',
    'Conditions on events of the tracker madeUp. `{}` matches all of them.',
  ]);
  const event = fieldsOf('MadeUpEvent');
  expect(Object.keys(event)).toEqual([
    'id',
    'cursor',
    'session',
    'tracker',
    'time',
    'bootNs',
    'process',
    'container',
    'cgroupId',
    'values',
    'flowDirection',
    'before',
    'peer',
    'packets',
    'names',
  ]);
  expect(event.time).toEqual(['DateTime!', 'When it ended, by the wall clock.']);
  expect(event.bootNs).toEqual(fieldsOf('TraceEvent').bootNs);
  expect(fieldsOf('MadeUpEventFilter')).toEqual({
    flowDirection: ['FlowDirectionFilter', 'Its direction.'],
    before: ['FlowDirectionFilter', 'The direction before; null when it had none.'],
    peer: ['AddressFilter', 'The peer\'s address, e.g. "::1".'],
    packets: ['UInt64Filter', 'Its packets: those above 2^63 too.'],
    names: ['StringListFilter', 'Names.'],
  });
  expect(Object.keys(fieldsOf('FlowDirectionFilter'))).toEqual(['eq', 'ne', 'in', 'isNull']);
});

it('the filter for an enum that is never null does not ask whether it is', () => {
  const schema = buildSchema(withTracker(own.replace(/ {2}"""The direction before.*\n.*\n/, '')));
  const filter = schema.getType('FlowDirectionFilter');
  expect(isInputObjectType(filter) && Object.keys(filter.getFields())).toEqual(['eq', 'ne', 'in']);
});

it.each([
  [
    'a field without a description',
    own.replace('  """Its packets."""\n', ''),
    'src/trackers/made_up.graphql:26: MadeUpEvent.packets has no description',
  ],
  [
    'an event that is no TraceEvent',
    own.replace(' implements TraceEvent', ''),
    'src/trackers/made_up.graphql:17: MadeUpEvent must be a type that implements TraceEvent',
  ],
  [
    'a missing event',
    own.replaceAll('MadeUpEvent', 'FlowEvent'),
    'src/trackers/made_up.graphql: there is no MadeUpEvent',
  ],
  [
    'a filter for a field that there is not',
    own.replace('  peer: Add', '  pear: Add'),
    'src/trackers/made_up.graphql:33: MadeUpEvent has no field pear of its own',
  ],
  [
    'a field that nothing filters',
    own.replace('names: [String!]', 'names: Float'),
    'src/trackers/made_up.graphql:29: nothing filters names: there is no filter for its type',
  ],
  [
    'an extension',
    `${own}\nextend input TrackerInput { x: Int }`,
    'src/trackers/made_up.graphql:38: only definitions of types have a place here',
  ],
  [
    'a field that another event has with another type',
    own.replace('  names: [String!]', '  exitCode: Int!'),
    'src/trackers/made_up.graphql:29: MadeUpEvent.exitCode is Int!, and ExitEvent.exitCode (src/trackers/exit.graphql:',
  ],
  [
    'a field that all events have, with another type',
    own.replace('  time: DateTime!', '  time: DateTime'),
    'src/trackers/made_up.graphql:19: MadeUpEvent.time is DateTime, and TraceEvent.time (schema/event.graphql:',
  ],
  [
    'a field that another event has with other arguments',
    own.replace('  names: [String!]', '  exitCode("Which." of: Int): Int'),
    'MadeUpEvent.exitCode is (of: Int): Int, and ExitEvent.exitCode',
  ],
  ['what is no GraphQL', `${own}\ntype {`, 'src/trackers/made_up.graphql:38: Syntax Error: Expected Name, found "{".'],
])('refuses %s, with its place', (_, text, message) => {
  expect(() => withTracker(text)).toThrow(message);
});

it('refuses a file name that is no name in C', () => {
  expect(() => withTracker(own, 'src/trackers/made-up.graphql')).toThrow('as "net_flow"');
});
