import {
  execFile,
  execFileSync,
  spawn,
  spawnSync,
  type ChildProcessWithoutNullStreams,
  type SpawnOptionsWithoutStdio,
} from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { packageFile } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { until } from '../support/until.js';

const main = packageFile('dist/main.js');
const folder = mkdtempSync(join(tmpdir(), 'eunomia-cli-'));
const started: Command[] = [];

afterEach(() => {
  for (const command of started.splice(0)) if (command.child.exitCode === null) command.child.kill('SIGKILL');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `eunomia ARGS` as a user runs it. */
class Command {
  readonly child: ChildProcessWithoutNullStreams;
  out = '';
  told = '';
  readonly #end: Promise<number | string>;

  constructor(args: readonly string[], options: SpawnOptionsWithoutStdio = {}) {
    this.child = spawn(process.execPath, [main, ...args], options);
    this.child.stdout.on('data', (chunk) => (this.out += chunk));
    this.child.stderr.on('data', (chunk) => (this.told += chunk));
    this.#end = new Promise((done) => this.child.on('close', (code, signal) => done(code ?? signal ?? 'ended')));
    started.push(this);
  }

  /** Waits for a text on stdout or stderr. */
  async says(text: RegExp): Promise<RegExpExecArray> {
    return until(`"${String(text)}"`, () => text.exec(this.out) ?? text.exec(this.told)).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.out}\n${this.told}`);
    });
  }

  /** The exit code, or what ended it; within a time. */
  ends(ms = 60_000): Promise<number | string> {
    return Promise.race([this.#end, sleep(ms, 'still running', { ref: false })]);
  }

  get objects(): Record<string, unknown>[] {
    return this.out
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}

const quiet = ['--log-level', 'silent', '--engine', 'none'];
/** What only concerns a server of its own is refused beside `--server`. */
const command = (...args: string[]): Command => new Command([...args, ...(args.includes('--server') ? [] : quiet)]);
const run = (...args: string[]): Command => command('run', ...args);

async function serve(
  args: readonly string[] = [],
  options: SpawnOptionsWithoutStdio = {},
): Promise<{ server: Command; url: string }> {
  const server = new Command(['serve', '--data-dir', 'none', '--port', '0', ...quiet, ...args], options);
  const [, url = ''] = await server.says(/Eunomia listens on (\S+)\n/);
  return { server, url };
}

let lasting: ReturnType<typeof serve> | null = null;
afterAll(async () => (await lasting)?.server.child.kill('SIGKILL'));

/** The address of a server for all tests that need just any. */
async function anyServer(): Promise<string> {
  lasting ??= serve().then((served) => {
    started.splice(started.indexOf(served.server), 1);
    return served;
  });
  return (await lasting).url;
}

/** Another address of a server, and what the server has sent there. */
async function relay(url: string): Promise<{ url: string; sent: () => string }> {
  const { hostname, port } = new URL(url);
  let sent = '';
  const listener = createServer((client) => {
    const server = connect(Number(port), hostname);
    server.on('data', (data) => (sent += data.toString('latin1')));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const)
      from
        .pipe(to)
        .on('error', () => undefined)
        .on('close', () => from.destroy());
  });
  await once(listener.listen(0, '127.0.0.1').unref(), 'listening');
  return { url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`, sent: () => sent };
}

/** Executes /bin/echo in a child of ours; `--pid` of this process sees nothing else. */
function echo(word: string): void {
  execFileSync('/bin/echo', [word]);
}

const self = ['--pid', String(process.pid)];

describe('eunomia run', () => {
  it('prints live events as JSON until Ctrl-C, and then how many they were', async () => {
    const command = run('exec', ...self, '-o', 'json', '-f', 'process.comm,args');
    await command.says(/^tracing; Ctrl-C stops\n/);
    echo('first');
    await command.says(/first/);
    echo('second');
    await command.says(/second/);
    command.child.kill('SIGINT');
    expect(await command.ends()).toBe(0);
    expect(command.objects).toEqual([
      { process: { comm: 'echo' }, args: ['/bin/echo', 'first'] },
      { process: { comm: 'echo' }, args: ['/bin/echo', 'second'] },
    ]);
    expect(command.told).toBe('tracing; Ctrl-C stops\n2 events, 0 lost, 0 dropped\n');
  });

  it('returns the same from a remote server', async () => {
    const { server, url } = await serve();
    const commands = [[], ['--server', url]].map((where) =>
      run(
        'exec',
        'exit',
        ...self,
        '--where',
        'process.comm == "echo"', // each would see the other's end
        '-o',
        'json',
        '-f',
        'tracker,process.comm,process.uid,container.name,errno,args,exitCode',
        ...where,
      ),
    );
    for (const command of commands) await command.says(/tracing/);
    echo('both');
    for (const command of commands) await command.says(/exitCode/);
    for (const command of commands) command.child.kill('SIGTERM');
    expect(await Promise.all(commands.map((command) => command.ends()))).toEqual([0, 0]);
    // Two trackers have no order between them.
    for (const command of commands)
      expect(command.out.split('\n').sort()).toEqual([
        '',
        '{"tracker":"exec","process":{"comm":"echo","uid":0},"container":null,"errno":null,"args":["/bin/echo","both"]}',
        '{"tracker":"exit","process":{"comm":"echo","uid":0},"container":null,"exitCode":0}',
      ]);
    expect(commands[1]?.told).toMatch(/^session [0-9a-f]{16}: tracing/);
    expect(commands[1]?.told.replace(/^session \w+: /, '')).toBe(commands[0]?.told);
    expect(await sessionsOf(url)).toEqual([]);
    server.child.kill('SIGTERM');
    expect(await server.ends()).toBe(0);
  });

  it('stops at --limit, in CSV with a header', async () => {
    const command = run('exec', ...self, '-o', 'csv', '-f', 'process.comm,args', '--limit', '2');
    await command.says(/tracing/);
    for (const word of ['a', 'b,"c"', 'd']) echo(word);
    expect(await command.ends()).toBe(0);
    expect(command.out).toBe(
      'process.comm,args\r\necho,"[""/bin/echo"",""a""]"\r\necho,"[""/bin/echo"",""b,\\""c\\""""]"\r\n',
    );
    expect(command.told).toContain('2 events, 0 lost, 0 dropped (limit)');
  });

  it('ends by itself after --for', async () => {
    const command = run('exec', ...self, '--for', '3s');
    await command.says(/tracing for 3s/);
    const since = Date.now();
    echo('timed');
    expect(await command.ends()).toBe(0);
    expect(Date.now() - since).toBeLessThan(60_000);
    expect(command.out).toMatch(
      /^TIME \(UTC\) +CONTAINER +PID +COMM +EVENT +DETAILS\n\d\d:\d\d:\d\d\.\d{3} +- +\d+ +echo +exec +\/bin\/echo timed\n$/,
    );
    expect(command.told).toContain('1 event, 0 lost, 0 dropped');
  });

  it.each([
    ['top', '--by', 'process.comm,filename'],
    ['run', '--count-by', 'comm,filename'],
  ])('%s counts by fields, and prints the groups at the end into a pipe', async (name, flag, fields) => {
    const counting = command(name, 'exec', ...self, flag, fields, '--for', '5s');
    await counting.says(/counting for 5s/);
    for (let i = 0; i < 3; i++) echo('counted');
    expect(await counting.ends()).toBe(0);
    expect(counting.out).toMatch(/^count +per second +comm +filename\n3 +(?:<1|\d+) +echo +\/bin\/echo\n$/);
    expect(counting.told).toContain('3 events, 0 lost, 0 dropped');
  });

  it('top ends quietly when its reader goes away, and leaves no session', async () => {
    const url = await anyServer();
    const counting = command('top', 'exec', ...self, '-o', 'json', '--every', '100ms', '--server', url);
    await counting.says(/counting/);
    counting.child.stdout.destroy();
    let code: number | string = 'still running';
    for (let i = 0; i < 600 && code === 'still running'; i++) {
      echo('unread');
      code = await counting.ends(100);
    }
    expect(code).toBe(0);
    expect(counting.told).toMatch(/\(the reader went away\)\n$/);
    expect(await sessionsOf(url)).toEqual([]);
  });

  it('top obeys Ctrl-C while its reader reads nothing', async () => {
    const counting = command('top', 'open', '--comm', 'bash', '--by', 'path', '-o', 'json', '--every', '100ms');
    await counting.says(/counting/);
    counting.child.stdout.pause();
    for (let i = 0; i < 20; i++)
      execFileSync('bash', ['-c', `for i in $(seq 500); do : </no/such/$i/${'x'.repeat(200)}; done 2>&-; true`]);
    counting.child.kill('SIGINT');
    await until('it has ended', () => counting.child.exitCode !== null);
    counting.child.stdout.resume(); // "close" waits for it
    expect(await counting.ends()).toBe(0);
  });

  it('top prints into a pipe what it had counted when the server goes', async () => {
    const { server, url } = await serve();
    const between = await relay(url);
    const counting = command('top', 'exec', ...self, '--by', 'filename', '--every', '100ms', '--server', between.url);
    await counting.says(/counting/);
    for (let i = 0; i < 3; i++) echo('counted');
    await until('top has been sent the count', () => /"count":"?3\b/.test(between.sent()));
    server.child.kill('SIGKILL');
    expect(await counting.ends()).toBe(1);
    expect(counting.out).toMatch(/^count +per second +filename\n3 +\d+ +\/bin\/echo\n$/);
    expect(counting.told).toContain('closed the connection');
  });

  it.each([
    [['--by', 'nosuch'], '--by: no field "nosuch" in exec'],
    [['--every', '1'], '--every: "1" is no duration from 100ms to 1h'],
    [['--sum', 'filename'], '--sum: "filename" is String'],
  ])('top refuses %j in words of the command line', async (flags, message) => {
    const counting = command('top', 'exec', ...self, ...flags, '--for', '1s');
    expect(await counting.ends()).toBe(2);
    expect(counting.told).toContain(message);
    expect(counting.told).not.toContain('counting');
  });

  it.each([
    [['--count-by', 'nosuch'], '--count-by: no field "nosuch" in exec'],
    [['--count-by', 'comm', '-n', '5'], '--limit: is of events'],
  ])('run refuses %j', async (flags, message) => {
    const counting = run('exec', ...self, ...flags, '--for', '1s');
    expect(await counting.ends()).toBe(2);
    expect(counting.told).toContain(message);
  });

  it("passes a tracker's options on", async () => {
    const command = run('open:failedOnly=true', ...self, '-o', 'json', '-f', 'path,errno');
    await command.says(/tracing/);
    execFileSync('/bin/sh', ['-c', 'cat /etc/hostname /no/such/file 2>/dev/null || true']);
    await command.says(/no\/such\/file/);
    command.child.kill('SIGINT');
    await command.ends();
    expect(command.objects).toContainEqual({ path: '/no/such/file', errno: 'ENOENT' });
    expect(command.objects.every(({ errno }) => errno !== null)).toBe(true);
  });

  it('prints only events for which --where is true, and shows where an expression is wrong', async () => {
    const command = run(
      'open',
      ...self,
      '-o',
      'json',
      '-f',
      'path,errno',
      '--where',
      'errno == "ENOENT" && path.startsWith("/no/such/")',
    );
    await command.says(/tracing/);
    execFileSync('/bin/sh', ['-c', 'cat /etc/hostname /no/such/file /no/other 2>/dev/null || true']);
    await command.says(/no\/such\/file/);
    command.child.kill('SIGINT');
    await command.ends();
    expect(command.objects).toEqual([{ path: '/no/such/file', errno: 'ENOENT' }]);
    const wrong = run('open', '--where', 'errno == "ENOENT" && pth == "x"');
    expect(await wrong.ends()).toBe(2);
    expect(wrong.told).toMatch(
      /--where: 1:22: .*"pth".*did you mean "path"\?\n {2}errno == "ENOENT" && pth == "x"\n {23}\^\^\^\n$/,
    );
  });

  it('ends quietly when its reader goes away, and leaves no session', async () => {
    const url = await anyServer();
    const command = run('exec', ...self, '-o', 'json', '--server', url);
    await command.says(/tracing/);
    command.child.stdout.destroy();
    let code: number | string = 'still running';
    for (let i = 0; i < 600 && code === 'still running'; i++) {
      echo('unread');
      code = await command.ends(100);
    }
    expect(code).toBe(0);
    expect(command.told).toMatch(/\(the reader went away\)\n$/);
    expect(command.told).not.toContain('EPIPE');
    expect(await sessionsOf(url)).toEqual([]);
  });

  it('obeys Ctrl-C while its reader reads nothing', async () => {
    const command = run('open', ...self, '-o', 'json');
    await command.says(/tracing/);
    command.child.stdout.pause();
    for (let i = 0; i < 20; i++) execFileSync('/bin/sh', ['-c', 'for i in $(seq 300); do : </etc/hostname; done']);
    command.child.kill('SIGINT');
    await until('it has ended', () => command.child.exitCode !== null);
    command.child.stdout.resume(); // "close" waits for it
    expect(await command.ends()).toBe(0);
  });

  it('ends in order on a signal that comes twice at once, as through npm', async () => {
    const command = run('exec', ...self);
    await command.says(/tracing/);
    command.child.kill('SIGINT');
    command.child.kill('SIGTERM'); // not SIGINT again: two of one kind can arrive as one
    expect(await command.ends()).toBe(0);
    expect(command.told).toMatch(/\d+ events, 0 lost, 0 dropped\n$/);
  });
});

describe('eunomia run in containers', () => {
  let docker: TestDocker;
  beforeAll(async () => (docker = await startDocker()));
  afterAll(() => docker.stop());

  it('sees just the containers that match, by their name and image', async () => {
    const command = new Command([
      'run',
      'exec',
      '-c',
      'cli-*',
      '--wait',
      '-o',
      'json',
      '-f',
      'container.name,container.image,args',
      '--engine',
      docker.host,
      '--log-level',
      'silent',
    ]);
    await command.says(/tracing/);
    await docker.run('--rm', '--name', 'other', '--network', 'none', TEST_IMAGE, '/bin/echo', 'unseen');
    await docker.run('--rm', '--name', 'cli-1', '--network', 'none', TEST_IMAGE, '/bin/echo', 'seen');
    await command.says(/"seen"/);
    command.child.kill('SIGINT');
    expect(await command.ends()).toBe(0);
    expect(command.objects).toContainEqual({
      container: { name: 'cli-1', image: TEST_IMAGE },
      args: ['/bin/echo', 'seen'],
    });
    expect(command.out).not.toContain('unseen');
  });

  it('lists containers', async () => {
    await docker.docker('create', '--name', 'listed', TEST_IMAGE, '/bin/true');
    const command = new Command(['containers', '--engine', docker.host, '--log-level', 'silent']);
    expect(await command.ends()).toBe(0);
    expect(command.out).toMatch(
      /^id +name +image +state +runtime +pid +ips\n[^]*[0-9a-f]{12} +listed +eunomia-test\/busybox:1 +created +docker/,
    );
  });
});

describe('eunomia serve', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('ends with 0 on %s, also while a session runs', async (signal) => {
    const { server, url } = await serve();
    const command = run('exec', ...self, '--server', url);
    await command.says(/tracing/);
    expect(programsOf(server)).toBeGreaterThan(0);
    server.child.kill(signal);
    expect(await server.ends()).toBe(0);
    // Who may use it and where its data is, and nothing else.
    expect(server.told).toMatch(/^operators: [^\n]*\nno data directory: [^\n]*\n$/);
    await command.ends();
  });

  it('keeps its token and its TLS: the command line has both', async () => {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(folder, name));
    await promisify(execFile)('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '1',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      String(key),
      '-out',
      String(cert),
    ]);
    const tokens = join(folder, 'tokens');
    writeFileSync(tokens, 'operator:let-me-in-please\nviewer:just-look-at-this\n', { mode: 0o600 });
    const { url } = await serve(['--tls-cert', String(cert), '--tls-key', String(key), '--tokens-file', tokens]);
    expect(url).toMatch(/^https:/);
    const access = ['--server', url, '--ca', String(cert)];
    const command = new Command(['run', 'exec', ...self, ...access, '-o', 'json', '-f', 'args'], {
      env: { ...process.env, EUNOMIA_TOKEN: 'let-me-in-please' },
    });
    await command.says(/tracing/);
    echo('secret');
    await command.says(/secret/);
    command.child.kill('SIGINT');
    expect(await command.ends()).toBe(0);

    const wrong = new Command(['trackers', ...access, '--token', 'wrong']);
    expect([await wrong.ends(), wrong.out]).toEqual([1, '']);
    expect(wrong.told).toMatch(/^eunomia: .*token/);
    const viewer = new Command(['run', 'exec', ...access, '--token', 'just-look-at-this']);
    expect(await viewer.ends()).toBe(1);
    expect(viewer.told).toMatch(/^eunomia: .*operator/);
    const distrustful = new Command(['trackers', '--server', url, '--token', 'let-me-in-please']);
    expect(await distrustful.ends()).toBe(1);
    expect(distrustful.told).toMatch(/^eunomia: no response from .*certificate/);
  });

  it('says which port is in use', async () => {
    const { port } = new URL(await anyServer());
    const second = new Command(['serve', '--data-dir', 'none', '--port', port, ...quiet]);
    expect([await second.ends(), second.out]).toEqual([1, '']);
    expect(second.told).toMatch(new RegExp(`^eunomia: .*${port} .*in use.*--port.*\n$`));
  });

  it('refuses an address that others reach without a token and TLS', async () => {
    const open = new Command(['serve', '--data-dir', 'none', '--host', '0.0.0.0', '--port', '0', ...quiet]);
    expect(await open.ends()).toBe(1);
    expect(open.told).toMatch(/^eunomia: .*(token|TLS).*\n$/i);
  });

  it('refuses to start without the rights to trace', async () => {
    const weak = new Command(['serve', '--data-dir', 'none', '--port', '0', ...quiet], {
      uid: 65534,
      gid: 65534,
      cwd: '/',
    });
    expect([await weak.ends(), weak.out]).toEqual([1, '']);
    expect(weak.told).toMatch(/^eunomia: .*(root|CAP_BPF).*\n$/);
  });
});

it('says when no server responds, and what would help', async () => {
  const command = new Command(['trackers', '--server', 'http://127.0.0.1:9']);
  expect(await command.ends()).toBe(1);
  expect(command.told).toBe(
    'eunomia: no response from http://127.0.0.1:9/graphql: connect ECONNREFUSED 127.0.0.1:9: is a server running there? ' +
      '`eunomia serve` starts one\n',
  );
});

async function sessionsOf(url: string): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ sessions { nodes { id } } }' }),
  });
  const { data } = (await response.json()) as { data: { sessions: { nodes: unknown } } };
  return data.sessions.nodes;
}

/** BPF programs that this process holds, by its file descriptors. */
function programsOf({ child }: Command): number {
  const fds = spawnSync('sh', ['-c', `grep -l prog_id /proc/${child.pid}/fdinfo/* | wc -l`], { encoding: 'utf8' });
  return Number(fds.stdout);
}
