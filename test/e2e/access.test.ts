import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, type TestServer } from '../support/server.js';
import { run } from '../support/workload.js';

/** A server without tokens, and clients of other users, in other namespaces, and in containers. */

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
const DAEMON = ['setpriv', '--reuid=1', '--regid=1', '--clear-groups'];
const QUERY = '?query=%7Bserver%7Bversion%7D%7D';
const START = JSON.stringify({ query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' });

let data: string;
let server: TestServer;
const folders: string[] = [];
/** Of the tests that want nothing particular of it. */
let plain: { readonly server: TestServer; readonly data: string } | null = null;

async function open(...args: string[]): Promise<TestServer> {
  const isPlain = args.length === 0 && process.env['SUDO_UID'] === undefined;
  if (isPlain && plain) {
    ({ server, data } = plain);
    return server;
  }
  data = await mkdtemp(join(tmpdir(), 'eunomia-access-'));
  folders.push(data);
  server = await startServer(['--engine', 'none', '--data-dir', data, ...args], { keep: isPlain });
  if (isPlain) plain = { server, data };
  return server;
}

const token = async (): Promise<string> => (await readFile(join(data, 'access-token'), 'utf8')).trim();

afterEach(() => {
  delete process.env['SUDO_UID'];
});
afterAll(async () => {
  await plain?.server.end('SIGTERM');
  for (const folder of folders) await rm(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** What curl gets, run by a command that makes it somebody else. */
async function curl(as: readonly string[], url: string, ...args: string[]): Promise<Answer> {
  const [file = '', ...rest] = [
    ...as,
    'curl',
    '-s',
    '-m',
    '10',
    '-g',
    '-H',
    'x-eunomia: 1',
    '-w',
    '\n%{http_code}',
    ...args,
    url,
  ];
  const { stdout } = await run(file, rest);
  const end = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const everything = (url: string): readonly (readonly string[])[] => [
  [`${url}${QUERY}`],
  [url, '-H', 'content-type: application/json', '-d', START],
  [`${url}${QUERY}`, '-H', 'accept: text/event-stream'],
  [new URL('/metrics', url).href],
  [new URL('/export/x.ndjson', url).href],
];

describe('without tokens', () => {
  it.each(['127.0.0.1', '::1', '::ffff:127.0.0.1'])(
    'at %s root needs none, and other users get nothing without one',
    async (host) => {
      const { url } = await open('--host', host);
      expect((await curl([], `${url}${QUERY}`)).status).toBe(200);
      expect((await curl([], new URL('/metrics', url).href)).status).toBe(200);
      for (const [target = '', ...args] of everything(url)) {
        const { status, body } = await curl(NOBODY, target, ...args);
        expect([target, status]).toEqual([target, 401]);
        expect(body).toContain('this connection belongs to the user 65534');
      }
      expect((await curl(NOBODY, `${url}${QUERY}`, '-H', `authorization: Bearer ${await token()}`)).status).toBe(200);
      expect(await server.query('{ sessions { nodes { id } } }')).toEqual({ sessions: { nodes: [] } });
    },
  );

  it('the user who started the server through sudo needs none, and others do', async () => {
    process.env['SUDO_UID'] = '1';
    const { url } = await open();
    expect((await curl(DAEMON, `${url}${QUERY}`)).status).toBe(200);
    expect((await curl(NOBODY, `${url}${QUERY}`)).status).toBe(401);
  });

  it('the user who owns nothing in a user namespace of the server is nobody, even from sudo', async () => {
    process.env['SUDO_UID'] = '65534';
    const { url } = await open();
    expect((await curl(NOBODY, `${url}${QUERY}`)).status).toBe(401);
  });

  it('root in other namespaces, or with a connection that a process there holds too, is not the root of the host', async () => {
    const { url } = await open();
    for (const as of [
      ['unshare', '-m'],
      ['unshare', '-pf'],
      [...NOBODY, 'unshare', '-Ur'],
    ]) {
      expect([as, (await curl(as, `${url}${QUERY}`)).status]).toEqual([as, 401]);
    }
    const port = new URL(url).port;
    const request = `GET /graphql${QUERY} HTTP/1.1\\r\\nHost: localhost\\r\\nx-eunomia: 1\\r\\nConnection: close\\r\\n\\r\\n`;
    const own = await run('bash', ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; printf %b '${request}' >&3; cat <&3`]);
    expect(own.stdout).toContain('HTTP/1.1 200');
    const passed = await run('bash', [
      '-c',
      `exec 3<>/dev/tcp/127.0.0.1/${port}; unshare -m sh -c "printf %b '${request}' >&3; cat <&3"`,
    ]);
    expect(passed.stdout).toContain('HTTP/1.1 401');
  });

  it('a request of a client that has closed its socket is nobody’s: the kernel says that root owns it', async () => {
    const { url } = await open();
    const port = new URL(url).port;
    const request =
      'POST /graphql HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\nContent-Length: ' +
      `${START.length}\\r\\n\\r\\n`;
    for (let i = 0; i < 20; i++)
      await run(NOBODY[0] ?? '', [
        ...NOBODY.slice(1),
        'bash',
        '-c',
        `exec 3<>/dev/tcp/127.0.0.1/${port}; printf '${request}%s' '${START}' >&3; exec 3>&-`,
      ]);
    expect(await server.query('{ sessions { nodes { id } } }')).toEqual({ sessions: { nodes: [] } });
  });

  it('a WebSocket of another user needs a token', async () => {
    const { url } = await open();
    const script = `import { WebSocket } from ${JSON.stringify(join(root, 'node_modules/ws/wrapper.mjs'))};
      const socket = new WebSocket(${JSON.stringify(url.replace('http', 'ws'))}, 'graphql-transport-ws');
      socket.on('open', () => socket.send(JSON.stringify({
        type: 'connection_init', payload: process.env.TOKEN ? { authorization: 'Bearer ' + process.env.TOKEN } : {} })));
      socket.on('message', (data) => { console.log(String(data)); socket.close(1000); });
      socket.on('close', (code, reason) => console.log(code, String(reason)));`;
    const converse = async (as: readonly string[], secret = ''): Promise<string> => {
      const [file = '', ...args] = [...as, process.execPath, '--input-type=module', '-e', script];
      return (await run(file, args, { env: { ...process.env, TOKEN: secret } })).stdout;
    };
    expect(await converse(NOBODY)).toMatch(/^4401 this server needs a token/);
    expect(await converse(NOBODY, await token())).toContain('connection_ack');
    expect(await converse([])).toContain('connection_ack');
  });

  it('--insecure-no-auth lets everybody in, and makes no token', async () => {
    const { url } = await open('--insecure-no-auth');
    expect((await curl(NOBODY, `${url}${QUERY}`)).status).toBe(200);
    await expect(token()).rejects.toThrow('ENOENT');
  });
});

describe('with tokens', () => {
  it('root needs one too', async () => {
    const { url } = await open('--token', 'viewer:the-secret-of-a-test');
    expect((await curl([], `${url}${QUERY}`)).status).toBe(401);
    expect((await curl(NOBODY, `${url}${QUERY}`, '-H', 'authorization: Bearer the-secret-of-a-test')).status).toBe(200);
    await expect(token()).rejects.toThrow('ENOENT');
  });
});

describe('root in a container with the network of the host', () => {
  let docker: TestDocker;
  beforeAll(async () => {
    docker = await startDocker();
  });
  afterAll(() => docker.stop());

  it.each([
    [[]],
    [['--pid', 'host']],
    [['--pid', 'host', '--cgroupns', 'host', '--security-opt', 'seccomp=unconfined']],
  ])('needs a token (%j)', async (flags) => {
    const { url } = await open();
    const wget = (...headers: string[]): Promise<string> =>
      docker.run(
        '--rm',
        '--network',
        'host',
        ...flags,
        TEST_IMAGE,
        'wget',
        '-qO-',
        '--header',
        'x-eunomia: 1',
        ...headers,
        `${url}${QUERY}`,
      );
    await expect(wget()).rejects.toThrow('401 Unauthorized');
    expect(await wget('--header', `authorization: Bearer ${await token()}`)).toContain('"version"');
  });
});
