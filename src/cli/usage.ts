import { InvalidArgumentError, type Option } from 'commander';
import { splitList } from '../options/kind.js';
import { parseDuration } from '../base/duration.js';
import { EunomiaError, messageOf } from '../base/errors.js';
import { UsageError } from '../base/usage.js';

export { UsageError };

/** What a command was asked to check is not so: exit code 1. The message says how much of it. */
export class Unsuccessful extends Error {}

/**
 * "a,b" and repeated flags alike: a commander argument parser. A list of nothing is refused: `--pid "$(pidof nginx)"` is not to watch
 * the whole machine where no nginx runs.
 */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  const values = splitList(value);
  if (values.length === 0) throw new InvalidArgumentError('Give at least one value, or leave the flag out.');
  return [...previous, ...values];
}

/** Repeated flags whose values may hold commas. */
export function append(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** A text with something in it: a commander argument parser. */
export function notEmpty(value: string): string {
  if (value.trim() === '') throw new InvalidArgumentError('Give a value, or leave the flag out.');
  return value;
}

/** Whether a flag may be given several times. */
export function isRepeatable({ parseArg }: Option): boolean {
  return parseArg === (collect as typeof parseArg) || parseArg === (append as typeof parseArg);
}

/** An option whose value is one of these words, in upper or lower case; it is shown in lower case. */
export function anyCase(option: Option, words: readonly string[]): Option {
  const choices = words.map((word) => word.toLowerCase());
  return option.choices(choices).argParser((value: string) => {
    const lower = value.toLowerCase();
    if (choices.includes(lower)) return lower;
    throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`);
  });
}

/** What is wrong with one of several ids, and with no other. */
const OF_ONE_ID: ReadonlySet<string> = new Set(['UNKNOWN_SESSION', 'UNKNOWN_ALERT', 'ALERT_RESOLVED']);

/** Does some work for each id, also behind one that is not there. Rejects with all that was wrong. */
export async function forEachId(ids: readonly string[], work: (id: string) => Promise<void>): Promise<void> {
  const errors: EunomiaError[] = [];
  for (const id of ids)
    try {
      await work(id);
    } catch (error) {
      if (!(error instanceof EunomiaError) || !OF_ONE_ID.has(error.code)) throw error;
      errors.push(error);
    }
  const [first, ...more] = errors;
  if (!first) return;
  const messages = [first, ...more].map((error) => messageOf(inFlag(error)));
  throw new EunomiaError(first.code, messages.join('\neunomia: '), { cause: first });
}

/** A whole number in a range, or a UsageError that names the flag. */
export function wholeNumber(flag: string, least: number, most: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= least && number <= most) return number;
    throw new UsageError(`${flag}: ${JSON.stringify(value)} is no whole number from ${least} to ${most}`);
  };
}

/** A duration in a range, or a UsageError that names the flag. */
export function span(flag: string, least: string, most: string): (value: string) => string {
  const msOf = (text: string): number => parseDuration(text) ?? NaN;
  return (value) => {
    if (msOf(value) >= msOf(least) && msOf(value) <= msOf(most)) return value;
    throw new UsageError(`${flag}: ${JSON.stringify(value)} is no duration from ${least} to ${most}, like "2s"`);
  };
}

/**
 * Arguments of the API, as errors begin with them, and the flags that they come from. The first one that fits counts, and of its flags the
 * first one that the command has.
 */
const flags: readonly (readonly [argument: RegExp, ...flags: string[]])[] = [
  [/^(?:input\.)?where(?:\.expr|\.saved)?: /, '--where'],
  [/^(?:input\.)?for: /, '--for'],
  [/^(?:input\.)?name: /, '--name'],
  [/^where\.since: /, '--since'],
  [/^where\.until: /, '--until'],
  [/^input\.reason: /, '--reason'],
  [/^limit: /, '--limit'],
  [/^rule: /, '--rule'],
  [/^every: /, '--every'],
  [/^(?:aggregate\.)?groupBy(?:\[\d+\])?: /, '--by', '--count-by', '--group-by'],
  [/^(?:aggregate\.)?measures\[\d+\](?:\.\w+)?: /, '--sum', '--measures'],
  [/^input\.ttl: /, '--ttl'],
  [/^input\.plugins(?:\[\d+\])?: /, '--plugin'],
  [/^from: /, '--from'],
  [/^to: /, '--to'],
  [/^trackers(?:\[\d+\])?: /, '--tracker'],
  [/^sessions(?:\[\d+\])?: /, '--session'],
  [/^containers(?:\[\d+\])?[^:]*: /, '--container'],
  [/^input\.capture: /, '--capture'],
  [/^input\.(?:fields)(?:\[\d+\])?: /, '--fields'],
  [/^input\.target\.containers\[\d+\]\.image: /, '--image'],
  [/^input\.target\.containers\[\d+\]\.labels[^:]*: /, '--label'],
  [/^input\.target\.containers: (?=no container has the image )/, '--image'],
  [/^input\.target\.containers: (?=no container has the label )/, '--label'],
  [/^input\.target\.containers[^:]*: /, '--container'],
  [/^input\.target\.waitForContainers: /, '--wait'],
  [/^input\.target\.cgroups[^:]*: /, '--cgroup'],
  [/^input\.target\.pids[^:]*: /, '--pid'],
  [/^input\.target\.descendants: /, '--no-descendants'],
  [/^input\.target\.uids[^:]*: /, '--uid'],
  [/^input\.target\.comms[^:]*: /, '--comm'],
];

/** How graphql-js writes what a scalar refuses. */
const REFUSED_VALUE =
  /^Variable "\$(?:input" got invalid value .* at "(input\.[^"]+)|(\w+)" got invalid value [^;]*)"; /s;

/** The server's errors name arguments; who typed a command knows its flags. `has`: whether the command has a flag. */
export function inFlag(error: unknown, has: (flag: string) => boolean = () => true): unknown {
  if (!(error instanceof EunomiaError)) return error;
  const { code, details } = error;
  const message = error.message.replace(REFUSED_VALUE, '$1$2: ');
  const known = flags.find(([argument]) => argument.test(message));
  const [argument, ...names] = known ?? [/^input\.trackers\[\d+\][.:] ?/];
  const flag = names.find(has);
  // What is no flag is an argument of the command, or known without more: "open.failedOnly".
  const named = message.replace(argument, flag === undefined ? '' : `${flag}: `);
  const text = named
    .replace(/; with waitForContainers: true the session waits for \w+/, (whole) =>
      has('--wait') ? whole.replace('waitForContainers: true', '--wait') : '',
    )
    .replace('not later than where.since', 'not later than --since')
    .replace('`savedQueries` lists', '`eunomia queries` lists')
    .replace(/(?:the query )?`sessions` lists those there are/, '`eunomia sessions` lists those there are')
    .replace('the query `alerts` lists those there are', '`eunomia alerts` lists those there are')
    .replace('serve --plugins, loadPlugin', '`eunomia plugin load` loads one')
    .replace('the query `silences` lists those there are', '`eunomia alerts silences` lists those there are')
    .replace('send "Authorization: Bearer TOKEN" (over WebSocket in connectionParams)', 'give it, or EUNOMIA_TOKEN')
    .replace(', or the header is not "Authorization: Bearer TOKEN"', '')
    .replace(/^(?=the token is not known|this server needs a token)/, code === 'UNAUTHENTICATED' ? '--token: ' : '');
  return text === error.message ? error : new EunomiaError(code, text, { details, cause: error });
}
