import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, realpath, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { sha256 } from '../../src/base/hash.js';
import { root } from '../../src/base/paths.js';

const exec = promisify(execFile);

export const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Where Debians of earlier test files are kept, by what they are made of. */
const kept = join(root, '.cache/test-images');

/** What a Debian has besides the least. */
export interface Contents {
  /** Installed. */
  readonly packages?: readonly string[];
  /** Those of which apt has the archives, with what they depend on. */
  readonly archives?: readonly string[];
}

/**
 * A small Debian in a folder, by debootstrap, which takes minutes on a busy machine: one of each contents is made, and kept. It trusts
 * what this machine trusts (the certificates of its mirrors). dpkg does not wait for the disk in it, as in the images of Debian.
 */
export async function makeDebian(folder: string, { packages = [], archives = [] }: Contents = {}): Promise<void> {
  const { uris, suite } = await mirror();
  const archiveOf = (...parts: readonly string[]): string =>
    join(kept, `${suite}-${sha256(parts.join(' ')).slice(0, 16)}.tar`);
  const least = archiveOf(uris);
  const wanted = packages.length + archives.length > 0 ? archiveOf(uris, ...packages, '', ...archives) : least;
  const get = 'apt-get install -qq -y --no-install-recommends -o APT::Keep-Downloaded-Packages=true';
  const script = `set -e
    keep() { tar -C ${folder} -cf $1.part .; mv $1.part $1; }
    [ ! -e ${wanted} ] || exec tar -C ${folder} -xf ${wanted}
    if [ -e ${least} ]; then tar -C ${folder} -xf ${least}
    else
      mkdir -p ${folder}/etc/dpkg/dpkg.cfg.d
      echo force-unsafe-io > ${folder}/etc/dpkg/dpkg.cfg.d/unsafe-io
      debootstrap --variant=minbase --include=ca-certificates,apt-utils ${suite} ${folder} ${uris}
      rm -f ${folder}/var/cache/apt/archives/*.deb
      keep ${least}
    fi
    [ ${wanted} != ${least} ] || exit 0
    cp ${trusted()} ${folder}${CERTIFICATES}
    export DEBIAN_FRONTEND=noninteractive
    inside() { chroot ${folder} "$@"; }
    inside apt-get update -qq
    ${packages.length > 0 ? `inside ${get} ${packages.join(' ')}` : ''}
    ${archives.length > 0 ? `inside ${get} --download-only ${archives.join(' ')}` : ''}
    keep ${wanted}`;
  await mkdir(kept, { recursive: true });
  await mkdir(folder, { recursive: true });
  // One at a time: two files may need it at once.
  await exec('flock', [join(kept, 'lock'), 'bash', '-c', script], { maxBuffer: 64 << 20 });
  await copyFile(trusted(), join(folder, CERTIFICATES));
}

const trusted = (): string => process.env['NODE_EXTRA_CA_CERTS'] ?? CERTIFICATES;

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

/** The Node that runs this test, with its npm, as Node's own archive has them. */
export async function installNode(local: string): Promise<void> {
  // Not below `npm root -g`: that is beside the Node that runs, which may have come without npm.
  const npm = dirname(dirname(await realpath((await exec('which', ['npm'])).stdout.trim())));
  for (const part of ['bin', 'lib/node_modules']) await mkdir(join(local, part), { recursive: true });
  await copyFile(process.execPath, join(local, 'bin/node'));
  await cp(npm, join(local, 'lib/node_modules/npm'), { recursive: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
}
