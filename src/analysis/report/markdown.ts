import type { BehaviourReport, Section } from '../../event/report.js';
import { visible } from '../../base/visible.js';

const MOST_SESSIONS = 20;

/** A report for people. Text that processes chose is code, so that none of it formats the page. */
export function markdown(report: BehaviourReport): string {
  const { container, host, from, to, trackers, events, restrictions, doubled, missing } = report;
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
      `- ${sessionsOf(report)}, trackers ${trackers.join(', ') || 'none'}; ${events} events`,
      `- ${completeness(report)}`,
      ...(restrictions.length
        ? [
            `- **Only a part was looked at**: the session ran with ${restrictions.join(', ')}; "none" below may be due to that.`,
          ]
        : []),
      ...(doubled.length
        ? [
            `- **Counted more than once**: several sessions ran with ${doubled.join(', ')} at the same time, and what more than one saw is in the counts as often.`,
          ]
        : []),
    ].join('\n'),
    section(
      'Programs',
      report.programs,
      ['Count', 'Program', 'Failed', 'For example', 'Started by'],
      ({ count, path, errno, args, parents }) => [count, path, errno, args[0]?.join(' ') ?? null, parents.join(', ')],
    ),
    section('Files opened for reading', report.filesRead, ['Count', 'Path', 'By'], ({ count, path, comms }) => [
      count,
      path,
      comms.join(', '),
    ]),
    section('Files opened for writing', report.filesWritten, ['Count', 'Path', 'By'], ({ count, path, comms }) => [
      count,
      path,
      comms.join(', '),
    ]),
    section('Failed opens', report.failedOpens, ['Count', 'Path', 'Error', 'By'], ({ count, path, errno, comms }) => [
      count,
      path,
      errno,
      comms.join(', '),
    ]),
    section(
      'Network peers',
      report.peers,
      ['Count', 'Direction', 'Address', 'Port', 'Failed', 'Bytes sent', 'Bytes received', 'By'],
      (peer) => [
        peer.count,
        peer.direction,
        peer.address,
        numberOf(peer.port),
        peer.errno,
        peer.sentBytes,
        peer.receivedBytes,
        peer.comms.join(', '),
      ],
    ),
    section(
      'Ports that accepted connections',
      report.listeningPorts,
      ['Count', 'Address', 'Port', 'By'],
      ({ count, address, port, comms }) => [count, address, numberOf(port), comms.join(', ')],
    ),
    section('System calls', report.syscalls, ['Count', 'Failed', 'Call'], ({ count, errors, name }) => [
      count,
      errors,
      name,
    ]),
    section(
      'Ends of processes',
      report.exits,
      ['Count', 'Process', 'Code', 'Signal'],
      ({ count, comm, exitCode, signal }) => [count, comm, numberOf(exitCode), signal],
    ),
    missing.length
      ? `## Not looked at\n\n${missing.map(({ section: name, reason }) => `- ${name}: ${reason}`).join('\n')}`
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
    ? `Sessions ${shown.join(', ')}${more ? ` and ${more} more` : ''}; nobody looked at other times`
    : 'No session was recorded in this time: nobody looked';
}

function completeness({ lost, dropped, complete, session }: BehaviourReport): string {
  if (complete) return 'Complete: no event was lost.';
  if (lost === '0' && dropped === '0')
    return '**Not complete**: the server was killed while it recorded, and what happened in the second before is not stored.';
  return `**Not complete**: ${lost} events were lost in the kernel, ${dropped} ${session === null ? 'are not stored' : 'were no longer held'}.`;
}

function section<Entry>(
  title: string,
  found: Section<Entry> | null,
  columns: readonly string[],
  cells: (entry: Entry) => readonly (string | null)[],
): string | null {
  if (!found) return null;
  if (!found.entries.length) return `## ${title}\n\nNone.`;
  const rows = found.entries.map((entry) => `| ${cells(entry).map(cell).join(' | ')} |`);
  const { entries, count } = found.other;
  const rest = count === '0' ? [] : ['', `And ${entries ?? 'many'} others, ${count} times in sum.`];
  return [
    `## ${title}`,
    '',
    `| ${columns.join(' | ')} |`,
    `|${columns.map(() => ' --- |').join('')}`,
    ...rows,
    ...rest,
  ].join('\n');
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
