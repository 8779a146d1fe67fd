import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { makeDebian, type Contents } from './debian.js';
import { until } from './until.js';

/** A Debian with its own systemd, processes, mounts and v2 cgroups, and a network that has loopback alone. */
export interface Machine {
  /** For whatever the test makes. It is removed with the machine. */
  readonly folder: string;
  /** Its root directory, as this machine sees it. */
  readonly root: string;
  boot(): Promise<void>;
  /** Runs a script of bash in it, as root at home, to its first failure. What installs packages has this machine's network. */
  run(script: string): Promise<Outcome>;
  /** Leaves nothing of it behind. */
  stop(): Promise<void>;
}

export interface Outcome {
  readonly code: number | null;
  /** On both outputs. */
  readonly out: string;
}

/**
 * Boots the machine when it reads a line, and waits for the end of its input, which comes when the test ends, or is killed. Then nothing
 * is left. The machine's cgroup is at the top of the v2 hierarchy. Parameters of the kernel are not its own: it cannot write them.
 */
const KEEPER = `
folder=$1 cgroup=$2
if read -r; then
  mkdir "$cgroup"
  (
    echo 0 > "$cgroup/cgroup.procs" && exec unshare --fork --kill-child --pid --mount --uts --ipc --cgroup --net bash -c '
      set -e
      mount --make-rprivate /
      mount --bind "$1" "$1"
      cd "$1"
      mount -t proc proc proc
      mount --bind proc/sys proc/sys
      mount -o remount,bind,ro proc/sys
      mount -t sysfs -o ro sysfs sys
      mount -t cgroup2 cgroup2 sys/fs/cgroup
      mount -t tmpfs -o mode=755 tmpfs run
      mount -t tmpfs -o mode=755 tmpfs dev
      mkdir dev/pts dev/shm
      for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
      mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
      ln -s pts/ptmx dev/ptmx
      ln -s /proc/self/fd dev/fd
      hostname "$(cat etc/hostname)"
      pivot_root . mnt
      cd /
      umount -l /mnt
      exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
    ' bash "$folder/root"
  ) < /dev/null &
  cat > /dev/null
fi
trap '' PIPE # nobody may be there to read what bash says of the killed
for (( tries = 0; tries < 600; tries++ )); do
  [ -e "$cgroup" ] || break
  echo 1 > "$cgroup/cgroup.kill"
  find "$cgroup" -depth -type d -exec rmdir {} + || sleep 0.1
done
wait
# What a killed test had begun may still write there.
for (( tries = 0; tries < 600; tries++ )); do ! rm -rf --one-file-system "$folder" || break; sleep 0.1; done
`;

/** Commands that need a network find this machine's behind a descriptor; /root/node.tar.gz is what nodejs.org would have. */
const ONLINE = `
online() { nsenter --net=/proc/self/fd/9 -- env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$@"; }
apt-get() { online apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
npm() { online npm --silent --no-audit --no-fund --no-update-notifier "$@"; }
# There is no nodejs.org here: its archive is made of the Node that runs the tests.
curl() { case "$*" in *https://nodejs.org/*) cat /root/node.tar.gz ;; *) command curl "$@" ;; esac; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set -e
cd
`;

/** A fresh Debian 12, to be booted. */
export async function makeMachine({ packages = [], archives = [] }: Contents): Promise<Machine> {
  const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  if (mount === null) throw new Error('there is no v2 hierarchy of cgroups');
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-machine-'));
  const [root, cgroup] = [join(folder, 'root'), join(mount.point, basename(folder))];
  const keeper = spawn('bash', ['-c', KEEPER, 'bash', folder, cgroup], {
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true, // a signal to the test's process group is not for it
  });
  let told = '';
  keeper.stderr.on('data', (data: Buffer) => (told += String(data)));
  keeper.stdin.on('error', () => undefined); // it has ended: the next wait says why
  const closed = once(keeper, 'close');
  const end = (): void => void keeper.stdin.end();
  process.once('disconnect', end); // vitest was killed, and this process goes on until the test ends
  let init = '';

  const machine: Machine = {
    folder,
    root,
    async boot() {
      keeper.stdin.write('boot\n');
      init = await until('systemd has begun', async () => {
        if (keeper.exitCode !== null || told !== '') throw new Error(`the machine does not start: ${told}`);
        const procs = await readFile(join(cgroup, 'init.scope/cgroup.procs'), 'utf8').catch(() => '');
        return procs.split('\n')[0] || null;
      });
      const state = async (): Promise<string> => (await machine.run('systemctl is-system-running')).out;
      await until('it has booted', async () => /running|degraded/.test(await state()), 120_000);
    },
    async run(script) {
      const enter = `exec 9< /proc/self/ns/net; exec nsenter -t ${init} -m -u -i -n -p -C -r/proc/${init}/root -W/ bash -c "$1"`;
      const child = spawn('bash', ['-c', enter, 'bash', ONLINE + script], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {},
      });
      let out = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (out += String(data)));
      const [code] = (await once(child, 'close')) as [number | null];
      return { code, out };
    },
    async stop() {
      process.off('disconnect', end);
      end();
      await closed;
    },
  };
  try {
    await makeDebian(root, { packages: ['systemd-sysv', ...packages], archives });
    await copyFile('/etc/resolv.conf', join(root, 'etc/resolv.conf'));
    await writeFile(join(root, 'etc/hostname'), 'debian\n');
    return machine;
  } catch (error) {
    await machine.stop();
    throw error;
  }
}
