import { expect, it } from 'vitest';
import type { TrackerInfo } from './field.js';
import { parseTracker, trackerInputs } from './input.js';

const tracker: TrackerInfo = {
  name: 'dns',
  eventType: 'DnsEvent',
  details: '',
  columns: [],
  options: [
    { name: 'operations', type: { name: '[DnsOperation!]', values: [{ name: 'QUERY' }, { name: 'RESPONSE' }] } },
    { name: 'ports', type: { name: '[Int!]', values: null } },
  ],
  fields: [],
};
const inputOf = (text: string) => trackerInputs([parseTracker(text)], [tracker]);

it('reads each value of a list as what the list is of', () => {
  expect(inputOf('dns:ports=53,5353,operations=QUERY,RESPONSE')).toEqual([
    { dns: { ports: [53, 5353], operations: ['QUERY', 'RESPONSE'] } },
  ]);
});

it.each([
  ['dns:operations=FOO', 'dns.operations: "FOO" is none of its values; there are QUERY, RESPONSE'],
  ['dns:operations=QUERY,respons', 'dns.operations: "respons" is none of its values; did you mean "RESPONSE"?'],
  ['dns:ports=53,x', 'dns.ports: "x" is no whole number'],
])('%s: says what would be right', (text, message) => {
  expect(() => inputOf(text)).toThrow(message);
});
