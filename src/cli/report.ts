import { readFileSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { EunomiaError, messageOf } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { visible } from '../base/visible.js';
import { compareReports, type BehaviourReport, type Difference } from '../event/report.js';
import type { Client } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { replayedToEnd } from './export.js';
import { tellEnd, withReplay } from './replay.js';
import { momentOf } from './size.js';
import { UsageError, wholeNumber } from './usage.js';
import { watched } from './watched.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly session?: string;
  readonly file?: string;
  readonly for: string;
  readonly from?: string;
  readonly to?: string;
  readonly since?: string;
  readonly until?: string;
  readonly store?: string;
  readonly host?: boolean;
  readonly top: number;
  readonly json?: boolean;
  readonly markdown?: boolean;
  readonly compare?: boolean;
}

type ReportFields = BehaviourReport & { readonly markdown: string };

/** A tracker, and what it contributes to reports. */
interface Feeding {
  readonly name: string;
  readonly available: boolean;
  readonly reportSections: readonly string[];
  readonly supersededBy: readonly string[];
}

/** The session holds what it saw until it is reported. */
const BUFFER_BYTES = 512 << 20;

const OTHER = 'other { entries count }';
const REPORT = `session sessions { id trackers from to } container { id name image }
  host from to trackers events lost dropped uncounted complete restrictions
  restricted { section restriction excluded value } extensions doubled
  programs { entries { path errno count args parents } ${OTHER} }
  filesRead { entries { path errno count comms } ${OTHER} }
  filesWritten { entries { path errno count comms } ${OTHER} }
  failedOpens { entries { path errno count comms } ${OTHER} }
  peers { entries { direction address port errno count sentBytes receivedBytes comms } ${OTHER} }
  listeningPorts { entries { address port count comms } ${OTHER} }
  syscalls { entries { name count errors } ${OTHER} }
  exits { entries { comm exitCode signal count } ${OTHER} }
  privileges { entries { call command errno count comms targets } ${OTHER} }
  capabilities { entries { capability count denied comms } ${OTHER} }
  dnsNames { entries { name types count responses failed failures comms } ${OTHER} }
  refusedCalls { entries { name action errno count comms } ${OTHER} }
  missing { section tracker problem }`;

export function addReport(program: Command, world: World): void {
  const command = withConnection(program.command('report'));
  checkFlags<Flags>(command, ({ session, file, since, compare: compares }, refuse) => {
    if (compares)
      return refuse(
        [
          'session',
          'file',
          'for',
          'from',
          'to',
          'since',
          'until',
          'store',
          'host',
          'top',
          'markdown',
          'server',
          'token',
          'ca',
        ],
        'cannot be combined with --compare, which reads two existing reports',
      );
    if (session !== undefined || file !== undefined || since !== undefined)
      refuse(['for'], 'watches from now on; leave it out for what was recorded');
    if (session === undefined && file === undefined) refuse(['from', 'to'], 'belongs to --session or --file');
  });
  command
    .description(
      'report what a container did: programs, files, network, DNS, system calls (also those that seccomp refused), process ' +
        'exits, privileges, capabilities',
    )
    .argument('[container]', 'name, id or id prefix of the container; with --compare: the earlier report')
    .argument('[other]', 'with --compare: the later report')
    .option('--session <id>', 'report on the events of this session on the server given by --server')
    .option('--file <recording>', 'report on a recording; requires neither root nor a server')
    .option('--for <duration>', 'without --session, --file or --since: watch for this time, up to 10m', '30s')
    .option('--from <time>', 'only events at or after this time (RFC 3339)')
    .option('--to <time>', 'only events before this time (RFC 3339)')
    .addOption(
      new Option(
        '--since <time>',
        'report on everything stored on the server given by --server since a time (RFC 3339) or for a duration (24h)',
      ).argParser(momentOf('--since')),
    )
    .addOption(
      new Option('--until <time>', 'with --since: only events before this time').argParser(momentOf('--until')),
    )
    .addOption(new Option('--store <store>', 'with --since: the store to read').choices(['embedded', 'influx']))
    .option('--host', 'report on what happened outside containers')
    .option('--top <entries>', 'maximum number of entries per section', wholeNumber('--top', 1, 10_000), 100)
    .option('--markdown', 'print Markdown (default)')
    .option('--json', 'print JSON, which --compare can read')
    .option('--compare', 'show the differences between two reports written with --json')
    .action((container: string | undefined, other: string | undefined, flags: Flags) => {
      if (flags.json && flags.markdown) throw new UsageError('--json and --markdown exclude each other');
      if (flags.compare) return compare(container, other, flags, world);
      if (other !== undefined) throw new UsageError('only --compare takes two arguments');
      if (flags.session !== undefined && flags.file !== undefined)
        throw new UsageError('--session and --file exclude each other');
      if (flags.session !== undefined && flags.server === undefined)
        throw new UsageError('--server: which server has the session? Give its URL, or EUNOMIA_SERVER');
      checkRange(flags);
      if (flags.host && container !== undefined)
        throw new UsageError('--host: a container is not the host; leave one of them out');
      return make(container, flags, world);
    });
}

async function make(container: string | undefined, flags: Flags, world: World): Promise<void> {
  const write = async (made: ReportFields): Promise<void> => {
    const { markdown, ...report } = made;
    await world.output.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : markdown);
  };
  if (flags.file !== undefined) {
    return withReplay(world, flags.file, Number.POSITIVE_INFINITY, flags.logLevel, async (client, { id }) => {
      await replayedToEnd(client);
      await tellEnd(client, world, (lost) =>
        lost === '0' ? 'the recording lacks nothing' : `the recording lacks ${counted(lost, 'event')}`,
      );
      await write(await ask(client, id, container, flags));
    });
  }
  return withClient(world, flags, async (client) => {
    const { session } = flags;
    if (flags.since !== undefined) return write(await askHistory(client, container, flags));
    if (session !== undefined) return write(await ask(client, session, container, flags));
    if (container === undefined && !flags.host)
      throw new UsageError('whose behaviour? Name a container, or give --host, --since, --session or --file');
    return write(await trace(client, container, flags, world));
  });
}

/** What belongs together: a range of time is asked of a store, not of a session or a recording. */
function checkRange({ since, until, store, session, file, from, to, server }: Flags): void {
  const given = [...(until === undefined ? [] : ['--until']), ...(store === undefined ? [] : ['--store'])];
  if (since === undefined && given.length) throw new UsageError(`${given.join(', ')}: needs --since`);
  if (since === undefined) return;
  const others = Object.entries({ '--session': session, '--file': file, '--from': from, '--to': to })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
  if (others.length)
    throw new UsageError(
      `--since and ${others.join(', ')} exclude each other: --since is of all that was recorded in a range of time`,
    );
  if (server === undefined)
    throw new UsageError('--server: which server has recorded it? Give its URL, or EUNOMIA_SERVER');
}

async function askHistory(
  client: Client,
  container: string | undefined,
  { since, until, store, host, top }: Flags,
): Promise<ReportFields> {
  const document = `query Report($from: DateTime!, $to: DateTime, $store: StoreKind!, $container: String, $host: Boolean, $top: Int) {
    history(from: $from, to: $to, store: $store) { report(container: $container, host: $host, top: $top) { ${REPORT} markdown } }
  }`;
  const { history } = await client.query<{ history: { report: ReportFields } }>(document, {
    from: since,
    to: until ?? null,
    store: store?.toUpperCase() ?? 'EMBEDDED',
    container: container ?? null,
    host: host ?? false,
    top,
  });
  return history.report;
}

async function ask(
  client: Client,
  session: string,
  container: string | undefined,
  { from, to, host, top }: Flags,
): Promise<ReportFields> {
  const document = `query Report($session: ID!, $container: String, $host: Boolean, $from: DateTime, $to: DateTime, $top: Int) {
    session(id: $session) { report(container: $container, host: $host, from: $from, to: $to, top: $top) { ${REPORT} markdown } }
  }`;
  const { session: found } = await client.query<{ session: { report: ReportFields } | null }>(document, {
    session,
    container: container ?? null,
    host: host ?? false,
    from: from ?? null,
    to: to ?? null,
    top,
  });
  if (!found)
    throw new EunomiaError('UNKNOWN_SESSION', `--session: the server has no session ${JSON.stringify(session)}`);
  return found.report;
}

/** Watches for a time, and reports of it. */
async function trace(client: Client, container: string | undefined, flags: Flags, world: World): Promise<ReportFields> {
  const { trackers } = await client.query<{ trackers: readonly Feeding[] }>(
    '{ trackers { name available reportSections supersededBy } }',
  );
  const feeding = trackers.filter(({ available, reportSections }) => available && reportSections.length > 0);
  // Of trackers that observe the same, the one with the lowest cost.
  const chosen = feeding.filter(({ supersededBy }) => !feeding.some(({ name }) => supersededBy.includes(name)));
  const input = {
    trackers: chosen.map(({ name }) => ({ [name]: {} })),
    target:
      container === undefined
        ? null
        : { containers: [/^[0-9a-f]{12,64}$/.test(container) ? { id: container } : { name: container }] },
    capture: 'DEFAULT',
    for: flags.for,
    ttl: '1m',
    bufferBytes: BUFFER_BYTES,
    name: `eunomia report ${container ?? 'host'}`.slice(0, 100),
  };
  return watched(client, input, world.signal, {
    started: () => world.tell(`watching for ${flags.for}; Ctrl-C stops and reports`),
    ended: (id) => ask(client, id, container, flags),
  });
}

async function compare(
  before: string | undefined,
  after: string | undefined,
  flags: Flags,
  world: World,
): Promise<void> {
  if (before === undefined || after === undefined)
    throw new UsageError('--compare needs two files: the earlier report, and the later one');
  const comparison = comparisonOf(before, after);
  if (flags.json) return void (await world.output.write(`${JSON.stringify(comparison, null, 2)}\n`));
  const list = (sign: string, differences: readonly Difference[]): string =>
    differences.map(({ section, what, count }) => `${sign} ${section}: ${visible(what)} (${count})\n`).join('');
  const { added, gone, notCompared, certain } = comparison;
  await world.output.write(list('+', added) + list('-', gone));
  if (!added.length && !gone.length) world.tell('no difference');
  if (notCompared.length)
    world.tell(`only one of the reports has these sections, so they were not compared: ${notCompared.join(', ')}`);
  if (!certain)
    world.tell(
      'one of the reports lacks events, does not list all entries, or excludes other events than the other one ' +
        '(options, filters, targets): a difference may be caused by what was observed',
    );
}

function comparisonOf(before: string, after: string): ReturnType<typeof compareReports> {
  const [old, now] = [read(before), read(after)];
  try {
    return compareReports(old, now);
  } catch (error) {
    throw new UsageError(`--compare: ${before} or ${after} was changed and is no report any more: ${messageOf(error)}`);
  }
}

function read(file: string): BehaviourReport {
  let report: unknown;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`--compare: ${file}: ${messageOf(error)}`);
  }
  const looksRight =
    typeof report === 'object' &&
    report !== null &&
    'programs' in report &&
    'missing' in report &&
    'complete' in report;
  if (!looksRight)
    throw new UsageError(`--compare: ${file} is no report; write one with eunomia report CONTAINER --json`);
  return report as BehaviourReport;
}
