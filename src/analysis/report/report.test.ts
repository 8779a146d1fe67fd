import { describe, expect, it } from 'vitest';
import {
  markdown,
  ReportBuilder,
  reportDemand,
  type ReportSource,
  type ReportSubject,
  type ReportTracker,
} from './index.js';
import { Tally } from './section/tally.js';
import { loadTrackers } from '../../catalog/load.js';
import type { TraceEvent } from '../../event/event.js';
import { Missing } from '../../event/missing.js';
import { compareReports, type BehaviourReport } from '../../event/report.js';
import type { ReportFeed } from '../../event/report-feed.js';
import { eventWith } from '../../../test/support/event.js';

const trackers: readonly ReportTracker[] = (await loadTrackers()).map(({ name, report = null }) => ({ name, report }));
const known = ['exec', 'exit', 'open', 'tcp', 'syscall'];
type Given = Partial<Omit<ReportSubject, 'trackers'>> & {
  /** Those of the session. */
  readonly ran?: readonly string[];
  readonly options?: ReportSource['options'];
  /** Of the build. */
  readonly trackers?: readonly ReportTracker[];
};
const subject = ({ ran: _ran, options: _options, ...given }: Given = {}): ReportSubject => ({
  session: 's',
  container: null,
  host: false,
  from: null,
  to: null,
  trackers,
  narrowed: [],
  ...given,
});
const source = (given: Partial<ReportSource> = {}): ReportSource => ({
  id: 's',
  trackers: known,
  options: {},
  excluded: [],
  from: '2026-01-31T08:15:00.000000000Z',
  to: '2026-01-31T08:16:00.000000000Z',
  ...given,
});
const web = { id: 'a'.repeat(64), name: 'web', image: 'nginx' };

let second = 0;
function event(tracker: string, fields: Record<string, unknown>, container: object | null = web): TraceEvent {
  second = (second + 1) % 60;
  return eventWith(tracker, {
    time: `2026-01-31T08:15:${String(second).padStart(2, '0')}.000000000Z`,
    process: { comm: 'worker' },
    container,
    ...fields,
  });
}
const opened = (path: string, flags: string[], errno: string | null = null): TraceEvent =>
  event('open', { path, resolved: errno === null ? path : null, flags, errno });
const tcp = (operation: string, more: Record<string, unknown> = {}): TraceEvent =>
  event('tcp', {
    tcpOperation: operation,
    errno: null,
    localAddress: '10.0.0.1',
    localPort: 40_000,
    remoteAddress: '10.0.0.2',
    remotePort: 443,
    sentBytes: null,
    receivedBytes: null,
    ...more,
  });

function reportOf(events: readonly TraceEvent[], given: Given = {}, top = 100): BehaviourReport {
  const { ran = known, options = {} } = given;
  const builder = new ReportBuilder(subject(given));
  builder.begin(source({ trackers: ran, options }));
  for (const each of events) builder.add(each);
  return builder.build(top, new Missing());
}

describe('a report', () => {
  it('tells opens for reading from those for writing, and counts one for both in both', () => {
    const report = reportOf([
      opened('/r', ['O_RDONLY', 'O_CREAT']),
      opened('/w', ['O_WRONLY']),
      opened('/rw', ['O_RDWR']),
      opened('/t', ['O_RDONLY', 'O_TRUNC']),
      opened('/name', ['O_RDONLY', 'O_PATH']),
      opened('/no', ['O_WRONLY'], 'EACCES'),
    ]);
    expect(report.filesRead?.entries.map(({ path }) => path)).toEqual(['/r', '/rw', '/t']);
    expect(report.filesWritten?.entries.map(({ path }) => path)).toEqual(['/rw', '/t', '/w']);
    expect(report.failedOpens?.entries).toEqual([{ path: '/no', errno: 'EACCES', count: '1', comms: ['worker'] }]);
  });

  it('gives the bytes of a closed connection to the peer that it was made with, whoever made it', () => {
    const close = { sentBytes: '100', receivedBytes: '9007199254740993' };
    const report = reportOf([
      tcp('CONNECT'),
      tcp('CLOSE', close),
      tcp('CONNECT'),
      tcp('ACCEPT', { localPort: 80, remotePort: 50_000 }),
      tcp('CLOSE', { localPort: 80, remotePort: 50_000, ...close }),
      tcp('CLOSE', { remotePort: 7, ...close }),
      tcp('CONNECT_FAILED', { remotePort: 8, errno: 'ECONNREFUSED' }),
    ]);
    expect(
      report.peers?.entries.map(({ direction, port, count, sentBytes, receivedBytes, errno }) => ({
        direction,
        port,
        count,
        sentBytes,
        receivedBytes,
        errno,
      })),
    ).toEqual([
      { direction: 'OUT', port: 443, count: '2', sentBytes: '100', receivedBytes: '9007199254740993', errno: null },
      { direction: 'IN', port: 80, count: '1', sentBytes: '100', receivedBytes: '9007199254740993', errno: null },
      { direction: 'OUT', port: 8, count: '1', sentBytes: '0', receivedBytes: '0', errno: 'ECONNREFUSED' },
      { direction: 'UNKNOWN', port: 7, count: '1', sentBytes: '100', receivedBytes: '9007199254740993', errno: null },
    ]);
    expect(report.listeningPorts?.entries).toEqual([{ address: '10.0.0.1', port: 80, count: '1', comms: ['worker'] }]);
  });

  it('counts what is beyond `top`, and what it could not tell apart', () => {
    const report = reportOf(
      [...'aaabbc'].map((name) => event('syscall', { name, errno: name === 'b' ? 'EPERM' : null })),
      {},
      1,
    );
    expect(report.syscalls).toEqual({
      entries: [{ name: 'a', count: '3', errors: '0' }],
      other: { entries: 2, count: '3' },
    });
    const tally = new Tally<number>();
    for (let i = 0; i < 20_010; i++) tally.add(String(i), () => i);
    const { entries, other } = tally.section(20_000, (entry, count) => ({ entry, count }));
    expect(entries).toHaveLength(20_000);
    expect(other).toEqual({ entries: null, count: '10' });
  });

  it('takes the calls of the tracker syscount as they are aggregated, and not twice', () => {
    const aggregated = event('syscount', { name: 'read', count: '1000', errors: '3' });
    const report = reportOf([aggregated, event('syscall', { name: 'read', errno: null })], {
      ran: ['syscount', 'syscall'],
    });
    expect(report.syscalls?.entries).toEqual([{ name: 'read', count: '1000', errors: '3' }]);
  });

  it('is of its container and its time alone', () => {
    const of = (seconds: number, container: object | null): TraceEvent => ({
      ...event('syscall', { name: 'read', errno: null }, container),
      time: `2026-01-31T08:15:${seconds}.000000000Z`,
    });
    const events = [of(10, web), of(20, web), of(20, { ...web, id: 'b' }), of(20, null), of(30, web)];
    expect(reportOf(events, { container: web }).events).toBe('3');
    expect(reportOf(events, { host: true }).events).toBe('1');
    expect(
      reportOf(events, { container: web, from: '2026-01-31T08:15:20.000000000Z', to: '2026-01-31T08:15:30.000000000Z' })
        .events,
    ).toBe('1');
  });

  it('counts names that DNS was asked for, and how often and why there was no answer', () => {
    const dns = (operation: string, name: string | null, queryType: string | null, rcode: string | null = null) =>
      event('dns', { dnsOperation: operation, name, queryType, rcode });
    const report = reportOf(
      [
        dns('QUERY', 'a.test', 'A'),
        dns('QUERY', 'a.test', 'AAAA'),
        dns('RESPONSE', 'a.test', 'A', 'NOERROR'),
        dns('RESPONSE', 'a.test', 'AAAA', 'SERVFAIL'),
        dns('QUERY', 'gone.test', 'A'),
        dns('RESPONSE', 'gone.test', 'A', 'NXDOMAIN'),
        dns('RESPONSE', 'early.test', 'A', 'NOERROR'), // whose query was before the session
        dns('QUERY', null, null),
        dns('QUERY', 'null', 'A'),
      ],
      { ran: ['dns'] },
    );
    const of = (name: string | null, types: string[], count: string, responses: string, failures: string[]) => ({
      name,
      types,
      count,
      responses,
      failed: String(failures.length),
      failures,
      comms: ['worker'],
    });
    expect(report.dnsNames?.entries).toEqual([
      of('a.test', ['A', 'AAAA'], '2', '2', ['SERVFAIL']),
      of(null, [], '1', '0', []),
      of('gone.test', ['A'], '1', '1', ['NXDOMAIN']),
      of('null', ['A'], '1', '0', []),
      of('early.test', ['A'], '0', '1', []),
    ]);
    expect(markdown(report)).toContain('| 1 | gone.test | A | 1 | 1 | NXDOMAIN | worker |');
  });

  it('counts calls that seccomp refused, by call, action and error', () => {
    const refused = (name: string, action: string, errno: string | null) => event('seccomp', { name, action, errno });
    const report = reportOf(
      [
        refused('mount', 'ERRNO', 'EPERM'),
        refused('mount', 'ERRNO', 'EPERM'),
        refused('mount', 'ERRNO', null), // pretends success
        refused('keyctl', 'KILL_PROCESS', null),
      ],
      { ran: ['seccomp'], options: { seccomp: { actions: ['ERRNO'] } } },
    );
    const comms = ['worker'];
    expect(report.refusedCalls?.entries).toEqual([
      { name: 'mount', action: 'ERRNO', errno: 'EPERM', count: '2', comms },
      { name: 'keyctl', action: 'KILL_PROCESS', errno: null, count: '1', comms },
      { name: 'mount', action: 'ERRNO', errno: null, count: '1', comms },
    ]);
    expect(report.restricted.map(({ section, restriction }) => [section, restriction])).toEqual([
      ['refusedCalls', 'seccomp.actions'],
    ]);
    expect(markdown(report)).toContain('| 2 | mount | ERRNO | EPERM | worker |');
    expect(compareReports(reportOf([], { ran: ['seccomp'] }), report).added.map(({ what }) => what)).toEqual([
      'mount (EPERM)',
      'keyctl (KILL_PROCESS)',
      'mount (ERRNO)',
    ]);
  });

  it('says of each section that is missing which tracker would feed it', () => {
    const report = reportOf([], { ran: ['exec'] });
    expect(report.programs).toEqual({ entries: [], other: { entries: 0, count: '0' } });
    expect(report.filesRead).toBeNull();
    expect(report.missing).toContainEqual({
      section: 'filesRead',
      tracker: 'opencount',
      problem: 'not observed: the session ran without the tracker opencount',
    });
    expect(report.missing).toContainEqual({
      section: 'syscalls',
      tracker: 'syscount',
      problem: 'not observed: the session ran without the tracker syscount',
    });
    expect(report.missing).toContainEqual({
      section: 'dnsNames',
      tracker: 'dns',
      problem: 'not observed: the session ran without the tracker dns',
    });
  });

  it('says which options of the trackers left events out, and of each section what it lacks', () => {
    const report = reportOf([], {
      options: {
        open: { failedOnly: true, writesOnly: false },
        exec: { failed: true },
        syscall: { only: ['read'], ownCalls: true },
      },
    });
    expect(report.restrictions).toEqual(['open.failedOnly', 'syscall.only']);
    expect(report.restricted).toEqual([
      {
        section: 'filesRead',
        restriction: 'open.failedOnly',
        excluded: 'opens that succeed are excluded',
        value: 'true',
      },
      {
        section: 'filesWritten',
        restriction: 'open.failedOnly',
        excluded: 'opens that succeed are excluded',
        value: 'true',
      },
      {
        section: 'syscalls',
        restriction: 'syscall.only',
        excluded: 'calls that are not listed are excluded',
        value: '["read"]',
      },
    ]);
    const text = markdown(report);
    expect(text).toContain('**Only a part was looked at**: events are excluded by open.failedOnly, syscall.only');
    expect(text).toContain(
      '## Files opened for writing\n\nIncomplete: opens that succeed are excluded (open.failedOnly).\n\nNone.',
    );
    expect(text).toContain('## Failed opens\n\nNone.');
    expect(compareReports(report, reportOf([])).certain).toBe(false);
  });

  it('counts what a new tracker of a known kind feeds, by its definition alone', () => {
    const archive: ReportFeed<'files'> = {
      feeds: 'files',
      demand: ['member'],
      read: ({ member, refused }: TraceEvent & { readonly member: string; readonly refused?: boolean }) =>
        refused
          ? null
          : {
              path: member,
              absolute: member,
              errno: null,
              reads: true,
              writes: false,
              count: 1,
              first: null,
              last: null,
            },
      restricting: [{ option: 'big', says: 'small members are excluded', applies: (value) => value === 'yes' }],
    };
    const build = [...trackers, { name: 'archive', report: archive }];
    const report = reportOf([event('archive', { member: 'a.tar:b' }), event('archive', { refused: true })], {
      trackers: build,
      ran: ['archive'],
      options: { archive: { big: 'yes' } },
    });
    expect(report.filesRead?.entries).toEqual([{ path: 'a.tar:b', errno: null, count: '1', comms: ['worker'] }]);
    expect(report.events).toBe('2');
    expect(report.restricted.map(({ section }) => section)).toEqual(['filesRead', 'filesWritten', 'failedOpens']);
    expect(report.missing.map(({ section }) => section)).not.toContain('filesRead');
    expect(reportDemand(build).get('archive')).toEqual(new Set(['member']));
  });

  it('is not restricted by the options of a tracker whose events it does not count', () => {
    const restrict = (ran: readonly string[]): readonly string[] =>
      reportOf([], { ran, options: { syscall: { failedOnly: true }, bind: { failedOnly: true } } }).restrictions;
    expect(restrict(['syscall'])).toEqual(['syscall.failedOnly']);
    expect(restrict(['syscall', 'syscount', 'bind'])).toEqual([]);
  });

  it('as Markdown lets no name of a file or process format the page', () => {
    const text = markdown(reportOf([opened('/a|b`c`\n# d<script>', ['O_RDONLY'])]));
    expect(text).toContain('| 1 | `` /a\\|b`c`\\u000a# d<script> `` | worker |');
  });
});

describe('two reports', () => {
  const first = [opened('/same', ['O_RDONLY']), opened('/old', ['O_RDONLY'])];
  const later = [opened('/same', ['O_RDONLY']), opened('/same', ['O_RDONLY']), opened('/new', ['O_WRONLY'])];

  it('differ in what is new and what is gone, not in how often', () => {
    expect(compareReports(reportOf(first), reportOf(later))).toEqual({
      added: [{ section: 'filesWritten', what: '/new', count: '1' }],
      gone: [{ section: 'filesRead', what: '/old', count: '1' }],
      notCompared: [],
      certain: true,
    });
    expect(compareReports(reportOf(first), reportOf(first))).toEqual({
      added: [],
      gone: [],
      notCompared: [],
      certain: true,
    });
  });

  it('are certain only where both exclude the same from what is compared', () => {
    const filtered = (value: string): BehaviourReport =>
      reportOf(first, {
        narrowed: [{ restriction: 'session.where', excluded: 'events that do not match are excluded', value }],
      });
    const listed = (...only: string[]): BehaviourReport => reportOf(first, { options: { syscall: { only } } });
    expect(filtered('process.uid == 0')).toMatchObject({ complete: false, restrictions: ['session.where'] });
    expect(filtered('process.uid == 0').restricted).toContainEqual({
      section: 'filesRead',
      restriction: 'session.where',
      excluded: 'events that do not match are excluded',
      value: 'process.uid == 0',
    });
    expect(markdown(filtered('process.uid == 0'))).toContain(
      'Incomplete: events that do not match are excluded (session.where: `process.uid == 0`).',
    );
    expect(compareReports(reportOf(first), filtered('process.uid == 0')).certain).toBe(false);
    expect(compareReports(filtered('process.uid == 0'), filtered('process.uid == 1')).certain).toBe(false);
    expect(compareReports(filtered('process.uid == 0'), filtered('process.uid == 0')).certain).toBe(true);
    expect(compareReports(listed('read'), listed('write')).certain).toBe(false);
    expect(compareReports(listed('read'), listed('read')).certain).toBe(true);
    const at = (ports: readonly number[] | null): BehaviourReport =>
      reportOf(first, { ran: ['open', 'dns'], options: { dns: { ports } } });
    expect(compareReports(at([5353]), at(null)).certain).toBe(false);
    expect(compareReports(at(null), at(null)).certain).toBe(true);
  });

  it('are certain only where the trackers of both told of what they leave out by default, or of neither', () => {
    const among = (options: Readonly<Record<string, Readonly<Record<string, unknown>>>>): BehaviourReport =>
      reportOf(first, { ran: ['open', 'syscall', 'privilege', 'capability'], options });
    const usual = among({ syscall: { ownCalls: false }, privilege: { routine: false }, capability: { memory: false } });
    expect(usual).toMatchObject({ restrictions: [], extensions: [] });
    for (const [tracker, option] of [
      ['syscall', 'ownCalls'],
      ['privilege', 'routine'],
      ['privilege', 'ownCalls'],
      ['capability', 'memory'],
      ['capability', 'ownCalls'],
    ] as const) {
      const more = among({ [tracker]: { [option]: true } });
      expect(more.extensions).toEqual([`${tracker}.${option}`]);
      expect(markdown(more)).toContain(`**More than by default**: events are added by ${tracker}.${option}.`);
      expect(compareReports(usual, more).certain).toBe(false);
      expect(compareReports(more, more).certain).toBe(true);
    }
  });

  it('are not certain where one is a file of a version that did not say whether something is missing uncounted', () => {
    const { uncounted: _uncounted, ...old } = reportOf(first);
    expect(compareReports(old as BehaviourReport, reportOf(first)).certain).toBe(false);
  });

  it('are not certain when one was cut, and are not compared where one has no section', () => {
    expect(compareReports(reportOf(first, {}, 1), reportOf(later)).certain).toBe(false);
    expect(compareReports(reportOf(first), reportOf([], { ran: ['open'] })).notCompared).toEqual([
      'programs',
      'peers',
      'listeningPorts',
      'syscalls',
      'exits',
    ]);
  });
});
