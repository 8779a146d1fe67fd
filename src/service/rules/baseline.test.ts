import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { at, engineOf, rulesOf } from '../../../test/support/rules.js';
import { createLog } from '../../base/log.js';
import type { TraceEvent } from '../../event/event.js';
import type { EventQuery } from '../../storage/store.js';
import type { FirstStart, RuleEngine } from '../../rules/engine.js';
import { learnFromHistory } from './baseline.js';

const rules = rulesOf(`rules:
  - name: new-program
    description: A program is new.
    severity: LOW
    trackers: exec
    condition: errno == null
    message: '{executable}'
    key: [executable]
    firstSeen: { values: [executable], for: [container.image], learn: 1h, baseline: 168h }`);
const HOUR = 3_600_000;
const log = createLog('silent');
const isOver = (): boolean => false;
/** What is to read the history, as the runner has it when rules are put in force. */
function startsOf(engine: RuleEngine): readonly FirstStart[] {
  const starts = engine.firstStarts();
  for (const { book } of starts) book.beginHistory();
  return starts;
}
const ran = (ms: number, executable: string, image = 'nginx:1'): TraceEvent =>
  at(ms, 'exec', { executable, container: { id: 'aa', name: 'web', image, labels: {} } });

it('counts as seen what the history has, and learns of images that it has not', async () => {
  const { engine, alerts } = engineOf(rules);
  const queries: EventQuery[] = [];
  async function* history(): AsyncGenerator<TraceEvent[]> {
    await sleep(1);
    yield [ran(-HOUR, '/bin/nginx'), ran(-2 * HOUR, '/bin/sh')];
    engine.evaluate(ran(0, '/bin/meanwhile'));
    yield [ran(-3 * HOUR, '/bin/ls')];
  }
  await learnFromHistory(startsOf(engine), { history: (query) => (queries.push(query), history()), log, isOver });
  expect(queries).toMatchObject([{ trackers: ['exec'], to: null, processes: true }]);
  expect(Number(queries[0]?.from) / 1e6).toBeCloseTo(Date.now() - 7 * 24 * HOUR, -5);
  for (const name of ['nginx', 'sh', 'ls', 'meanwhile', 'nc']) engine.evaluate(ran(1, `/bin/${name}`));
  engine.evaluate(ran(2, '/bin/x', 'redis:1'));
  expect(alerts.map(({ message }) => message)).toEqual(['/bin/nc']);
  // It has learned: another start reads nothing.
  expect(engine.firstStarts()).toEqual([]);
  expect(engineOf(rules, engine).engine.firstStarts()).toEqual([]);
});

it('reads a history once, also where rules change meanwhile', async () => {
  const { engine } = engineOf(rules);
  let release: () => void = () => undefined;
  async function* history(): AsyncGenerator<TraceEvent[]> {
    await new Promise<void>((resolve) => (release = resolve));
    yield [];
  }
  const learning = learnFromHistory(startsOf(engine), { history, log, isOver });
  expect(engineOf(rules, engine).engine.firstStarts()).toEqual([]);
  release();
  await learning;
});

it.each([
  ['there is none', () => null],
  [
    'it cannot be read',
    () => {
      throw new Error('the store is away');
    },
  ],
])('learns from now on where %s', async (_why, history) => {
  const { engine, alerts } = engineOf(rules);
  await learnFromHistory(startsOf(engine), { history, log, isOver });
  engine.evaluate(ran(0, '/bin/nginx'));
  engine.evaluate(ran(2 * HOUR, '/bin/nc'));
  expect(alerts.map(({ message }) => message)).toEqual(['/bin/nc']);
});

describe('a history that is not read to its end', () => {
  const now = (executable: string, after = 0): TraceEvent =>
    ran(Date.now() - Date.parse('2026-01-31T08:15:30Z') + after, executable);
  async function* history(): AsyncGenerator<TraceEvent[]> {
    yield [ran(-HOUR, '/bin/nginx'), ran(-2 * HOUR, '/bin/sh')];
    await sleep(1);
    throw new Error('the store is away');
  }

  it.each([
    ['fails midway', { history }],
    ['has more events than are read', { history, most: 1 }],
  ])('raises nothing of what is usual and was not read: it %s', async (_why, given) => {
    const { engine, alerts } = engineOf(rules);
    await learnFromHistory(startsOf(engine), { ...given, log, isOver });
    engine.evaluate(now('/bin/usual'));
    expect(alerts).toEqual([]);
    for (const name of ['nginx', 'usual', 'nc']) engine.evaluate(now(`/bin/${name}`, 2 * HOUR));
    expect(alerts.map(({ message }) => message)).toEqual(['/bin/nc']);
  });

  it('is read again by a server that ended meanwhile, whose file has none of it', async () => {
    const { engine } = engineOf(rules);
    let stored = -1;
    async function* whole(): AsyncGenerator<TraceEvent[]> {
      yield [ran(-HOUR, '/bin/nginx')];
      await sleep(1);
      stored = [...(engine.learned().get('new-program')?.book.stored() ?? [])].length;
      yield [ran(-HOUR, '/bin/sh')];
    }
    await learnFromHistory(startsOf(engine), { history: whole, log, isOver: () => stored >= 0 });
    expect(stored).toBe(0);
    expect(engine.firstStarts()).toHaveLength(1);
  });
});
