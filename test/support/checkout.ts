import { execFile } from 'node:child_process';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../src/base/paths.js';

const exec = promisify(execFile);

/**
 * Copies what stands in the checkout, also uncommitted, to a folder of the test's own, where it may be built and changed. What was built
 * comes along, so that little is left to build.
 */
export async function copyCheckout(to: string): Promise<void> {
  const { stdout } = await exec('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    maxBuffer: 1 << 24,
  });
  for (const file of stdout.split('\0').filter(Boolean)) {
    await mkdir(join(to, dirname(file)), { recursive: true });
    await cp(join(root, file), join(to, file));
  }
  for (const folder of ['build', 'dist', 'src/generated'])
    await cp(join(root, folder), join(to, folder), { recursive: true });
  await cp(join(root, '.cache'), join(to, '.cache'), {
    recursive: true,
    filter: (path) => !/\.cache\/(?:test-programs|test-images|clients)$/.test(path), // other tests write there
  });
  await symlink(join(root, 'node_modules'), join(to, 'node_modules'));
}
