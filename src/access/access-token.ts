import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { EunomiaError, messageOf } from '../base/errors.js';
import { createPrivate, readPrivate } from '../base/file.js';
import { homeDirectory } from '../base/user.js';

/**
 * The token of a server that was given none: made at its first start, kept in a file that only its owner can read, and sent
 * by the command line of the same user. It lets in those whose connection does not show that they are operators.
 */

const NAME = 'access-token';
const TOKEN = /^[A-Za-z0-9_-]{43}$/;
/** Of a file with a token. */
const MOST_BYTES = 100;

/** By the Filesystem Hierarchy Standard for root, by the XDG base directories for others. */
export function defaultDataDirectory(): string {
  if (process.getuid?.() === 0) return '/var/lib/eunomia';
  return join(process.env['XDG_STATE_HOME'] || join(homeDirectory(), '.local/state'), 'eunomia');
}

/** Where the token of a server with this data directory may be, the likeliest first. */
export function tokenFiles(dataDirectory: string | null): readonly string[] {
  const runtime = process.getuid?.() === 0 ? '/run' : process.env['XDG_RUNTIME_DIR'];
  return [
    ...(dataDirectory === null ? [] : [join(dataDirectory, NAME)]),
    ...(runtime ? [join(runtime, 'eunomia', NAME)] : []),
  ];
}

/**
 * The token in the first of the files that is there or can be made. Null when none can be made. Throws BAD_TOKEN_FILE when a file is
 * there that somebody else could have written or read.
 */
export function obtainToken(files: readonly string[]): { readonly secret: string; readonly file: string } | null {
  for (const file of files) {
    const secret = readToken(file)?.secret ?? makeToken(file);
    if (secret !== null) return { secret, file };
  }
  return null;
}

/**
 * A token and the owner of its file. Null when there is no such file. Throws BAD_TOKEN_FILE when it cannot be trusted.
 * A client that may read the file of a server that runs as another user may use it (`anyOwner`): all that somebody
 * else's token could do is to be refused.
 */
export function readToken(
  file: string,
  { anyOwner = false }: { readonly anyOwner?: boolean } = {},
): { readonly secret: string; readonly owner: number } | null {
  const found = untrustedAs(file, () => readPrivate(file, { most: MOST_BYTES, anyOwner }));
  if (found === null) return null;
  const secret = found.text.trim();
  if (!TOKEN.test(secret)) throw untrusted(`${file}: holds no token`);
  return { secret, owner: found.owner };
}

function makeToken(file: string): string | null {
  const secret = randomBytes(32).toString('base64url');
  try {
    if (createPrivate(file, `${secret}\n`)) return secret;
  } catch {
    return null; // there is another place, or the server says that it has none
  }
  return readToken(file)?.secret ?? null; // another server of this user was faster
}

function untrustedAs<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw untrusted(error instanceof EunomiaError ? error.message : `${file}: ${messageOf(error)}`);
  }
}

function untrusted(problem: string): EunomiaError {
  return new EunomiaError(
    'BAD_TOKEN_FILE',
    `${problem}; remove it, and the server makes a new one (or start it with tokens of your own: --tokens-file)`,
  );
}
