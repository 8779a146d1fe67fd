// System packages: looks for the files that matter, and installs the packages that bring what is missing.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findClang, oldestClang } from './clang.mjs';
import { SetupError, run, say, which } from './project.mjs';

const libraryFolders = [
  ...(process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean),
  '/usr/local/lib64',
  '/usr/local/lib',
  '/usr/lib64',
  '/usr/lib',
  '/lib64',
  '/lib',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/lib/x86_64-linux-gnu',
  '/lib/aarch64-linux-gnu',
];

// libbpf-dev depends on the library of the same version, whatever that is called in this release
// (libbpf1, libbpf1t64, or libbpf0, which is too old): so its name appears nowhere here.
const toRun = [
  { what: `clang ${oldestClang} or later`, apt: 'clang', there: () => findClang() !== null },
  {
    what: 'libbpf 1.0 or later (libbpf.so.1)',
    apt: 'libbpf-dev',
    there: () => libraryFolders.some((folder) => existsSync(join(folder, 'libbpf.so.1'))),
  },
  {
    what: 'the headers of libbpf',
    apt: 'libbpf-dev',
    there: () => ['/usr/include', '/usr/local/include'].some((folder) => existsSync(join(folder, 'bpf/bpf_helpers.h'))),
  },
];

const toTest = [
  program('dockerd', 'docker.io'),
  program('containerd', 'containerd'),
  program('podman', 'podman'),
  program('crun', 'crun'),
  program('lxc-start', 'lxc'),
  program('systemd-nspawn', 'systemd-container'),
  program('runc', 'runc'),
  program('iptables', 'iptables'),
  program('ip', 'iproute2'),
  program('bpftool', 'bpftool'),
  program('bpftrace', 'bpftrace'),
  program('strace', 'strace'),
  program('apparmor_parser', 'apparmor'),
  program('tcpdump', 'tcpdump'),
  program('curl', 'curl'),
  program('openssl', 'openssl'),
  program('systemd-analyze', 'systemd'),
  program('nginx', 'nginx-light'),
  program('redis-server', 'redis-server'),
  program('influxd', 'influxdb'),
  program('victoria-metrics', 'victoria-metrics'),
  program('prometheus', 'prometheus'),
  program('debootstrap', 'debootstrap'),
  program('chromium', 'chromium'),
  program('setpriv', 'util-linux'),
  program('mandoc', 'mandoc'),
  program('zsh', 'zsh'),
  program('fish', 'fish'),
  program('tmux', 'tmux'),
  { what: 'a static busybox', apt: 'busybox-static', there: () => isStatic(which('busybox')) },
];

function program(name, apt) {
  return { what: name, apt, there: () => which(name) !== null || existsSync(join('/usr/sbin', name)) };
}

function isStatic(path) {
  return path !== null && !readFileSync(path).includes('/ld-linux-');
}

/** How other package managers call it: printed, never run. */
const elsewhere = [
  ['dnf', 'dnf install clang libbpf-devel'],
  ['zypper', 'zypper install clang libbpf-devel'],
  ['pacman', 'pacman -S clang libbpf'],
  ['apk', 'apk add clang libbpf-dev'],
];

/** Returns what installs all that is missing. Throws a SetupError with the command that would, where we cannot. */
export function systemInstaller({ tests }) {
  const wanted = tests ? [...toRun, ...toTest] : toRun;
  const missing = wanted.filter(({ there }) => !there());
  if (!missing.length) return async () => {};
  const packages = [...new Set(missing.map(({ apt }) => apt))];
  const missed = missing.map(({ what }) => what).join(', ');
  const command = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (!which('apt-get')) {
    const [, known] = elsewhere.find(([manager]) => which(manager)) ?? [];
    throw new SetupError(
      `missing: ${missed}. There is no apt-get here; ${known ? `as root, run:\n  ${known}` : 'install them with what this system has.'}`,
    );
  }
  if (process.getuid?.() !== 0)
    throw new SetupError(`missing: ${missed}. Only root may install them; run:\n  sudo sh -c '${command}'`);

  return () => install(packages, wanted, command);
}

async function install(packages, wanted, command) {
  say(`installing ${packages.join(', ')} with apt-get`);
  const quietly = ['-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300'];
  const env = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l', LC_ALL: 'C.UTF-8' };
  // The lists may be empty or old. Without a network they may still do, so a failure is told only if the install fails too.
  const updated = await run('apt-get', ['update', ...quietly], { env });
  const installed = await run('apt-get', ['install', '-y', '--no-install-recommends', ...quietly, ...packages], {
    env,
  });
  // Its exit code is not asked: a service that must not start (policy-rc.d) is no reason to stop.
  const still = wanted.filter(({ there }) => !there()).map(({ what }) => what);
  if (still.length) {
    const output = [updated, installed]
      .filter(({ ok }) => !ok)
      .map((step) => step.output.trim())
      .join('\n');
    throw new SetupError(`still missing after "${command}": ${still.join(', ')}\n${output}`.trim());
  }
}
