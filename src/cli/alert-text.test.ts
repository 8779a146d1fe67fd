import { expect, it } from 'vitest';
import { alertText, type WholeAlert } from './alert-text.js';

const bare: WholeAlert = {
  id: 'a1',
  severity: 'HIGH',
  state: 'OPEN',
  title: 'A shell.',
  message: 'sh started',
  source: 'rule:shell',
  tags: [],
  attack: [],
  time: 't0',
  raisedAt: 't1',
  lastAt: 't2',
  count: '2',
  tracker: null,
  sessionId: null,
  eventId: null,
  process: null,
  container: null,
  silencedBy: null,
  rule: null,
  history: [],
  evidence: null,
};

it('tells what there is, and leaves out what there is not', () => {
  expect(alertText(bare)).toBe(
    'alert     a1\nseverity  high\nstate     open\ntitle     A shell.\nmessage   sh started\nsource    rule:shell\n' +
      'happened  t0\nraised    2 times, t1 to t2\n',
  );
});

it('has the processes above it, its event, and what people said, each line behind its name', () => {
  const text = alertText({
    ...bare,
    process: { pid: 7, comm: 'sh', uid: 0 },
    container: { id: 'c1', name: null, image: 'nginx' },
    history: [{ action: 'COMMENTED', by: 'token', at: 't3', comment: 'two\nlines' }],
    evidence: {
      event: { path: '/etc/shadow', flags: ['O_RDONLY'] },
      ancestors: [
        { pid: 6, comm: 'bash', executable: '/bin/bash', args: ['bash', '-c', 'a b'] },
        { pid: 1, comm: 'init', executable: null, args: null },
      ],
      truncated: true,
      eventsAfter: [{ path: '/tmp/x' }],
      gathering: false,
      eventsAfterProblem: null,
    },
  });
  expect(text.split('\n').slice(8)).toEqual([
    'container  c1 nginx',
    'process    7 sh, user 0',
    "  of       6 bash: bash -c 'a b'",
    '  of       1 init',
    '  path     /etc/shadow',
    '  flags    ["O_RDONLY"]',
    'after      1 event (shown with --output json)',
    'left out   what had more than 64 KiB',
    'commented  t3 by token: two',
    '           lines',
    '',
  ]);
});

it('lets nothing that a process calls itself drive the terminal', () => {
  expect(alertText({ ...bare, message: '\u001B[2Jgone\u202E' })).toContain('message   \\u001b[2Jgone\\u202e\n');
});
