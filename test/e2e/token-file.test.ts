import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { freePort } from '../support/port.js';
import { until } from '../support/until.js';

/** Who is handed the token of this machine's server by the command line. Each listener here says what it got. */

const SECRET = 't'.repeat(43);
const LISTENER =
  "require('node:http').createServer((request, response) => { console.log('token ' + " +
  'request.headers.authorization); ' +
  `response.end('{"data":{"page":{"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}}}'); }).listen(` +
  'Number(process.env.PORT), ' +
  "'127.0.0.1', () => console.log('listening'));";

let data: string;
let script: string;
const started: ChildProcess[] = [];

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'eunomia-impostor-'));
  await writeFile(join(data, 'access-token'), `${SECRET}\n`, { mode: 0o600 });
  // What a server of Eunomia looks like in the list of processes. Others may run it, too.
  await chmod(data, 0o755);
  script = join(data, 'main.js');
  await writeFile(script, LISTENER, { mode: 0o644 });
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rm(data, { recursive: true }));

async function listen(file: string, ...args: string[]): Promise<{ readonly port: number; said(): string }> {
  const port = await freePort();
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: String(port) },
  });
  started.push(child);
  let said = '';
  child.stdout.on('data', (text) => (said += String(text)));
  await until('a listener', () => said.includes('listening'));
  return { port, said: () => said };
}

const containers = (port: number): Promise<unknown> =>
  promisify(execFile)(
    process.execPath,
    [join(root, 'dist/main.js'), 'containers', '--server', `http://127.0.0.1:${port}/graphql`],
    { env: { ...process.env, EUNOMIA_DATA_DIR: data } },
  ).catch(() => undefined);

describe('the command line', () => {
  it('sends the token of its file to a server of this user', async () => {
    const { port, said } = await listen(process.execPath, script, 'serve');
    await containers(port);
    expect(said()).toContain(`token Bearer ${SECRET}`);
  });

  it.each([
    [
      'another user, as a server looks',
      () => ['setpriv', '--reuid=64321', '--regid=64321', '--clear-groups', process.execPath, script, 'serve'],
    ],
    ['root in a mount namespace of its own', () => ['unshare', '-m', process.execPath, script, 'serve']],
    ['root in a pid namespace of its own', () => ['unshare', '-pf', '--kill-child', process.execPath, script, 'serve']],
    ['root that is no server, and may forward', () => [process.execPath, '-e', LISTENER]],
  ])('sends it to nobody else who listens where the server was: %s', async (_who, command) => {
    const [file = '', ...args] = command();
    const { port, said } = await listen(file, ...args);
    await containers(port);
    expect(said()).toContain('token undefined');
    expect(said()).not.toContain('Bearer');
  });
});

describe('root in a container with the network of the host', () => {
  let docker: TestDocker;
  beforeAll(async () => {
    docker = await startDocker();
  });
  afterAll(() => docker.stop());

  it.each([[[]], [['--pid', 'host', '--cgroupns', 'host']]])('is sent no token (%j)', async (flags) => {
    const port = await freePort();
    const id = await docker.run(
      ...['-d', '--network', 'host', ...flags, '-e', `PORT=${port}`, '-v', '/:/host', TEST_IMAGE],
      ...['chroot', '/host', process.execPath, script, 'serve'],
    );
    const said = (): Promise<string> => docker.docker('logs', id);
    await until('a listener in the container', async () => (await said()).includes('listening'));
    await containers(port);
    expect(await said()).toContain('token undefined');
    expect(await said()).not.toContain('Bearer');
    await docker.docker('rm', '-f', id);
  });
});
