import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { root } from '../../src/base/paths.js';
import { CERTIFICATES, installNode, makeDebian } from './debian.js';
import type { TestDocker } from './docker.js';
import { scratch } from './workload.js';

const exec = promisify(execFile);

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
  await installNode(join(folder, 'usr/local'));
  const archive = `${folder}.tar`;
  await exec('tar', ['-C', folder, '-cf', archive, '.']);
  await docker.docker('import', '--change', `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`, archive, name);
  await rm(folder, { recursive: true });
  await rm(archive);
  return name;
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
