import type { ConfigFile, Path } from '../../base/config-file.js';
import { suggest } from '../../base/errors.js';
import { finish } from '../../base/turn.js';
import type { TraceEvent } from '../../event/event.js';
import { severities, type Severity } from '../../event/severity.js';
import type { RuleSet } from '../compile.js';
import type { RulePlace } from '../definition.js';
import { fileOf, type RuleSource } from '../format.js';
import { TrialEvents, type TestContext } from './event.js';

/** Where the events of recordings come from. */
export interface Recordings {
  /** Why there is none at this path, relative to the file; null when there is one. */
  problem(recording: string, file: string): string | null;
  /** Rejects with BAD_RECORDING. */
  events(recording: string, file: string): AsyncIterable<TraceEvent>;
}

export interface WrittenEvent extends RulePlace {
  readonly event: TraceEvent;
}

/** An alert that a test expects: what is null, or not in `process` and `container`, may be anything. */
export interface ExpectedAlert extends RulePlace {
  readonly rule: string;
  readonly message: string | null;
  readonly severity: Severity | null;
  /** Raised, with what was combined with it. */
  readonly times: number;
  readonly process: Readonly<Record<string, unknown>>;
  /** Null for an event outside of containers. */
  readonly container: Readonly<Record<string, unknown>> | null;
}

/** One test of a file, checked. */
export interface RuleTest extends RulePlace {
  readonly name: string;
  /** Empty where they are recorded. */
  readonly events: readonly WrittenEvent[];
  readonly recording: string | null;
  /** Only these are evaluated, whether they are enabled or not; null for all that are enabled. */
  readonly rules: readonly string[] | null;
  /** Passes after the last event. */
  readonly forMs: number;
  readonly alerts: readonly ExpectedAlert[];
}

const MAX_TESTS = 1000;
const MAX_EVENTS = 10_000;
const MAX_ALERTS = 1000;
const MAX_FOR_MS = 366 * 24 * 3_600_000;
const ofAlert = ['rule', 'message', 'severity', 'times', 'process', 'container'];
const ofProcess = ['pid', 'tid', 'ppid', 'uid', 'gid', 'comm', 'startTime', 'mountNs'];
const ofContainer = ['id', 'name', 'image'];

/** Reads a file of tests for a set of rules. Throws BAD_RULES with the places of all that is wrong. */
export function readTests(
  source: RuleSource,
  set: RuleSet,
  context: TestContext & { readonly recordings: Recordings },
): readonly RuleTest[] {
  const file = finish(fileOf(source));
  const top = file.fields(file.value ?? {}, [], ['tests']);
  const written = file.list(top['tests'], ['tests']);
  if (written.length === 0) throw file.fail(['tests'], 'there are no tests; write a list of them');
  if (written.length > MAX_TESTS)
    throw file.fail(['tests'], `there are ${written.length}; at most ${MAX_TESTS} are allowed`);
  const reader = new Reader(file, set, context);
  const tests = file.each(written, (test, i) => reader.test(test, ['tests', i]));
  const names = new Set<string>();
  file.each(tests, ({ name, path }) => {
    if (names.has(name)) throw file.fail([...path, 'name'], `"${name}" is there already; give each test its own name`);
    names.add(name);
  });
  return tests;
}

class Reader {
  readonly #file: ConfigFile;
  readonly #set: RuleSet;
  readonly #context: TestContext & { readonly recordings: Recordings };

  constructor(file: ConfigFile, set: RuleSet, context: TestContext & { readonly recordings: Recordings }) {
    this.#file = file;
    this.#set = set;
    this.#context = context;
  }

  test(value: unknown, path: Path): RuleTest {
    const file = this.#file;
    const given = file.fields(value, path, ['name', 'events', 'recording', 'rules', 'for', 'alerts']);
    const at = (setting: string): Path => [...path, setting];
    const name = file.text(given['name'], at('name'), '"a shell in a container"');
    if ((given['events'] === undefined) === (given['recording'] === undefined))
      throw file.fail(path, 'is to have `events`, or the `recording` that has them');
    const { events: written, recording: recorded, rules: named } = given;
    let events: readonly WrittenEvent[] = [];
    let recording: string | null = null;
    let rules: readonly string[] | null = null;
    let forMs = 0;
    let alerts: readonly ExpectedAlert[] = [];
    const read = [
      () => (events = written === undefined ? [] : this.#events(written, at('events'))),
      () => (recording = recorded === undefined ? null : this.#recording(recorded, at('recording'))),
      () => (rules = named === undefined ? null : this.#rules(named, at('rules'))),
      () => (forMs = file.duration(given['for'] ?? '0s', at('for'), 0, MAX_FOR_MS)),
      () => (alerts = this.#alerts(given['alerts'], at('alerts'), rules)),
    ];
    // What is wrong with any of them is told at once.
    file.each(read, (part) => void part());
    return { file, path, name, events, recording, rules, forMs, alerts };
  }

  #events(value: unknown, path: Path): readonly WrittenEvent[] {
    const written = this.#file.list(value, path);
    if (written.length === 0) throw this.#file.fail(path, 'is empty; write at least one event');
    if (written.length > MAX_EVENTS)
      throw this.#file.fail(path, `there are ${written.length}; at most ${MAX_EVENTS} are allowed; name a recording`);
    const writer = new TrialEvents(this.#context, this.#file);
    return this.#file.each(written, (event, i) => {
      const at = [...path, i];
      return { file: this.#file, path: at, event: writer.write(event, at) };
    });
  }

  #recording(value: unknown, path: Path): string {
    const recording = this.#file.text(value, path, '"events.ndjson"');
    const problem = this.#context.recordings.problem(recording, this.#file.name);
    if (problem !== null) throw this.#file.fail(path, problem);
    return recording;
  }

  #rules(value: unknown, path: Path): readonly string[] {
    const rules = this.#file.list(value, path);
    if (rules.length === 0)
      throw this.#file.fail(path, 'is empty; leave it out to evaluate all rules that are enabled');
    return this.#file.each(rules, (rule, i) => this.#rule(rule, [...path, i]));
  }

  #rule(value: unknown, path: Path): string {
    const rule = this.#file.text(value, path, '"shell-in-container"');
    const known = this.#set.definition.rules.map(({ name }) => name);
    if (known.includes(rule)) return rule;
    throw this.#file.fail(path, `there is no rule "${rule}"${suggest(rule, known)}`);
  }

  /** `evaluated`: null for all that are enabled. */
  #alerts(value: unknown, path: Path, evaluated: readonly string[] | null): readonly ExpectedAlert[] {
    const file = this.#file;
    if (value === undefined) throw file.fail(path, 'is missing; write the alerts that are to be raised, [] for none');
    const alerts = file.list(value, path);
    if (alerts.length > MAX_ALERTS)
      throw file.fail(path, `there are ${alerts.length}; at most ${MAX_ALERTS} are allowed`);
    return file.each(alerts, (alert, i) => {
      const place = [...path, i];
      const at = (setting: string): Path => [...place, setting];
      const given = file.fields(alert, place, ofAlert);
      const rule = this.#rule(given['rule'], at('rule'));
      if (evaluated && !evaluated.includes(rule)) throw file.fail(at('rule'), `"${rule}" is none of \`rules\``);
      const { enabled } = this.#set.definition.rules.find(({ name }) => name === rule) ?? { enabled: true };
      if (!evaluated && !enabled)
        throw file.fail(at('rule'), `"${rule}" is not enabled; name it in \`rules\`, which evaluates it all the same`);
      const { container = {} } = given;
      return {
        file,
        path: place,
        rule,
        message: given['message'] === undefined ? null : file.text(given['message'], at('message'), '"sh in web"'),
        severity: given['severity'] === undefined ? null : file.oneOf(given['severity'], at('severity'), severities),
        times: file.whole(given['times'] ?? 1, at('times'), 1, 1_000_000_000),
        process: file.fields(given['process'] ?? {}, at('process'), ofProcess),
        container: container === null ? null : file.fields(container, at('container'), ofContainer),
      };
    });
  }
}
