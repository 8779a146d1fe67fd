import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { PluginFacts } from './definition.js';
import { Findings } from './findings.js';
import type { Done, OutgoingAlert } from './protocol.js';

const facts: PluginFacts = {
  name: 'p',
  version: '2',
  summary: '',
  options: {},
  metrics: { seen: { type: 'counter', help: 'Seen.' } },
  reads: {},
  undeclared: {},
  where: null,
  everyMs: null,
};
const alert: OutgoingAlert = {
  severity: 'LOW',
  title: 't',
  message: 'm',
  key: null,
  tracker: null,
  time: null,
  process: null,
  container: null,
  place: null,
};

function doneWith(outcome: Partial<Done['outcome']>, done: Partial<Done> = {}): Done {
  return {
    outcome: { results: [], alerts: [], metrics: [], logs: [], suppressed: 0, ...outcome },
    error: null,
    busyMs: 0,
    memoryBytes: 0,
    ...done,
  };
}

function setUp() {
  const raised: unknown[] = [];
  const findings = new Findings({
    session: 's',
    log: pino({ level: 'silent' }),
    raise: (...args) => raised.push(args),
  });
  return { findings, raised };
}

it('what calls return is added up, and alerts are raised', () => {
  const { findings, raised } = setUp();
  const seen = { metric: 'seen', labels: [], value: 2, buckets: [] };
  findings.take(
    doneWith(
      { results: [{ kind: 'k', json: '1', place: null }], alerts: [alert], metrics: [seen], suppressed: 4 },
      { busyMs: 0.1, memoryBytes: 100 },
    ),
    facts,
  );
  findings.take(doneWith({ metrics: [seen], suppressed: 1 }, { busyMs: 0.2 }), facts);
  expect(findings.counts).toMatchObject({ alerts: 1, suppressed: 5, errors: 0, busyMs: 0.3, memoryBytes: 100 });
  expect(findings.results.held).toMatchObject([{ seq: 0, kind: 'k', json: '1', version: '2' }]);
  expect(findings.metrics.samples('p', 's')).toMatchObject([{ value: 4 }]);
  expect(raised).toEqual([[alert, 'p', 's']]);
});

it('an error that was seen before is counted; of others the newest 20 are kept', () => {
  const { findings } = setUp();
  const error = { message: 'm', at: 'p.ts:1' };
  findings.take(doneWith({}, { error }), facts);
  findings.see(error);
  findings.see({ ...error, at: null });
  expect(findings.errors).toMatchObject([
    { ...error, count: 2 },
    { message: 'm', at: null, count: 1 },
  ]);
  for (let i = 0; i < 20; i++) findings.see({ message: String(i), at: null });
  expect(findings.errors.map(({ message }) => message)).toEqual(Array.from({ length: 20 }, (_, i) => String(i)));
  expect(findings.counts.errors).toBe(23);
});
