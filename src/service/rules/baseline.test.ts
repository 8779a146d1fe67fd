import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { at, engineOf, rulesOf } from '../../../test/support/rules.js';
import { createLog } from '../../base/log.js';
import type { TraceEvent } from '../../event/event.js';
import type { EventQuery } from '../../storage/store.js';
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
  await learnFromHistory(engine.firstStarts(), { history: (query) => (queries.push(query), history()), log, isOver });
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
  const learning = learnFromHistory(engine.firstStarts(), { history, log, isOver });
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
  await learnFromHistory(engine.firstStarts(), { history, log, isOver });
  engine.evaluate(ran(0, '/bin/nginx'));
  engine.evaluate(ran(2 * HOUR, '/bin/nc'));
  expect(alerts.map(({ message }) => message)).toEqual(['/bin/nc']);
});
