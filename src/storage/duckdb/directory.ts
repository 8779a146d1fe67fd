import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { openPrivate, privateDirectory, securePrivate } from '../../base/file.js';

/** Makes the directory ours alone, and what lies there. Rejects with STORE_UNAVAILABLE when it cannot be used. */
export async function checkDirectory(directory: string, file: string): Promise<void> {
  try {
    privateDirectory(directory);
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    for (const name of [file, `${file}.wal`]) await securePrivate(name);
    // Root passes each check of permissions, and a file system may be read-only all the same.
    const probe = join(directory, `.probe-${randomBytes(6).toString('hex')}`);
    await (await openPrivate(probe, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL)).close();
    await rm(probe);
  } catch (error) {
    throw new EunomiaError(
      'STORE_UNAVAILABLE',
      `the data directory ${directory} cannot be used: ${messageOf(error)}; give another one with --data-dir, or ` +
        '--data-dir none for no history',
    );
  }
}
