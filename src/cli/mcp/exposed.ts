import type { Exposed } from './command-tool.js';

/** The commands that agents may use. What an agent reads first is small: aggregates, and a page of events. */
export const exposed: readonly Exposed[] = [
  {
    tool: 'trackers',
    command: ['trackers'],
    description:
      'List what can be watched, or, with a name, the options and fields of one tracker: events are filtered and counted by fields.',
  },
  { tool: 'containers', command: ['containers'] },
  { tool: 'processes', command: ['processes'], defaults: { limit: '50' } },
  { tool: 'sockets', command: ['sockets'], defaults: { limit: '50' } },
  { tool: 'files', command: ['files'], defaults: { limit: '50' } },
  {
    tool: 'count',
    command: ['top'],
    description:
      'Watch from now on for a time, and count events by container, program or any other field. Exact, however many there ' +
      'are: use it before `trace`.',
    without: ['every'],
    defaults: { for: '5s' },
  },
  {
    tool: 'trace',
    command: ['run'],
    description: 'Watch from now on for a time, or until there are `limit` events, and return single events.',
    without: ['gaps', 'name', 'capture', 'persist', 'plugin'],
    defaults: { for: '5s', limit: '50' },
  },
  {
    tool: 'report',
    command: ['report'],
    description:
      'Report what a container or the host did: programs, files, network, DNS, system calls, privileges. Of a session, of a ' +
      'range of time that is stored (`since`), or, without both, of what it does from now on for a time.',
    without: ['other', 'file', 'compare', 'json', 'markdown'],
    defaults: { top: '15' },
  },
  {
    tool: 'history',
    command: ['export'],
    needsServer: true,
    description: 'Return stored events of a time in the past (`from`), or their aggregates (`group-by`), as CSV.',
    without: ['file', 'follow'],
    defaults: { from: '24h' },
    fixed: { format: 'csv' },
  },
  { tool: 'status', command: ['status'], needsServer: true },
  { tool: 'sessions', command: ['sessions'], needsServer: true },
  { tool: 'alerts', command: ['alerts', 'list'], needsServer: true, without: ['command'], defaults: { limit: '20' } },
  { tool: 'alert', command: ['alerts', 'show'], needsServer: true },
  { tool: 'rules', command: ['rules', 'list'], needsServer: true },
  { tool: 'saved_queries', command: ['queries'], needsServer: true },
  { tool: 'start_session', command: ['start'], needsServer: true, changes: true },
  { tool: 'stop_session', command: ['stop'], needsServer: true, changes: true },
  { tool: 'update_session', command: ['update'], needsServer: true, changes: true },
  ...(['acknowledge', 'resolve', 'reopen', 'comment'] as const).map((name): Exposed => ({
    tool: `${name}_alert`,
    command: ['alerts', name],
    needsServer: true,
    changes: true,
  })),
  { tool: 'silence_alerts', command: ['alerts', 'silence'], needsServer: true, changes: true },
];
