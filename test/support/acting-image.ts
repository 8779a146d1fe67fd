import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../src/base/paths.js';
import { TEST_IMAGE, type TestDocker } from './docker.js';
import { compileC, scratch } from './workload.js';

const exec = promisify(execFile);

export const ACTING_IMAGE = 'eunomia-test/acting:1';

/** Programs that behaviour.c stands for. */
const STAND_INS = [
  ...[
    'apk',
    'apt-get',
    'auditd',
    'docker',
    'dpkg',
    'iptables',
    'java',
    'lazagne',
    'nginx',
    'nmap',
    'php-fpm',
    'pkexec',
    'postgres',
    'python3',
  ],
  ...['rsync', 'setenforce', 'shred', 'ssh', 'sudo', 'sudoedit', 'useradd', 'xmrig', 'curl', 'debugfs', 'ksh93'],
];

/** A busybox with a bash, behaviour.c under the names of other programs, and files that are worth something. */
export async function makeActingImage(docker: TestDocker): Promise<string> {
  const program = await compileC(
    'behaviour',
    await readFile(join(root, 'test/support/behaviour.c'), 'utf8'),
    '-static',
  );
  const folder = join(scratch, 'acting');
  await mkdir(join(folder, 'bin'), { recursive: true });
  await copyFile(program, join(folder, 'bin/behaviour'));
  for (const name of STAND_INS) await symlink('behaviour', join(folder, 'bin', name));
  const { stdout } = await exec('ldd', ['/bin/bash']);
  for (const [library] of stdout.matchAll(/\/\S+(?= \()/g)) {
    await mkdir(join(folder, library, '..'), { recursive: true });
    await copyFile(library, join(folder, library));
  }
  await copyFile('/bin/bash', join(folder, 'bin/bash'));
  const files: Readonly<Record<string, string>> = {
    'etc/shadow': 'root:*:1::::::\n',
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n',
    'etc/group': 'root:x:0:\nuser:x:1000:\n',
    'etc/sudoers': '',
    'etc/pam.d/su': '',
    'etc/hostname': 'host',
    'root/.ssh/id_rsa': 'key',
    'root/.aws/credentials': 'key',
    'root/.bash_history': 'ls',
    'run/secrets/kubernetes.io/serviceaccount/token': 'token',
    'var/log/auth.log': 'log',
    'var/spool/cron/crontabs/none': '',
    'etc/systemd/system/none': '',
    'etc/cron.d/none': '',
    'usr/bin/none': '',
    'var/tmp/none': '',
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), text, { mode: name === 'etc/shadow' ? 0o600 : 0o644 });
  }
  for (const [copy, mode] of [
    ['var/tmp/q', 0o755],
    ['root/.h', 0o755],
    ['root/got', 0o600],
    ['root/s', 0o755],
  ] as const) {
    await copyFile(program, join(folder, copy));
    await chmod(join(folder, copy), mode);
  }
  await docker.docker('create', '--name', 'acting-base', TEST_IMAGE);
  await docker.docker('cp', `${folder}/.`, 'acting-base:/');
  await docker.docker('commit', 'acting-base', ACTING_IMAGE);
  await docker.docker('rm', 'acting-base');
  return program;
}
