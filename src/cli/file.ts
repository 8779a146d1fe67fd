import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, lstat, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openPrivate } from '../base/file.js';
import type { Output } from './output.js';
import { UsageError } from './usage.js';

/** Writes to where output goes, until its reader has gone or `signal` aborts. Resolves to the number of bytes. */
export async function toOutput(
  pieces: AsyncIterable<string | Uint8Array>,
  output: Output,
  signal?: AbortSignal,
): Promise<number> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += Buffer.byteLength(piece);
    if (signal?.aborted || !(await output.write(piece))) break;
  }
  return bytes;
}

/** Rejects with a UsageError where no file can be put there, before anything is begun for it. */
export async function checkFile(file: string): Promise<void> {
  if (file === '') throw new UsageError('--output: is empty; give the name of a file');
  const there = await lstat(file).catch(() => null);
  if (there && !there.isFile())
    throw new UsageError(
      `--output: ${file} is there and is no regular file; without --output, standard output is used`,
    );
  const folder = dirname(file);
  await access(folder, constants.W_OK).catch(({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'ENOENT') throw new UsageError(`--output: there is no directory ${folder}`);
    throw new UsageError(`--output: ${code === 'EACCES' ? `no right to make a file in ${folder}` : message}`);
  });
}

/**
 * Writes under another name until it is whole: a file that is there is complete. Only its owner may read it: events hold command lines.
 * Rejects, and leaves nothing, when `signal` aborts before that. Resolves to the number of bytes.
 */
export async function toFile(
  pieces: AsyncIterable<string | Uint8Array>,
  file: string,
  signal?: AbortSignal,
): Promise<number> {
  await checkFile(file);
  // A name that nobody can have laid out a link under.
  const part = `${file}.${randomBytes(6).toString('hex')}.part`;
  const handle = await openPrivate(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      if (signal?.aborted) throw new Error(`stopped before ${file} was whole`);
      bytes += Buffer.byteLength(piece);
      // Awaited, and no stream: its error would come while the next piece is waited for, and end the process.
      await handle.writeFile(piece);
    }
    await handle.close();
    await rename(part, file);
  } catch (error) {
    await handle.close();
    await rm(part, { force: true });
    throw error;
  }
  return bytes;
}
