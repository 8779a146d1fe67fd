import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, realpath, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { sha256 } from '../../src/base/hash.js';
import { root } from '../../src/base/paths.js';
import type { TestDocker } from './docker.js';
import { scratch } from './workload.js';

const exec = promisify(execFile);

const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
const dockerfile = join(root, 'docker/Dockerfile');

/** The part of a service of compose.yaml that says what its container may do and see. */
export interface Service {
  readonly network_mode: string;
  readonly pid: string;
  readonly cgroup: string;
  readonly cap_drop: readonly string[];
  readonly cap_add: readonly string[];
  readonly security_opt: readonly string[];
  readonly read_only: boolean;
  readonly tmpfs: readonly string[];
  readonly volumes: readonly string[];
}

export async function composeServices(): Promise<Readonly<Record<string, Service & { readonly image: string }>>> {
  const { services } = parse(await readFile(join(root, 'docker/compose.yaml'), 'utf8')) as {
    services: Record<string, Service & { image: string }>;
  };
  return services;
}

/**
 * Makes the image that the Dockerfile begins with, under its name: Debian by debootstrap, with the Node that runs this test. There is
 * no registry of images here.
 */
export async function makeBase(docker: TestDocker): Promise<string> {
  const name = /^ARG BASE=(\S+)$/m.exec(await readFile(dockerfile, 'utf8'))?.[1];
  if (name === undefined) throw new Error('the Dockerfile names no base');
  const folder = join(scratch, 'base');
  await makeDebian(folder);
  const local = join(folder, 'usr/local');
  await copyFile(process.execPath, join(local, 'bin/node'));
  // Not below `npm root -g`: that is beside the Node that runs, which may have come without npm.
  const npm = dirname(dirname(await realpath((await exec('which', ['npm'])).stdout.trim())));
  await mkdir(join(local, 'lib/node_modules'), { recursive: true });
  await cp(npm, join(local, 'lib/node_modules/npm'), { recursive: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
  const archive = `${folder}.tar`;
  await exec('tar', ['-C', folder, '-cf', archive, '.']);
  await docker.docker('import', '--change', `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`, archive, name);
  await rm(folder, { recursive: true });
  await rm(archive);
  return name;
}

/** Where Debians of earlier test files are kept, by what they are made of. */
const kept = join(root, '.cache/test-images');

/**
 * A small Debian in a folder, by debootstrap, which takes minutes on a busy machine: one is made, and kept. It trusts what this machine
 * trusts (the certificates of its mirrors). dpkg does not wait for the disk in it, as in the images of Debian.
 */
export async function makeDebian(folder: string): Promise<void> {
  const { uris, suite } = await mirror();
  const made = join(kept, `${suite}-${sha256(uris).slice(0, 16)}.tar`);
  await mkdir(kept, { recursive: true });
  await mkdir(folder, { recursive: true });
  const own = join(scratch, 'bootstrap');
  const script = `set -e
    [ -e ${made} ] && exit
    mkdir -p ${own}/etc/dpkg/dpkg.cfg.d
    echo force-unsafe-io > ${own}/etc/dpkg/dpkg.cfg.d/unsafe-io
    debootstrap --variant=minbase --include=ca-certificates,apt-utils ${suite} ${own} ${uris}
    rm -f ${own}/var/cache/apt/archives/*.deb
    tar -C ${own} -cf ${made}.part .
    mv ${made}.part ${made}
    rm -r ${own}`;
  // One at a time: two files may need it at once.
  await exec('flock', [join(kept, 'lock'), 'sh', '-c', script], { maxBuffer: 64 << 20 });
  await exec('tar', ['-C', folder, '-xf', made]);
  await copyFile(process.env['NODE_EXTRA_CA_CERTS'] ?? CERTIFICATES, join(folder, CERTIFICATES));
}

/** Where this machine has its Debian from; bookworm is what the Dockerfile's base is made of. */
async function mirror(): Promise<{ readonly uris: string; readonly suite: string }> {
  const { stdout } = await exec('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)', 'Created-By: Packages']);
  const [uris] =
    stdout
      .split('\n')
      .find((line) => /\/debian\/? bookworm$/.test(line))
      ?.split(' ') ?? [];
  return { uris: uris ?? 'http://deb.debian.org/debian', suite: 'bookworm' };
}

/** Builds the Dockerfile as its first line says; on the host's network, since the engine under test has no other. */
export async function buildImage(docker: TestDocker, tag: string): Promise<void> {
  await docker.docker(
    'build',
    '--quiet',
    '--network',
    'host',
    '-f',
    dockerfile,
    '-t',
    tag,
    dirname(dirname(dockerfile)),
  );
}

/**
 * `docker run`'s flags for a service. Where the engine does not know BPF and PERFMON, SYS_ADMIN stands for both, as
 * docs/docker.md says.
 */
export async function runFlags(docker: TestDocker, service: Service): Promise<string[]> {
  const knows = await docker.docker('run', '--rm', '--cap-add', 'BPF', 'no-such-image:1').then(
    () => true,
    (error: unknown) => !String(error).includes('unknown capability'),
  );
  const add = knows
    ? service.cap_add
    : [...service.cap_add.filter((name) => name !== 'BPF' && name !== 'PERFMON'), 'SYS_ADMIN'];
  const volumes = service.volumes.map((volume) =>
    volume.replace(/^\/var\/run\/docker\.sock:/, `${docker.socket}:`).replace(/^\.\//, `${join(root, 'docker')}/`),
  );
  return [
    '--network',
    service.network_mode,
    '--pid',
    service.pid,
    '--cgroupns',
    service.cgroup,
    ...service.cap_drop.flatMap((name) => ['--cap-drop', name]),
    ...add.flatMap((name) => ['--cap-add', name]),
    ...service.security_opt.flatMap((option) => ['--security-opt', option]),
    ...(service.read_only ? ['--read-only'] : []),
    ...service.tmpfs.flatMap((path) => ['--tmpfs', path]),
    ...volumes.flatMap((volume) => ['--volume', volume]),
  ];
}
