import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { AlertBook } from '../../alerts/book.js';
import { EunomiaError } from '../../base/errors.js';
import { createLog } from '../../base/log.js';
import type { CompiledRule } from '../../rules/compile.js';
import { ruleContext } from '../../../test/support/rules.js';
import { until, untilHolds } from '../../../test/support/until.js';
import { EventsAfterAlerts } from './after.js';
import { RuleActions } from './actions.js';
import { RuleHost } from './host.js';
import { LearnedFile } from './learned.js';
import { RuleRunner } from './runner.js';
import { RuleFileThread } from './thread.js';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** What is in force, of a runner that has no kernel. */
class Runner extends RuleRunner {
  names: readonly string[] = [];
  override use(rules: readonly CompiledRule[]): Promise<void> {
    this.names = rules.map(({ definition }) => definition.name);
    return Promise.resolve();
  }
}

const rule = (name: string): string =>
  `rules: [{ name: ${name}, description: d, severity: LOW, trackers: exec, condition: 'true', message: m }]\n`;

/** A host with one file in its folder, and what puts a rule there at a time. */
function hostWith(thread?: ConstructorParameters<typeof RuleHost>[1]) {
  const folder = mkdtempSync(join(tmpdir(), 'eunomia-host-'));
  folders.push(folder);
  const log = createLog('silent');
  const book = new AlertBook();
  const after = new EventsAfterAlerts(book, ruleContext);
  const runner = new Runner({
    context: ruleContext,
    manager: null,
    trackerStatus: () => Promise.reject(new Error('nothing runs')),
    raise: () => undefined,
    after,
    facts: { awaits: () => false, watch: () => () => undefined },
    learned: new LearnedFile(null, log),
    history: () => null,
    log,
  });
  const file = join(folder, 'a.yaml');
  const put = (name: string, second: number): void => {
    writeFileSync(file, rule(name), { mode: 0o600 });
    utimesSync(file, second, second);
  };
  put('first', 1);
  const responder = {
    signal: () => Promise.reject(new Error('not here')),
    container: () => Promise.reject(new Error('not here')),
  };
  const actions = new RuleActions({ book, mode: 'off', evidence: null, after, responder, log });
  const options = { context: ruleContext, runner, actions, directories: [folder], dataDirectory: null, log };
  return { host: new RuleHost(options, thread), runner, put };
}

it('reads a folder again that has become what it was before rules were sent', async () => {
  const { host, runner, put } = hostWith();
  await host.open();
  put('second', 2);
  // Reads the folder as it is, before anybody has looked for changes.
  await host.load('sent', rule('third'));
  expect(runner.names).toEqual(['second', 'third']);
  put('first', 3);
  await host.start();
  await untilHolds(
    'both run',
    () => runner.names,
    (names) => isDeepStrictEqual(names, ['first', 'third']),
  );
  await host.close();
});

it('reads a folder again after the thread has died, though nothing has changed since', async () => {
  const thread = new RuleFileThread();
  let deaths = 0;
  const { host, runner, put } = hostWith({
    parse: (sources) =>
      deaths++ === 0
        ? Promise.reject(new EunomiaError('INTERNAL_SERVER_ERROR', 'it has ended'))
        : thread.parse(sources),
    end: () => thread.end(),
  });
  await host.open();
  put('second', 2);
  await host.start();
  await untilHolds(
    'its end is told',
    () => host.problem,
    (problem) => problem === 'it has ended',
  );
  await untilHolds(
    'one runs',
    () => runner.names,
    (names) => isDeepStrictEqual(names, ['second']),
  );
  expect(host.problem).toBeNull();
  await host.close();
});

it('ends without waiting for a file that is being parsed, and tells of no problem with it', async () => {
  const thread = new RuleFileThread();
  let asked = 0;
  const { host, put } = hostWith({
    parse: (sources) => {
      asked++;
      return thread.parse(sources.map((source) => ({ ...source, text: `a: [${'b,'.repeat(500_000)}]` })));
    },
    end: () => thread.end(),
  });
  await host.open();
  put('second', 2);
  await host.start();
  await until('it was asked for', () => asked === 1);
  const loading = host.load('x', rule('third')).catch((error: unknown) => error);
  await host.close();
  expect(await loading).toMatchObject({ code: 'SHUTTING_DOWN' });
  expect(host.problem).toBeNull();
});
