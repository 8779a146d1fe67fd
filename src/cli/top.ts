import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { counted } from '../base/listed.js';
import { bytesText, durationText } from '../event/details.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { countedPaths, describeTrackers, headersOf, knownPaths, readablePaths } from './field.js';
import { Table } from './format.js';
import type { Output } from './output.js';
import { parseSetting, parseTracker, trackerInputs } from './input.js';
import { withSession } from './session.js';
import { unlessAborted } from './stream.js';
import { targetInput, withTarget, type TargetFlags } from './target.js';
import { append, collect, notEmpty, span, wholeNumber } from './usage.js';
import { whereInput } from './where.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags, TargetFlags {
  readonly by?: readonly string[];
  readonly sum?: string;
  readonly every: string;
  readonly where?: string;
  readonly for?: string;
  readonly limit: number;
  readonly set?: readonly string[];
  readonly name?: string;
  /** "final": a table at the end, on a terminal too. */
  readonly output: 'table' | 'json' | 'final';
}

interface Row {
  readonly key: readonly { readonly value: string | null }[];
  readonly count: string;
  readonly other: boolean;
  readonly values: readonly { readonly name: string; readonly unit: string | null; readonly number: number | null }[];
}

/** `change`: the last one that it was in; `rate`: of the time before that. */
interface Group {
  readonly row: Row;
  readonly rate: number;
  readonly change: number;
}

interface Change {
  readonly at: string;
  readonly rows: readonly Row[];
  readonly events: string;
  readonly missed: string;
  readonly lost: string;
  readonly dropped: string;
  readonly final: boolean;
}

const document = `subscription Top($session: ID!, $by: [EventField!]!, $measures: [Measure!], $every: Duration) {
  aggregate(session: $session, groupBy: $by, measures: $measures, every: $every, replay: 1000000) {
    at events missed lost dropped final rows { key { value } count other values { name unit number } } } }`;

/** Is refused where the subscription would be. */
const check = `query Check($session: ID!, $by: [EventField!]!, $measures: [Measure!]) {
  session(id: $session) { aggregate(groupBy: $by, measures: $measures, limit: 1) { count } } }`;

const usual = ['container.name', 'process.comm'];

export function addTop(program: Command, world: World): void {
  withTarget(
    withConnection(program.command('top'))
      .description('count events by container, program or any other field, live, until Ctrl-C or --for')
      .argument('<tracker...>', 'a tracker, optionally with options: open, tcp:operations=CONNECT'),
  )
    .option(
      '--by <fields>',
      `group by these fields: image,path (image is container.image; default: ${usual.join(',')})`,
      collect,
    )
    .option('--sum <field>', 'add up this number, and sort by it: readBytes', notEmpty)
    .option('--every <duration>', 'show the counts at this interval, 100ms to 1h', span('--every', '100ms', '1h'), '1s')
    .option('-n, --limit <rows>', 'show this many groups', wholeNumber('--limit', 1, 1000), 20)
    .option('--where <expression>', 'only events that match this CEL expression, or the saved filter @NAME')
    .option('--for <duration>', 'stop after this time: 500ms, 10s, 5m')
    .option('--set <tracker.option=value>', "set a tracker's option (repeatable)", append)
    .addOption(
      new Option(
        '-o, --output <format>',
        'table (on a terminal drawn anew at each interval, else printed at the end), or json (a line for each change)',
      )
        .choices(['table', 'json'])
        .default('table'),
    )
    .action((names: readonly string[], flags: Flags) =>
      withClient(world, flags, (client) => top(client, names, flags, world)),
    );
}

/** Counts events by fields until the session ends, and prints the groups. */
export async function top(client: Client, names: readonly string[], flags: Flags, world: World): Promise<void> {
  const requests = names.map(parseTracker);
  const trackers = await describeTrackers(
    client,
    requests.map(({ name }) => name),
  );
  const known = readablePaths(trackers);
  const by = countedPaths('groupBy', flags.by ?? usual, trackers);
  const sums = flags.sum === undefined ? [] : countedPaths('measures[0].field', [flags.sum], trackers);
  const input = {
    trackers: trackerInputs([...requests, ...(flags.set ?? []).map(parseSetting)], trackers),
    target: targetInput(flags),
    where: flags.where === undefined ? null : await whereInput(flags.where, flags, known),
    capture: 'DEMANDED',
    // Captured from the first event on, also before our subscription is there. What events themselves have not, the aggregate may.
    fields: [...by, ...sums].filter((path) => knownPaths(trackers).has(path)),
    for: flags.for ?? null,
    name: flags.name ?? `eunomia top ${names.join(' ')}`.slice(0, 100),
  };
  await withSession(client, input, async (session, stop) => {
    const end = (): void => void stop().catch(() => undefined);
    world.signal.addEventListener('abort', end, { once: true });
    if (world.signal.aborted) end();
    const started = performance.now();
    const groups = new Groups(headersOf(by, known), flags);
    let last: Change | null = null;
    let isRead = true;
    const { output } = world;
    const isLive = flags.output === 'table' && output.width !== null;
    const draw = async (final: boolean): Promise<boolean> =>
      (!isLive || (await output.clear())) && output.write(groups.table(output, final));
    try {
      const measures = sums.map((field) => ({ fn: 'SUM', field }));
      await client.query(check, { session, by, measures });
      world.tell(`counting${flags.for === undefined ? '' : ` for ${flags.for}`}; Ctrl-C stops`);
      for await (const { aggregate: change } of client.subscribe<{ aggregate: Change }>(document, {
        session,
        by,
        measures,
        every: flags.every,
      })) {
        groups.add(change, (performance.now() - started) / 1000);
        last = change;
        if (flags.output === 'json')
          isRead = await unlessAborted(output.write(`${JSON.stringify(change)}\n`), world.signal);
        else if (isLive) isRead = await unlessAborted(draw(change.final), world.signal);
        if (!isRead) break;
      }
    } finally {
      world.signal.removeEventListener('abort', end);
      // Also where the server has gone: what was counted until then.
      if (last && flags.output !== 'json' && !isLive) isRead = await unlessAborted(draw(true), world.signal);
    }
    if (last) world.tell(`${summary(last)}${isRead || world.signal.aborted ? '' : ' (the reader went away)'}`);
  });
}

function summary({ events, lost, dropped, missed }: Change): string {
  const late = missed === '0' ? '' : `, ${missed} too late for a row`;
  return `${counted(Number(events), 'event')}, ${lost} lost, ${dropped} dropped${late}`;
}

/** The groups as they are now, and what came since the change before. */
export class Groups {
  readonly #by: readonly string[];
  readonly #flags: Pick<Flags, 'sum' | 'limit'>;
  readonly #rows = new Map<string, Group>();
  /** Between the start, as this process saw it, and the last change. */
  #seconds = 0;
  #changes = 0;
  #at: number | null = null;

  /** `by`: headers of what it is grouped by. */
  constructor(by: readonly string[], flags: Pick<Flags, 'sum' | 'limit'>) {
    this.#by = by;
    this.#flags = flags;
  }

  /** `sinceStart`: seconds, of the first change. After it, the server's clock counts. */
  add({ at, rows }: Pick<Change, 'at' | 'rows'>, sinceStart: number): void {
    const now = Date.parse(at);
    const seconds = this.#at === null ? sinceStart : (now - this.#at) / 1000;
    this.#at = now;
    this.#seconds += seconds;
    this.#changes++;
    for (const row of rows) {
      const key = JSON.stringify([row.other, ...row.key.map(({ value }) => value)]);
      const before = Number(this.#rows.get(key)?.row.count ?? 0);
      const rate = seconds > 0 ? (Number(row.count) - before) / seconds : 0;
      this.#rows.set(key, { row, rate, change: this.#changes });
    }
  }

  /** The largest groups first, up to the limit and the terminal's height. `final`: as many as the limit, and rates of the whole time. */
  table({ width, height }: Pick<Output, 'width' | 'height'>, final: boolean): string {
    const { sum } = this.#flags;
    // A row for the header, and one for the cursor: what scrolls off is the header, and the largest groups.
    const limit = height === null || final ? this.#flags.limit : Math.min(this.#flags.limit, Math.max(1, height - 2));
    const rateOf = ({ row, rate, change }: Group): number => {
      if (final) return this.#seconds > 0 ? Number(row.count) / this.#seconds : 0;
      // A group that is not in the last change has had no event since.
      return change === this.#changes ? rate : 0;
    };
    const amount = ({ row }: Group): number => (sum === undefined ? Number(row.count) : (row.values[0]?.number ?? 0));
    const sorted = [...this.#rows.values()].sort((a, b) => amount(b) - amount(a)).slice(0, limit);
    const headers = ['count', 'per second', ...(sum === undefined ? [] : [`sum(${sum})`]), ...this.#by];
    const table = new Table(headers, width);
    return table.render(
      sorted.map((group) => [
        group.row.count,
        rateText(rateOf(group)),
        ...(sum === undefined ? [] : [sumText(group.row)]),
        ...group.row.key.map(({ value }) => (group.row.other ? '(others)' : (value ?? ''))),
      ]),
    );
  }
}

/** A group with one event in 3 s has not none. */
function rateText(rate: number): string {
  return rate > 0 && rate < 1 ? '<1' : String(Math.round(rate));
}

function sumText({ values: [value] }: Row): string {
  if (!value || value.number === null) return '';
  if (value.unit === 'BYTES') return bytesText(value.number);
  return value.unit === 'NANOSECONDS' ? durationText(BigInt(Math.round(value.number))) : String(value.number);
}
