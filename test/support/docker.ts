import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { capabilities } from '../../src/linux/capability.js';

const exec = promisify(execFile);

/** A busybox whose applets are all in /bin. Made from the package busybox-static. */
export const TEST_IMAGE = 'eunomia-test/busybox:1';

/**
 * A runtime of each engine: runc, with the capabilities that this machine has. A machine that lacks one runs no privileged container
 * otherwise: runc cannot give them all.
 */
export const ABLE_RUNTIME = 'able';

export interface TestDocker {
  /** Path of the engine's socket. */
  readonly socket: string;
  /** The same as DOCKER_HOST: unix://… */
  readonly host: string;
  /** Whether containers get an address; false where this machine lets us make no bridge. */
  readonly network: boolean;
  /** The host's address on the bridge of its containers; null without a bridge. */
  readonly address: string | null;
  /** dockerd's process id now. */
  readonly pid: () => number;
  /** Removes a network of the engine, with all of the engine's containers. */
  readonly removeNetwork: (name: string) => Promise<void>;
  /** `docker run ARGS`; resolves with its standard output, trimmed. */
  run(...args: string[]): Promise<string>;
  /** `docker ARGS`. */
  docker(...args: string[]): Promise<string>;
  /** Kills dockerd with SIGKILL. Containers run on (--live-restore). */
  kill(): Promise<void>;
  /** Starts dockerd again after `kill`, over the same data. */
  restart(): Promise<void>;
  /** Removes all containers, ends the engine, and leaves no mount, interface or file behind. */
  stop(): Promise<void>;
}

/** Starts a real dockerd of its own: own data, socket, containerd and bridge. Needs root, dockerd, and busybox-static. */
export async function startDocker(): Promise<TestDocker> {
  const base = await mkdtemp(join(tmpdir(), 'eunomia-docker-'));
  const socket = join(base, 'docker.sock');
  const host = `unix://${socket}`;
  const env: NodeJS.ProcessEnv = { ...process.env, DOCKER_HOST: host, DOCKER_CONFIG: join(base, 'config') };
  delete env['DOCKER_CONTEXT'];
  const docker = async (...args: string[]): Promise<string> =>
    (await exec('docker', args, { env, maxBuffer: 64 * 1024 * 1024 })).stdout.trim();
  const bridge = await makeBridge();
  let daemon: ChildProcess | null = null;

  const killAtExit = (): void => {
    daemon?.kill('SIGKILL');
  };
  process.on('exit', killAtExit);

  const start = async (): Promise<void> => {
    const log = await open(join(base, 'dockerd.log'), 'a');
    daemon = spawn(
      'dockerd',
      [
        `--data-root=${join(base, 'data')}`,
        `--exec-root=${join(base, 'exec')}`,
        `--pidfile=${join(base, 'dockerd.pid')}`,
        `--host=${host}`,
        `--bridge=${bridge?.name ?? 'none'}`,
        '--live-restore',
        `--add-runtime=${ABLE_RUNTIME}=${join(base, 'runtime')}`,
        // Nothing of the host's firewall or routing is touched: containers reach the host and each other over the bridge.
        '--iptables=false',
        '--ip-masq=false',
        '--ip-forward=false',
      ],
      { stdio: ['ignore', log.fd, log.fd] },
    );
    await log.close();
    const deadline = Date.now() + 60_000;
    for (;;) {
      const responds = await docker('info').then(
        () => true,
        () => false,
      );
      if (responds) return;
      if (daemon.exitCode !== null || Date.now() > deadline) {
        throw new Error(`dockerd did not start:\n${(await readFile(join(base, 'dockerd.log'), 'utf8')).slice(-2000)}`);
      }
      await sleep(100);
    }
  };

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = daemon;
    daemon = null;
    if (ending === null || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGCONT');
    ending.kill(signal);
    await Promise.race([exited, sleep(15_000, undefined, { ref: false }).then(() => ending.kill('SIGKILL'))]);
    await exited;
  };

  const stop = async (): Promise<void> => {
    process.off('exit', killAtExit);
    daemon?.kill('SIGCONT');
    try {
      if (daemon === null) await start();
      await removeContainers(docker);
    } catch {
      // The engine cannot: what it ran is killed below.
    } finally {
      await end('SIGTERM');
      await killByFile(join(base, 'exec/containerd/containerd.pid'));
      await killShims(base);
      await unmountBelow(base);
      if (bridge !== null) await exec('ip', ['link', 'del', bridge.name]).catch(() => undefined);
      await rm(base, { recursive: true, force: true });
    }
  };

  try {
    await writeFile(join(base, 'runtime'), ableRuntime(), { mode: 0o700 });
    await start();
    await importImage(base, docker);
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
  return {
    socket,
    host,
    network: bridge !== null,
    address: bridge?.address ?? null,
    pid: () => daemon?.pid ?? 0,
    removeNetwork: async (name) => {
      await removeContainers(docker);
      await docker('network', 'rm', name);
    },
    run: async (...args) => docker('run', ...args),
    docker,
    kill: async () => {
      await end('SIGKILL');
      // containerd dies with its dockerd. Where process 1 reaps nobody (a sandbox, a CI container) it stays a zombie, which a
      // new dockerd takes for a containerd that still runs, by this file, and waits for in vain.
      await rm(join(base, 'exec/containerd/containerd.pid'), { force: true });
    },
    restart: start,
    stop,
  };
}

/** Takes what this machine does not have out of the container's configuration, or out of that of a process, and goes on as runc. */
function ableRuntime(): string {
  return `#!${process.execPath}
const { spawnSync } = require('node:child_process');
const { readFileSync, writeFileSync } = require('node:fs');
const args = process.argv.slice(2);
const after = (name) => args[args.indexOf(name) + 1];
const [, bounding] = /^CapBnd:\\s*(\\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'));
const names = ${JSON.stringify(capabilities)};
const has = (name) => (BigInt('0x' + bounding) >> BigInt(names.indexOf(name))) & 1n;
const path = args.includes('--bundle') ? after('--bundle') + '/config.json' : args.includes('--process') ? after('--process') : null;
if (path !== null) {
  const whole = JSON.parse(readFileSync(path, 'utf8'));
  const { capabilities = {} } = whole.process ?? whole;
  for (const [set, given] of Object.entries(capabilities)) capabilities[set] = given.filter(has);
  writeFileSync(path, JSON.stringify(whole));
}
process.exit(spawnSync('runc', args, { stdio: 'inherit' }).status ?? 1);
`;
}

async function removeContainers(docker: TestDocker['docker']): Promise<void> {
  const ids = await docker('ps', '-aq');
  if (ids !== '') await docker('rm', '-f', ...ids.split('\n'));
}

/** A bridge for this engine alone, so that engines of parallel tests do not meet on docker0. Null where none can be made. */
async function makeBridge(): Promise<{ readonly name: string; readonly address: string } | null> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const number = Math.floor(Math.random() * 250);
    const name = `eunomia${number}`;
    const address = `10.213.${number}.1`;
    try {
      await exec('ip', ['link', 'add', 'name', name, 'type', 'bridge']);
    } catch {
      continue;
    }
    try {
      await exec('ip', ['addr', 'add', `${address}/24`, 'dev', name]);
      await exec('ip', ['link', 'set', name, 'up']);
      return { name, address };
    } catch {
      await exec('ip', ['link', 'del', name]).catch(() => undefined);
    }
  }
  return null;
}

async function importImage(base: string, docker: (...args: string[]) => Promise<string>): Promise<void> {
  const root = join(base, 'image');
  for (const directory of ['bin', 'etc', 'tmp', 'root']) await mkdir(join(root, directory), { recursive: true });
  await copyFile('/bin/busybox', join(root, 'bin/busybox'));
  const applets = (await exec('/bin/busybox', ['--list'])).stdout.trim().split('\n');
  for (const applet of applets) if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
  await exec('tar', ['-C', root, '-cf', join(base, 'image.tar'), '.']);
  await docker(
    'import',
    '--change',
    'ENV PATH=/bin',
    '--change',
    'CMD ["/bin/sh"]',
    join(base, 'image.tar'),
    TEST_IMAGE,
  );
}

async function killByFile(path: string): Promise<void> {
  const pid = Number(await readFile(path, 'utf8').catch(() => ''));
  if (!(pid > 1)) return;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  // Only if it is this test's own: the file may outlive its process.
  if (command.includes(path.slice(0, path.lastIndexOf('/')))) process.kill(pid, 'SIGKILL');
}

/** When the engine could not remove its containers, their shims are left, and below each shim its container. */
async function killShims(base: string): Promise<void> {
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (const pid of processes) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!command.includes('containerd-shim') || !command.includes(`${base}/`)) continue;
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    for (const victim of [pid, ...children.trim().split(' ')]) {
      try {
        if (Number(victim) > 1) process.kill(Number(victim), 'SIGKILL');
      } catch {
        // It has gone by itself.
      }
    }
  }
}

async function unmountBelow(base: string): Promise<void> {
  const points = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${base}/`));
  for (const point of points.reverse()) await exec('umount', ['-l', point]).catch(() => undefined);
}
