import { Option, type Command } from 'commander';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { secondOf } from './time.js';
import { Unsuccessful } from './usage.js';
import type { World } from './world.js';

interface Named {
  readonly problem: string | null;
}

/** What is asked of the server. */
export interface Status {
  readonly server: Named & {
    readonly version: string;
    readonly hostname: string;
    readonly startedAt: string;
    readonly uptimeSeconds: number;
    readonly usage: { readonly cpuSeconds: number; readonly residentBytes: string };
    readonly healthy: boolean;
    readonly kernel: { readonly release: string };
    readonly engines: readonly (Named & { readonly endpoint: string | null; readonly connected: boolean })[];
  };
  readonly trackers: readonly (Named & { readonly name: string; readonly available: boolean })[];
  readonly stores:
    | readonly (Named & {
        readonly kind: string;
        readonly state: string;
        readonly bytes: string | null;
        readonly sessions: number;
        readonly oldest: string | null;
      })[]
    | null;
  readonly alertStatus:
    (Named & { readonly open: number; readonly acknowledged: number; readonly suppressed: string }) | null;
  readonly rules:
    | (Named & {
        readonly missed: string;
        readonly rules: readonly (Named & { readonly name: string; readonly enabled: boolean })[];
      })
    | null;
  readonly sessions: { readonly nodes: readonly RunningSession[] };
}

interface RunningSession {
  readonly id: string;
  readonly name: string | null;
  readonly trackers: readonly string[];
  readonly stats: {
    readonly received: string;
    readonly lost: string;
    readonly dropped: string;
    readonly retainedBytes: string;
    readonly subscribers: readonly object[];
  };
  readonly statsHistory: readonly { readonly time: string; readonly received: string }[] | null;
}

const document = `{
  server {
    version hostname startedAt uptimeSeconds healthy problem
    usage { cpuSeconds residentBytes } kernel { release } engines { endpoint connected problem }
  }
  trackers { name available problem }
  stores { kind state problem bytes sessions oldest }
  alertStatus { problem open acknowledged suppressed }
  rules { problem missed rules { name enabled problem } }
  sessions(state: RUNNING, first: 200) {
    nodes {
      id name trackers
      stats { received lost dropped retainedBytes subscribers { id } }
      statsHistory(last: "20s") { time received }
    }
  }
}`;

export function addStatus(program: Command, world: World): void {
  withServer(program.command('status'), 'whose status?')
    .description(
      'what a server runs, what it holds, what it has lost, and what is wrong; exit code 1 if it is not healthy',
    )
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action((flags: ServerFlags & { readonly output: 'text' | 'json' }) =>
      withClient(world, flags, async (client) => {
        const status = await client.query<Status>(document);
        await world.output.write(
          flags.output === 'json' ? `${JSON.stringify(status, null, 2)}\n` : statusText(status, world.output.width),
        );
        const { healthy, problem } = status.server;
        if (!healthy) throw new Unsuccessful(`the server is not healthy: ${problem ?? 'unknown'}`);
      }),
    );
}

/** The status for a person; `width` as tables have it. */
export function statusText(status: Status, width: number | null): string {
  const { server, stores, alertStatus, rules, sessions } = status;
  const lines = [
    `eunomia ${server.version} on ${server.hostname}, Linux ${server.kernel.release}, since ${secondOf(server.startedAt)}: ` +
      (server.healthy ? 'healthy' : 'not healthy'),
    costOf(server),
    ...(stores ?? []).map(
      ({ kind, state, bytes, sessions: count, oldest }) =>
        `store ${kind.toLowerCase()}: ${state.toLowerCase()}${bytes === null ? '' : `, ${mebibytes(bytes)} MiB`}, ` +
        `${counted(count, 'session')}${oldest === null ? '' : ` since ${secondOf(oldest)}`}`,
    ),
    ...(rules && rules.rules.length > 0
      ? [
          `rules: ${rules.rules.filter(({ enabled }) => enabled).length} of ${rules.rules.length} on, ${rules.missed} events missed`,
        ]
      : []),
    ...(alertStatus
      ? [
          `alerts: ${alertStatus.open} open, ${alertStatus.acknowledged} acknowledged, ${alertStatus.suppressed} suppressed`,
        ]
      : []),
    ...problemsOf(status).map((problem) => `problem: ${problem}`),
  ];
  const table = new Table(
    ['session', 'name', 'trackers', 'events/s', 'received', 'lost', 'dropped', 'mib', 'readers'],
    width,
  );
  const rows = sessions.nodes.map((session) => {
    const { id, name, trackers, stats } = session;
    const { received, lost, dropped, retainedBytes, subscribers } = stats;
    const own = [received, lost, dropped, mebibytes(retainedBytes), String(subscribers.length)];
    return [id, name ?? '', trackers.join(','), rateOf(session), ...own];
  });
  return `${lines.join('\n')}\n${rows.length > 0 ? `\n${table.render(rows)}` : 'no session runs\n'}`;
}

/** What the server itself takes. Of the first minute, most is its start. */
function costOf({ usage: { cpuSeconds, residentBytes }, uptimeSeconds }: Status['server']): string {
  const share = uptimeSeconds < 60 ? '' : ` (${((100 * cpuSeconds) / uptimeSeconds).toFixed(1)} % of one)`;
  return `uses ${mebibytes(residentBytes)} MiB of memory, and ${cpuSeconds.toFixed(1)} s of CPU until now${share}`;
}

function problemsOf({ server, trackers, stores, alertStatus, rules }: Status): readonly string[] {
  const named: readonly (readonly [what: string, problem: string | null])[] = [
    ['server', server.problem],
    ...server.engines.map(({ endpoint, problem }) => [`engine ${endpoint ?? 'none'}`, problem] as const),
    ...trackers.filter(({ available }) => !available).map(({ name, problem }) => [`tracker ${name}`, problem] as const),
    ...(stores ?? []).map(({ kind, problem }) => [`store ${kind.toLowerCase()}`, problem] as const),
    ['alerts', alertStatus?.problem ?? null],
    ['rules', rules?.problem ?? null],
    ...(rules?.rules ?? []).map(({ name, problem }) => [`rule ${name}`, problem] as const),
  ];
  return named.flatMap(([what, problem]) => (problem === null ? [] : [`${what}: ${problem}`]));
}

/** Events a second over the last points; empty where there is no time between them. */
function rateOf({ statsHistory }: RunningSession): string {
  const [first, last] = [statsHistory?.at(0), statsHistory?.at(-1)];
  const seconds = (Date.parse(last?.time ?? '') - Date.parse(first?.time ?? '')) / 1000;
  if (!first || !last || !(seconds > 0)) return '';
  const rate = (Number(last.received) - Number(first.received)) / seconds;
  return rate > 0 && rate < 10 ? rate.toFixed(1) : String(Math.round(rate));
}

function mebibytes(bytes: string): string {
  return (Number(bytes) / 2 ** 20).toFixed(1);
}
