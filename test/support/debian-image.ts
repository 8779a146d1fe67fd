import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeDebian } from './debian.js';
import type { TestDocker } from './docker.js';
import { scratch } from './workload.js';

const exec = promisify(execFile);

export const DEBIAN_IMAGE = 'eunomia-test/debian:1';

/** What `apt-get install` installs in a container of the image, without a network. */
export const PACKAGES = [
  ...['nginx-light', 'redis-server', 'postgresql', 'cron', 'logrotate', 'curl', 'gcc', 'libc6-dev', 'make'],
] as const;

/** A job of each minute, with those that packages have. That of apt sleeps for up to half an hour. */
const JOB = `PATH=/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root /etc/cron.daily/dpkg; /etc/cron.daily/logrotate; echo done >> /var/log/job.log
`;

/** A Debian with the archives of packages, so that its package manager can install them in a container. */
export async function makeDebianImage(docker: TestDocker): Promise<void> {
  const folder = join(scratch, 'debian');
  await makeDebian(folder);
  const inside = (...command: readonly string[]) => exec('chroot', [folder, ...command], { maxBuffer: 64 << 20 });
  await inside('apt-get', 'update', '-qq');
  await inside('apt-get', 'install', '-qq', '-y', '--no-install-recommends', '--download-only', ...PACKAGES);
  await mkdir(join(folder, 'etc/cron.d'), { recursive: true });
  await writeFile(join(folder, 'etc/cron.d/job'), JOB);
  const archive = `${folder}.tar`;
  await exec('tar', ['-C', folder, '-cf', archive, '.']);
  await docker.docker('import', '--change', 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin', archive, DEBIAN_IMAGE);
  await rm(folder, { recursive: true });
  await rm(archive);
}
