import { counted } from '../base/listed.js';
import { visible, visibleLines } from '../base/visible.js';
import { shellWord } from '../event/details.js';

interface Ancestor {
  readonly pid: number;
  readonly comm: string | null;
  readonly executable: string | null;
  readonly args: readonly string[] | null;
}

/** An alert with all that people look at. */
export interface WholeAlert {
  readonly id: string;
  readonly severity: string;
  readonly state: string;
  readonly title: string;
  readonly message: string;
  readonly source: string;
  readonly tags: readonly string[];
  readonly attack: readonly string[];
  readonly time: string;
  readonly raisedAt: string;
  readonly lastAt: string;
  readonly count: string;
  readonly tracker: string | null;
  readonly sessionId: string | null;
  readonly eventId: string | null;
  readonly process: { readonly pid: number; readonly comm: string | null; readonly uid: number | null } | null;
  readonly container: { readonly id: string; readonly name: string | null; readonly image: string | null } | null;
  readonly silencedBy: { readonly id: string; readonly reason: string } | null;
  readonly rule: { readonly evades: string | null; readonly falsePositives: string | null } | null;
  readonly history: readonly {
    readonly action: string;
    readonly by: string;
    readonly at: string;
    readonly comment: string | null;
  }[];
  readonly evidence: {
    readonly event: object | null;
    readonly ancestors: readonly Ancestor[];
    readonly truncated: boolean;
    readonly eventsAfter: readonly object[];
    readonly gathering: boolean;
    readonly eventsAfterProblem: string | null;
  } | null;
}

/** What `WholeAlert` has, and what only JSON shows. */
export const fieldsOfAlert = `id severity state title message source ruleName tags attack time raisedAt lastAt count key tracker sessionId
  eventId process { pid ppid uid comm startTime } container { id name image } silencedBy { id reason until } rule { evades falsePositives }
  history { action by at comment }
  evidence { event ancestors { pid uid comm executable args startTime } container events
    eventsAfter gathering eventsAfterProblem truncated }`;

/** An alert for a person: a line a fact, those without a value left out. */
export function alertText(alert: WholeAlert): string {
  const { process, container, evidence, silencedBy, rule } = alert;
  const facts: readonly (readonly [name: string, value: string | null])[] = [
    ['alert', alert.id],
    ['severity', alert.severity.toLowerCase()],
    ['state', alert.state.toLowerCase()],
    ['title', alert.title],
    ['message', alert.message],
    ['source', alert.source],
    ['tags', [...alert.attack, ...alert.tags].join(', ') || null],
    ['happened', alert.time],
    ['raised', `${counted(alert.count, 'time')}, ${alert.raisedAt} to ${alert.lastAt}`],
    ['silenced', silencedBy && `${silencedBy.reason} (${silencedBy.id})`],
    ['container', container && [container.name ?? container.id, container.image ?? ''].join(' ').trim()],
    [
      'process',
      process && `${process.pid} ${process.comm ?? ''}${process.uid === null ? '' : `, user ${process.uid}`}`,
    ],
    ...(evidence?.ancestors ?? []).map((one) => ['  of', ancestorText(one)] as const),
    ['session', alert.sessionId],
    ['event', alert.eventId],
    ...Object.entries(evidence?.event ?? {}).map(([name, value]) => [`  ${name}`, valueText(value)] as const),
    ['after', evidence && afterText(evidence)],
    ['left out', evidence?.truncated === true ? 'what had more than 64 KiB' : null],
    ['evaded by', rule?.evades ?? null],
    ['also raised by', rule?.falsePositives ?? null],
    ...alert.history.map(
      ({ action, by, at, comment }) =>
        [action.toLowerCase(), `${at} by ${by}${comment === null ? '' : `: ${comment}`}`] as const,
    ),
  ];
  const told = facts.filter((fact): fact is readonly [string, string] => fact[1] !== null && fact[1] !== '');
  const width = Math.max(...told.map(([name]) => name.length));
  const indent = `\n${' '.repeat(width + 2)}`;
  return told
    .map(
      ([name, value]) => `${visible(name).padEnd(width)}  ${visibleLines(value).replaceAll('\n', indent).trimEnd()}\n`,
    )
    .join('');
}

function afterText({
  eventsAfter,
  gathering,
  eventsAfterProblem,
}: Pick<NonNullable<WholeAlert['evidence']>, 'eventsAfter' | 'gathering' | 'eventsAfterProblem'>): string | null {
  if (gathering) return 'events are being gathered';
  const events = eventsAfter.length > 0 ? `${counted(eventsAfter.length, 'event')} (shown with --output json)` : '';
  return [events, eventsAfterProblem ?? ''].filter(Boolean).join('; ') || null;
}

function ancestorText({ pid, comm, executable, args }: Ancestor): string {
  const command = args?.map(shellWord).join(' ') ?? executable ?? '';
  return `${pid} ${comm ?? ''}${command === '' ? '' : `: ${command}`}`;
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
