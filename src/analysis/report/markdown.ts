import { sections, type BehaviourReport, type ReportSections, type Section } from '../../event/report.js';
import { counted } from '../../base/listed.js';
import { visible } from '../../base/visible.js';

const MOST_SESSIONS = 20;
/** Characters of what a restriction is set to. */
const MAX_VALUE = 300;

type EntryOf<Name extends keyof ReportSections> = NonNullable<ReportSections[Name]>['entries'][number];

/** A section as a table. */
interface SectionTable<Entry> {
  readonly title: string;
  readonly columns: readonly string[];
  readonly cells: (entry: Entry) => readonly (string | null)[];
}

const opened = (title: string): SectionTable<EntryOf<'filesRead'>> => ({
  title,
  columns: ['Count', 'Path', 'By'],
  cells: ({ count, path, comms }) => [count, path, comms.join(', ')],
});

const tables: { readonly [Name in keyof ReportSections]: SectionTable<EntryOf<Name>> } = {
  programs: {
    title: 'Programs',
    columns: ['Count', 'Program', 'Failed', 'For example', 'Started by'],
    cells: ({ count, path, errno, args, parents }) => [
      count,
      path,
      errno,
      args[0]?.join(' ') ?? null,
      parents.join(', '),
    ],
  },
  filesRead: opened('Files opened for reading'),
  filesWritten: opened('Files opened for writing'),
  failedOpens: {
    title: 'Failed opens',
    columns: ['Count', 'Path', 'Error', 'By'],
    cells: ({ count, path, errno, comms }) => [count, path, errno, comms.join(', ')],
  },
  peers: {
    title: 'Network peers',
    columns: ['Count', 'Direction', 'Address', 'Port', 'Failed', 'Bytes sent', 'Bytes received', 'By'],
    cells: ({ count, direction, address, port, errno, sentBytes, receivedBytes, comms }) => [
      count,
      direction,
      address,
      numberOf(port),
      errno,
      sentBytes,
      receivedBytes,
      comms.join(', '),
    ],
  },
  listeningPorts: {
    title: 'Ports that accepted connections',
    columns: ['Count', 'Address', 'Port', 'By'],
    cells: ({ count, address, port, comms }) => [count, address, numberOf(port), comms.join(', ')],
  },
  syscalls: {
    title: 'System calls',
    columns: ['Count', 'Failed', 'Call'],
    cells: ({ count, errors, name }) => [count, errors, name],
  },
  exits: {
    title: 'Ends of processes',
    columns: ['Count', 'Process', 'Code', 'Signal'],
    cells: ({ count, comm, exitCode, signal }) => [count, comm, numberOf(exitCode), signal],
  },
  privileges: {
    title: 'Use of privileges',
    columns: ['Count', 'Call', 'Command', 'Failed', 'By', 'Done to'],
    cells: ({ count, call, command, errno, comms, targets }) => [
      count,
      call,
      command,
      errno,
      comms.join(', '),
      targets.join(', '),
    ],
  },
  capabilities: {
    title: 'Capabilities that were checked for',
    columns: ['Count', 'Denied', 'Capability', 'By'],
    cells: ({ count, denied, capability, comms }) => [count, denied, capability, comms.join(', ')],
  },
  dnsNames: {
    title: 'Names that DNS was asked for',
    columns: ['Count', 'Name', 'Types', 'Responses', 'Failed', 'With', 'By'],
    cells: ({ count, name, types, responses, failed, failures, comms }) => [
      count,
      name,
      types.join(', '),
      responses,
      failed,
      failures.join(', '),
      comms.join(', '),
    ],
  },
  refusedCalls: {
    title: 'System calls that seccomp refused',
    columns: ['Count', 'Call', 'Action', 'Error', 'By'],
    cells: ({ count, name, action, errno, comms }) => [count, name, action, errno, comms.join(', ')],
  },
};

/** A report for people. Text that processes chose is code, so that none of it formats the page. */
export function markdown(report: BehaviourReport): string {
  const { container, host, from, to, trackers, events, restrictions, extensions = [], doubled, missing } = report;
  const title = container
    ? `container ${container.name ?? container.id.slice(0, 12)}`
    : host
      ? 'the host'
      : report.session === null
        ? 'all that was recorded'
        : 'a session';
  const parts = [
    `# Behaviour of ${cell(title)}`,
    [
      ...(container ? [`- Container: ${code(container.id)}, image ${code(container.image ?? 'unknown')}`] : []),
      `- Time: ${from ?? 'nothing happened'} to ${to ?? 'nothing happened'}`,
      `- ${sessionsOf(report)}${report.session === null ? '. Trackers' : ', trackers'} ${trackers.join(', ') || 'none'}; ` +
        counted(events, 'event'),
      `- ${completeness(report)}`,
      ...(restrictions.length
        ? [
            `- **Only a part was looked at**: events are excluded by ${restrictions.join(', ')}; "none" below may be due to that.`,
          ]
        : []),
      ...(extensions.length ? [`- **More than by default**: events are added by ${extensions.join(', ')}.`] : []),
      ...(doubled.length
        ? [
            `- **Counted more than once**: several sessions ran with ${doubled.join(', ')} at the same time, and ` +
              'what more than one saw is in the counts as often.',
          ]
        : []),
    ].join('\n'),
    ...sections.map((name) => sectionText(name, report)),
    missing.length
      ? `## Not looked at\n\n${missing.map(({ section: name, problem }) => `- ${name}: ${problem}`).join('\n')}`
      : null,
  ];
  return `${parts.filter((part) => part !== null).join('\n\n')}\n`;
}

function sessionsOf({ session, sessions }: BehaviourReport): string {
  if (session !== null) return `Session ${code(session)}`;
  const shown = sessions
    .slice(0, MOST_SESSIONS)
    .map(({ id, from, to }) => `${code(id)} (${from ?? 'not started'} to ${to ?? 'now'})`);
  const more = sessions.length - shown.length;
  return sessions.length
    ? `Sessions ${shown.join(', ')}${more ? ` and ${more} more` : ''}; other times were not observed`
    : 'No session was recorded in this time: nothing was observed';
}

function completeness({ lost, dropped, uncounted, complete, session }: BehaviourReport): string {
  if (complete) return 'Complete: no event was lost.';
  if (lost === '0' && dropped === '0' && !uncounted) return 'No event was lost of those that were looked at.';
  if (lost === '0' && dropped === '0')
    return (
      '**Not complete**: events are missing that nobody counted. The recording was cut, or the server was killed or failed ' +
      'while it recorded.'
    );
  return (
    `**Not complete**: ${lost} events were lost in the kernel, ${dropped} ` +
    `${session === null ? 'are not stored' : 'were no longer held'}.`
  );
}

function sectionText<Name extends keyof ReportSections>(name: Name, report: BehaviourReport): string | null {
  const found: Section<EntryOf<Name>> | null = report[name];
  if (!found) return null;
  const { title, columns, cells }: SectionTable<EntryOf<Name>> = tables[name];
  const restricted = report.restricted.filter(({ section }) => section === name);
  return [
    `## ${title}`,
    ...restricted.map(({ restriction, excluded, value }) => `Incomplete: ${excluded} (${restriction}${setTo(value)}).`),
    ...(found.entries.length ? tableText(found, columns, cells) : ['None.']),
  ].join('\n\n');
}

/** What a restriction is set to, where that says more than its name. */
function setTo(value: string): string {
  if (value === 'true' || value === 'false') return '';
  return `: ${code(value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}…` : value)}`;
}

function tableText<Entry>(
  { entries, other }: Section<Entry>,
  columns: readonly string[],
  cells: (entry: Entry) => readonly (string | null)[],
): string[] {
  const table = [
    `| ${columns.join(' | ')} |`,
    `|${columns.map(() => ' --- |').join('')}`,
    ...entries.map((entry) => `| ${cells(entry).map(cell).join(' | ')} |`),
  ].join('\n');
  return other.count === '0' ? [table] : [table, `And ${other.entries ?? 'many'} others, ${other.count} times in sum.`];
}

function numberOf(value: number | null): string | null {
  return value === null ? null : String(value);
}

function cell(text: string | null): string {
  if (text === null || text === '') return '';
  // "_" emphasises, and an address becomes a link by itself.
  return /^[A-Za-z0-9 .,:/-]*$/.test(text) && !/:\/\/|www\./i.test(text) ? text : code(text);
}

function code(text: string): string {
  if (text === '') return '(empty)'; // two ticks would begin a span of code
  const shown = visible(text).replaceAll('|', '\\|');
  const fence = '`'.repeat(Math.max(0, ...[...shown.matchAll(/`+/g)].map(([ticks]) => ticks.length)) + 1);
  return fence.length > 1 ? `${fence} ${shown} ${fence}` : `\`${shown}\``;
}
