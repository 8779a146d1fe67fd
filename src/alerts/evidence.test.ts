import { expect, it } from 'vitest';
import { evidenceText, MAX_EVIDENCE, type Evidence } from './evidence.js';

const read = (events: readonly object[], event: object = {}): Evidence =>
  JSON.parse(evidenceText({ event, ancestors: [], container: null, events }) ?? 'null') as Evidence;

it('keeps the newest events around it where all are too much', () => {
  const events = Array.from({ length: 20 }, (_, n) => ({ n, args: 'x'.repeat(8000) }));
  expect(read(events.slice(0, 5))).toMatchObject({ events: events.slice(0, 5), truncated: false });
  expect(read(events)).toMatchObject({ event: {}, events: events.slice(-4), truncated: true });
  const large = { text: 'y'.repeat(60_000) };
  expect(read(events, large)).toMatchObject({ event: large, events: [], truncated: true });
  expect(JSON.stringify(read(events, { text: 'y'.repeat(MAX_EVIDENCE) })).length).toBeLessThan(MAX_EVIDENCE);
});
