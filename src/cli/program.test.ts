import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { exec, FakeServer, trackers } from '../../test/support/fake-server.js';
import { noRuleTools } from '../../test/support/rule-tools.js';
import type { Request } from '../client/client.js';
import { plainOutput } from './output.js';
import { runProgram } from './program.js';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly told: string;
}

async function run(
  server: FakeServer,
  argv: readonly string[],
  { reader = true, abortAfter = -1 } = {},
): Promise<Outcome> {
  const stopping = new AbortController();
  let out = '';
  let told = '';
  const code = await runProgram(argv, '1.2.3', {
    serve: () =>
      Promise.reject(
        Object.assign(new Error('in use'), { code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port: 4000 }),
      ),
    testPlugin: () => Promise.reject(new Error('not asked for')),
    importRules: () => Promise.reject(new Error('not asked for')),
    rules: noRuleTools,
    local: async () => server,
    output: plainOutput(async (text) => {
      out += text;
      if (abortAfter >= 0 && out.length > abortAfter) stopping.abort();
      return reader;
    }),
    tell: (line) => (told += `${line}\n`),
    signal: stopping.signal,
  });
  return { code, out, told };
}

const two = [{ events: [exec(1, 'ls', '-l')] }, { events: [exec(2, 'sh', '-c', 'a b')] }];

describe('eunomia run', () => {
  it('prints events until the session ends, and removes it', async () => {
    const server = new FakeServer(two);
    const { code, out, told } = await run(server, [
      'run',
      'exec',
      '-o',
      'json',
      '--fields',
      'process.pid,args',
      '--for',
      '1s',
      '--container',
      'web*',
    ]);
    expect(out).toBe('{"process":{"pid":1},"args":["ls","-l"]}\n{"process":{"pid":2},"args":["sh","-c","a b"]}\n');
    expect(told).toMatch(/^tracing for 1s; Ctrl-C stops\n2 events, 3 lost, 0 dropped\n$/);
    expect(code).toBe(0);
    expect(server.sessions).toMatchObject([
      {
        removed: true,
        input: { trackers: [{ exec: {} }], capture: 'DEMANDED', for: '1s', target: { containers: [{ name: 'web*' }] } },
      },
    ]);
    expect(server.closed).toBe(true);
  });

  it('stops at the limit, in the midst of a batch', async () => {
    const server = new FakeServer([{ events: [exec(1, 'a'), exec(2, 'b'), exec(3, 'c')] }], { endless: true });
    const { code, out, told } = await run(server, ['run', 'exec', '--limit', '2', '-o', 'csv', '-f', 'process.pid']);
    expect(out).toBe('process.pid\r\n1\r\n2\r\n');
    expect(told).toContain('2 events, 3 lost, 0 dropped (limit)');
    expect(code).toBe(0);
    expect(server.sessions).toMatchObject([{ stopped: true, removed: true }]);
  });

  it('passes --where on as the filter of the session', async () => {
    const server = new FakeServer(two);
    await run(server, ['run', 'exec', '--where', 'process.uid == 0 && errno != null']);
    expect(server.sessions).toMatchObject([{ input: { where: { expr: 'process.uid == 0 && errno != null' } } }]);
  });

  it('ends cleanly on Ctrl-C', async () => {
    const server = new FakeServer(two, { endless: true });
    const { code, told } = await run(server, ['run', 'exec', '-o', 'json'], { abortAfter: 0 });
    expect(code).toBe(0);
    expect(told).toContain('2 events');
    expect(server.sessions).toMatchObject([{ stopped: true, removed: true }]);
  });

  it('ends quietly when its reader goes away', async () => {
    const server = new FakeServer(two, { endless: true });
    const { code, told } = await run(server, ['run', 'exec', '-o', 'json'], { reader: false });
    expect(code).toBe(0);
    expect(told).toContain('(the reader went away)');
    expect(server.sessions).toMatchObject([{ stopped: true, removed: true }]);
  });

  it('tells of gaps on stderr, or in the stream when asked', async () => {
    const gap = { from: '2026-01-31T08:15:30Z', to: '2026-01-31T08:15:31Z', lost: '1', dropped: '7', where: 'QUEUE' };
    const script = [{ gap, events: [exec(1, 'a')] }];
    const apart = await run(new FakeServer(script), ['run', 'exec', '-o', 'json', '-f', 'process.pid']);
    expect(apart.out).toBe('{"process":{"pid":1}}\n');
    expect(apart.told).toContain('gap: 1 lost in the kernel, 7 dropped');
    expect(apart.told).toContain('1 event, 3 lost, 7 dropped');
    const within = await run(new FakeServer(script), ['run', 'exec', '-o', 'json', '-f', 'process.pid', '--gaps']);
    expect(within.out).toBe(`{"gap":${JSON.stringify(gap)}}\n{"process":{"pid":1}}\n`);
  });

  it.each([
    [['run'], /^eunomia: missing required argument 'tracker'\n/],
    [['run', 'exce'], /no tracker "exce"; did you mean "exec"/],
    [['run', 'zzzzzzz'], /no tracker "zzzzzzz"; there are exec, tcp/],
    [['run', 'exec', '-f', 'arg'], /no field "arg" in exec; did you mean "args"/],
    [['run', 'exec', '-f', 'commm'], /no field "commm" in exec; did you mean "comm"/],
    // $(pidof nginx) where none runs is not to mean the whole machine.
    ...['--pid', '--uid', '--cgroup', '--fields', '--count-by'].map(
      (flag) => [['run', 'exec', flag, ''], new RegExp(`${flag} <.*Give at least one value`)] as const,
    ),
    [['top', 'exec', '--by', 'nmae'], /^eunomia: --by: no field "nmae" in exec; did you mean "name"\?\n/],
    [['top', 'exec', '--by', 'zzzzzzz'], /^eunomia: --by: no field "zzzzzzz" in exec; there are .*process.comm/],
    [['top', 'exec', '--sum', 'errno,'], /^eunomia: --sum: no field "errno," in exec; did you mean "errno"\?\n/],
    [['top', 'exec', '--every', '1ms'], /^eunomia: --every: "1ms" is no duration from 100ms to 1h/],
    [['run', 'exec', '--count-by', 'nmae'], /^eunomia: --count-by: no field "nmae" in exec; did you mean "name"\?\n/],
    [['run', 'nope'], /^eunomia: no tracker "nope"; there are exec, tcp\n/],
    [['top', 'exec', '--sum', ''], /--sum <field>.*Give a value/],
    [['run', 'exec:fail'], /no option "fail"; did you mean "failed"/],
    [['run', 'exec', '--for', 'soon'], /^eunomia: --for: "soon" is no duration/m],
    [['run', 'exec', '--where', 'bad =='], /--where: 1:7: an operand is missing\n {2}bad ==\n {8}\^/],
    [['sockets', '--where', 'bad =='], /^eunomia: --where: 1:7: an operand is missing\n {2}bad ==\n {8}\^/m],
    [['run', 'exec', '--limit', '0'], /--limit: "0" is no whole number/],
    [['run', 'exec', '-o', 'xml'], /Allowed choices are table, json, csv/],
    [['run', 'exec', '--server', 'nowhere'], /no URL like/],
    [['run', 'exec', '--gaps'], /--gaps: is for --output json/],
    [['run', 'exec', '--wait'], /--wait: waits for containers/],
    [['run', 'exec', '--no-descendants'], /--no-descendants: belongs to --pid/],
    [['run', 'exec', '--token', 'x'], /--token: says how to reach a server; give --server as well/],
    [
      ['run', 'exec', '--server', 'http://127.0.0.1:1', '--engine', 'none', '--log-level', 'info'],
      /--engine, --log-level: cannot be combined with --server/,
    ],
    [['containers', '--ca', 'x'], /--ca: says how to reach a server/],
    [
      ['replay', 'x.ndjson', '--port', '0', '-o', 'json', '-n', '5'],
      /--limit, --output: is for printing; leave it out with --port/,
    ],
    [['replay', 'x.ndjson', '--token', 'viewer:aaaaaaaaaaaaaaaa'], /--token: is for serving; give --port as well/],
    [['replay', 'x.ndjson', '--port', '0', '--tls-cert', 'a.pem'], /belong together/],
    [['update', 'abc', '--where', 'errno != null'], /--server: which server has the session\? Give its URL/],
    [['plugin', 'list'], /--server: which server has the plugins\?/],
    [['sessions', '--engine', 'none'], /unknown option '--engine'/],
    [['export', '--file', 'x.ndjson', '--follow'], /--follow: a recording has an end already/],
    [['export', '--file', 'x.ndjson', '--window', '1m'], /--window: is of an aggregate/],
    [['report', 'web', '--from', '2026-01-01T00:00:00Z'], /--from: belongs to --session or --file/],
    [['report', '--file', 'x.ndjson', '--for', '10s'], /--for: watches from now on/],
    [['report', 'a', 'b', '--compare', '--top', '5'], /--top: cannot be combined with --compare/],
    [['serve', '--data-dir', 'none', '--retention-age', '1d'], /--retention-age: is of the history/],
    [['rnu'], /^eunomia: unknown command 'rnu'\n\(Did you mean run\?\)/],
    [['rules', 'import', 'falco', '--noo'], /^eunomia: unknown option '--noo'/],
    [['serve', '--port', '70000'], /--port: "70000" is not a whole number from 0 to 65535/],
    [['serve', '--tokens-file', '/no/such'], /--tokens-file: ENOENT/],
    [['sessions', '--server', 'http://127.0.0.1:9', '--token', ''], /--token: is empty; leave it out/],
    [
      ['sessions', '--server', 'http://127.0.0.1:9', '--token', 'a b'],
      /--token: has characters that no header can have/,
    ],
  ] as readonly (readonly [argv: readonly string[], message: RegExp])[])(
    '%j is a usage error and leaves no session',
    async (argv, message) => {
      const server = new FakeServer([]);
      const { code, told, out } = await run(server, argv);
      expect(told).toMatch(message);
      expect({ code, out, sessions: server.sessions }).toEqual({ code: 2, out: '', sessions: [] });
    },
  );
});

it('eunomia serve says which port is in use, and what to do', async () => {
  const { code, told } = await run(new FakeServer([]), ['serve']);
  expect(told).toBe(
    'eunomia: port 4000 of 127.0.0.1 is in use: stop what uses it, or choose another with --port (0 takes a free one)\n',
  );
  expect(code).toBe(1);
});

it('eunomia trackers lists them with the reason why one is not available', async () => {
  const { out, code } = await run(new FakeServer([]), ['trackers']);
  expect(out).toBe(
    'name  available         summary\nexec  yes               Programs.\ntcp   no: no such hook  Connections.\n',
  );
  expect(code).toBe(0);
});

it('eunomia trackers NAME tells options and fields, as JSON too', async () => {
  const { out } = await run(new FakeServer([]), ['trackers', 'exec']);
  expect(out).toMatch(/failed +Boolean +true +Failed ones too\./);
  expect(out).toMatch(/args +\[String!\] +on demand +what args is/);
  const json = await run(new FakeServer([]), ['trackers', 'exec', '-o', 'json']);
  expect(JSON.parse(json.out)).toEqual([trackers[0]]);
  const unknown = await run(new FakeServer([]), ['trackers', 'exce']);
  expect(unknown).toMatchObject({ code: 2, told: 'eunomia: no tracker "exce"; did you mean "exec"?\n' });
});

it('eunomia containers lists removed ones only with --all', async () => {
  const { out } = await run(new FakeServer([]), ['containers']);
  expect(out).toBe(
    'id            name  image  state    runtime  pid  ips\naaaaaaaaaaaa  web   nginx  running  docker   7    10.0.0.2\n',
  );
  const all = await run(new FakeServer([]), ['containers', '--all', '-o', 'json']);
  expect(JSON.parse(all.out)).toMatchObject([{ name: 'web' }, { name: 'old', state: 'REMOVED', pod: null }]);
});

/** The server over HTTP, and the paths that were asked for with GET. */
async function served(
  server: FakeServer,
  work: (url: string, paths: readonly (string | undefined)[]) => Promise<void>,
): Promise<void> {
  const paths: (string | undefined)[] = [];
  const listening = createServer((request, response) => {
    if (request.method === 'GET') return void (paths.push(request.url), response.end());
    void text(request)
      .then((body) => server.execute(JSON.parse(body) as Request))
      .then((result) => response.end(JSON.stringify(result)));
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  try {
    await work(`http://127.0.0.1:${(listening.address() as AddressInfo).port}`, paths);
  } finally {
    listening.close();
  }
}

it('eunomia queries lists what is saved on a server', async () => {
  const server = new FakeServer([]);
  await served(server, async (url) => {
    const { out } = await run(server, ['queries', '--kind', 'filter', '--server', url]);
    expect(out).toMatch(
      /^NAME +KIND +VERSION +SAVED BY +SAVED AT +DESCRIPTION\nfailed +filter +7 +ann +2026-01-31T08:15:30Z +what failed\n$/i,
    );
    const json = await run(server, ['queries', '-o', 'json', '--server', url]);
    expect(JSON.parse(json.out)).toMatchObject([{ name: 'failed', kind: 'FILTER', content: { filter: {} } }]);
  });
  expect(await run(server, ['queries'])).toMatchObject({ code: 2, out: '' });
});

it('eunomia rules list tells what rules have raised, and which cannot', async () => {
  const server = new FakeServer([]);
  await served(server, async (url) => {
    const { code, out, told } = await run(server, ['rules', 'list', '--server', url]);
    expect([code, out.split('\n').map((line) => line.split(/ {2,}/))]).toEqual([
      0,
      [
        [
          'name',
          'severity',
          'state',
          'alerts',
          'repeated',
          'suppressed',
          'last alert',
          'origin',
          'file',
          'description',
        ],
        [
          'port-scan',
          'high',
          'on',
          '2',
          '4',
          '0',
          '2026-01-31T08:15:30Z',
          'directory',
          '/etc/rules/r.yaml',
          'many ports',
        ],
        ['off', 'high', 'off', '0', '4', '0', '-', 'directory', '/etc/rules/r.yaml', 'many ports'],
        ['dead', 'high', 'problem', '0', '4', '0', '-', 'directory', '/etc/rules/r.yaml', 'many ports'],
        [''],
      ],
    ]);
    expect(told).toBe(
      'dead is not evaluated: no such hook\noff: the action kill is not taken: is off\n' +
        '7 events were seen by no rule: they were lost in the kernel, or dropped\n' +
        'the files as they are now are not in force:\nr.yaml:3:5: rules[0]: no\n',
    );
    const json = await run(server, ['rules', 'list', '-o', 'json', '--server', url]);
    expect(JSON.parse(json.out)).toMatchObject([
      { name: 'port-scan' },
      { name: 'off', enabled: false },
      { name: 'dead' },
    ]);
  });
  expect(await run(server, ['rules', 'list'])).toMatchObject({
    code: 2,
    told: expect.stringContaining('--server') as string,
  });
});

it('eunomia sessions lists those of a server', async () => {
  const server = new FakeServer([]);
  await served(server, async (url) => {
    const { out } = await run(server, ['sessions', '--running', '--server', url]);
    expect(out.split('\n').map((line) => line.trimEnd())).toEqual([
      'id                name  state    trackers  started               stopped  received  lost',
      'f5e09a25d284460c  demo  stopped  exec,tcp  2026-01-31T08:15:30Z  -        7         2',
      '',
    ]);
    expect(server.asked).toEqual([{ state: 'RUNNING' }]);
    const json = await run(server, ['sessions', '-o', 'json', '--server', url]);
    expect(JSON.parse(json.out)).toMatchObject([{ id: 'f5e09a25d284460c', stats: { lost: '2' } }]);
  });
  expect(await run(server, ['sessions'])).toMatchObject({
    code: 2,
    told: expect.stringContaining('--server: which server'),
  });
});

it('eunomia export writes the format that the name of the file says, unless --format does', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-export-'));
  const server = new FakeServer([]);
  await served(server, async (url, paths) => {
    for (const flags of [
      ['-o', 'a.pcapng'],
      ['-o', 'a.csv'],
      ['-o', 'a.txt'],
      ['-o', 'a.csv', '--format', 'parquet'],
      [],
    ])
      await run(server, [
        'export',
        's',
        '--server',
        url,
        ...flags.map((each) => (each.startsWith('a.') ? join(directory, each) : each)),
      ]);
    expect(paths.map((path) => path?.replace(/\?$/, ''))).toEqual(
      ['pcapng', 'csv', 'ndjson', 'parquet', 'ndjson'].map((format) => `/export/s.${format}`),
    );
  });
  await rm(directory, { recursive: true });
});

it('eunomia export refuses a saved filter, which it cannot use, before it begins', async () => {
  const { code, told } = await run(new FakeServer([]), ['export', '--file', 'x.ndjson', '--where', '@failed']);
  expect(code).toBe(2);
  expect(told).toContain('--where: an export takes an expression and no saved filter');
});

it('eunomia sockets lists all pages, filtered by its flags', async () => {
  const server = new FakeServer([]);
  const { out, code } = await run(server, ['sockets', '-l', '--where', 'localPort < 1024', '--container', 'web*']);
  expect(code).toBe(0);
  expect(out).toBe(
    'protocol  state   local     remote  rtt ms  container  owners\n' +
      'tcp       listen  [::]:443  -       -       web        nginx/7 nginx/8\n' +
      'unix      -       @name     -       -       -          sh/9\n',
  );
  const where = { expr: 'localPort < 1024', container: { name: { glob: 'web*' } }, listening: { eq: true } };
  expect(server.asked).toEqual([
    { where, first: 1000, after: null },
    { where, first: 1000, after: 'cursor' },
  ]);
  const limited = await run(new FakeServer([]), ['sockets', '-n', '1', '-o', 'json']);
  expect(JSON.parse(limited.out)).toMatchObject([{ localPort: 443, owners: [{ fds: [6] }, { fds: [6, 7] }] }]);
  expect((await run(new FakeServer([]), ['sockets', '-n', '0'])).told).toMatch(
    /--limit: "0" is no whole number from 1/,
  );
});

it('eunomia processes --container fails where there is no such container, and not where it has no process', async () => {
  const none = await run(new FakeServer([]), ['processes', '--container', 'wep']);
  expect(none).toMatchObject({ code: 1, out: '' });
  expect(none.told).toMatch(/--container: no container matches "wep"; did you mean "web"\?; there are web/);
  expect(await run(new FakeServer([]), ['processes', '--container', 'idle'])).toMatchObject({ code: 0 });
});

it('eunomia update changes what its flags name, and leaves the rest', async () => {
  const server = new FakeServer([]);
  await served(server, async (url) => {
    const update = (...flags: readonly string[]) => run(server, ['update', 's', '--server', url, ...flags]);
    const { out, code } = await update('--where', 'errno != null', '--no-for', '--no-target', '--no-name');
    expect([code, out]).toEqual([
      0,
      's: no name, filter errno != null, until it is stopped, in memory only; changed at 2026-01-31T08:15:30.123456789Z\n',
    ]);
    await update('--no-where', '--for', '1h', '--capture', 'all', '--name', 'x');
    for (const flags of [['--persist'], ['--persist', 'influx'], ['--no-persist']]) await update(...flags);
    expect(server.updates).toEqual([
      { id: 's', input: { where: { expr: 'errno != null' }, for: null, target: null, name: null } },
      { id: 's', input: { where: null, for: '1h', capture: 'ALL', name: 'x' } },
      { id: 's', input: { persist: { store: 'EMBEDDED' } } },
      { id: 's', input: { persist: { store: 'INFLUX' } } },
      { id: 's', input: { persist: null } },
    ]);
    const refused = await update('--container', 'nosuch');
    expect(refused.told).toMatch(
      /^eunomia: --container: no container has the name "nosuch" .*with --wait the session waits for one/m,
    );
    expect(refused.code).toBe(1);
    for (const [flags, message] of [
      [[], 'nothing to change'],
      [['--wait', '--name', 'x'], '--wait: waits for containers'],
      [['--persist', 'nosuch'], 'Allowed choices are embedded, influx'],
      [['--no-target', '--pid', '1'], '--no-target: the whole machine is no container'],
    ] as const)
      expect(await update(...flags)).toMatchObject({
        code: 2,
        told: expect.stringContaining(message) as string,
      });
  });
});

it('eunomia --version tells the version', async () => {
  expect((await run(new FakeServer([]), ['--version'])).code).toBe(0);
});

it.each([
  [
    ['--from', '2026-01-31T14:00:00Z', '--to', '2026-01-31T15:00:00Z'],
    { from: '2026-01-31T14:00:00Z', to: '2026-01-31T15:00:00Z' },
  ],
  [['a', 'b', '-c', 'web-*,db'], { sessions: 'a,b', containers: 'web-*,db' }],
  [
    ['a', '--tracker', 'exec', '--tracker', 'open', '--store', 'influx'],
    { sessions: 'a', trackers: 'exec,open', store: 'INFLUX' },
  ],
])('eunomia export %j asks for a range of time', async (flags, parameters) => {
  const server = new FakeServer([]);
  await served(server, async (url, paths) => {
    await run(server, ['export', '--server', url, ...flags]);
    const [path = ''] = paths;
    const { pathname, searchParams } = new URL(path, url);
    expect(pathname).toBe('/export/history.ndjson');
    expect(Object.fromEntries(searchParams)).toEqual(parameters);
  });
});

it.each([
  [['--from', 'trace.ndjson'], /--from: "trace.ndjson" is no time; for a recording, use --file/],
  [['--from', 'noon'], /--from: "noon" is neither a time/],
  [['--from', '1h', '--follow'], /--follow: a range of time has an end/],
  [['--from', '1h'], /--server: which server has recorded it\?/],
  [['--file', 'x.ndjson', '--to', '1h'], /--to: is of what a server has stored/],
  [['a', '--file', 'x.ndjson'], /give the id of a session, a range of time with --from, or a recording with --file/],
  [[], /give the id of a session, a range of time/],
])('eunomia export refuses %j', async (flags, message) => {
  const { code, told } = await run(new FakeServer([]), ['export', ...flags]);
  expect({ code, told }).toEqual({ code: 2, told: expect.stringMatching(message) });
});

it.each([
  [['alerts', 'shwo', 'a'], '`eunomia alerts` has no command "shwo"; did you mean "show"?'],
  [['alerts', 'nonesuch'], '`eunomia alerts` has no command "nonesuch"; there are list, show, acknowledge'],
  [['alerts', '--follow', '--until', '1h', '--server', 'http://127.0.0.1:1'], '--until: --follow prints'],
  [['start', 'exec', '--persit'], '(see eunomia start --help)'],
  [['alerts', 'silences', '--actve'], '(see eunomia alerts silences --help)'],
])('%j: says what would be right', async (args, said) => {
  expect(await run(new FakeServer([]), args)).toMatchObject({ code: 2, told: expect.stringContaining(said) as string });
});
