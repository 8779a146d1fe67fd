import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { lstat, rename, rm } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
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

/**
 * Writes under another name until it is whole: a file that is there is complete. Only its owner may read it: events hold command lines.
 * Rejects, and leaves nothing, when `signal` aborts before that. Resolves to the number of bytes.
 */
export async function toFile(
  pieces: AsyncIterable<string | Uint8Array>,
  file: string,
  signal?: AbortSignal,
): Promise<number> {
  const there = await lstat(file).catch(() => null);
  if (there && !there.isFile())
    throw new UsageError(
      `--output: ${file} is there and is no regular file; without --output the export goes to standard output`,
    );
  // A name that nobody can have laid out a link under.
  const part = `${file}.${randomBytes(6).toString('hex')}.part`;
  const handle = await openPrivate(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  const stream = handle.createWriteStream();
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      if (signal?.aborted) throw new Error(`stopped before ${file} was whole`);
      bytes += Buffer.byteLength(piece);
      if (!stream.write(piece)) await once(stream, 'drain');
    }
    stream.end();
    await finished(stream);
    await rename(part, file);
  } catch (error) {
    stream.destroy();
    await rm(part, { force: true });
    throw error;
  }
  return bytes;
}
