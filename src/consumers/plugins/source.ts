import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { transform } from 'sucrase';
import { EunomiaError, messageOf } from '../../errors.js';
import { badPlugin } from './definition.js';

/** A plugin's source, ready to run: types taken out and modules made calls, each line where it was. */
export interface PluginSource {
  /** As errors name it. */
  readonly file: string;
  readonly code: string;
  /** Of the source as written. */
  readonly hash: string;
}

export const MAX_SOURCE_BYTES = 1 << 20;

/** Throws BAD_PLUGIN, with file and line, for what is no TypeScript. What it lets through, the engine that runs it judges. */
export function compileSource(file: string, source: string): PluginSource {
  if (Buffer.byteLength(source) > MAX_SOURCE_BYTES)
    throw badPlugin(file, `has ${Buffer.byteLength(source)} bytes; at most ${MAX_SOURCE_BYTES} are allowed`);
  try {
    const { code } = transform(source, {
      transforms: ['typescript', 'imports'],
      filePath: file,
      disableESTransforms: true,
      preserveDynamicImport: true,
    });
    return { file, code, hash: createHash('sha256').update(source).digest('hex') };
  } catch (error) {
    // "Error transforming FILE: Unexpected token (3:7)"
    const message = messageOf(error).replace(`Error transforming ${file}: `, '');
    const [, what = message, line] = /^(.*) \((\d+):\d+\)$/s.exec(message) ?? [];
    throw badPlugin(
      line === undefined ? file : `${file}:${line}`,
      what,
      line === undefined ? {} : { line: Number(line) },
    );
  }
}

/**
 * Reads a plugin of the server's own directory. It runs with the server's rights: rejects with UNSAFE_PLUGINS a file that others than
 * root and this user could have written.
 */
export async function readPlugin(path: string): Promise<PluginSource> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
    throw unsafe(
      path,
      error.code === 'ELOOP' ? 'is a symbolic link; put the file itself there' : `cannot be read: ${messageOf(error)}`,
    );
  });
  try {
    // Of the file that is read, not of the one that may have its name a moment later.
    const facts = await file.stat();
    if (!facts.isFile()) throw unsafe(path, 'is no regular file');
    refuseForeign(path, facts);
    return compileSource(path, await file.readFile('utf8'));
  } finally {
    await file.close();
  }
}

/** The plugin files of a directory, which must be safe itself: nobody else may put files there, nor replace it. */
export async function pluginFiles(directory: string): Promise<string[]> {
  const real = await realpath(directory).catch((error: unknown) => {
    throw unsafe(directory, `cannot be read: ${messageOf(error)}`);
  });
  if (!(await stat(real)).isDirectory()) throw unsafe(directory, 'is no directory');
  for (let path = real; ; path = dirname(path)) {
    const facts = await stat(path);
    // In a sticky folder (/tmp), only its owner may replace an entry.
    if (path === real || !(facts.mode & 0o1000)) refuseForeign(path, facts);
    if (path === dirname(path)) break;
  }
  const names = await readdir(real);
  return names
    .filter(
      (name) =>
        ['.ts', '.js', '.mjs', '.mts'].includes(extname(name)) &&
        !name.startsWith('.') &&
        !/\.(d|test)\.[mc]?ts$/.test(name) &&
        !/\.test\.m?js$/.test(name),
    )
    .sort()
    .map((name) => join(real, name));
}

function refuseForeign(path: string, { uid, mode }: { readonly uid: number; readonly mode: number }): void {
  const me = process.geteuid?.() ?? 0;
  if (uid !== 0 && uid !== me)
    throw unsafe(path, `belongs to the user ${uid}, who could put any code into this server; run: chown root ${path}`);
  if (mode & 0o022)
    throw unsafe(
      path,
      `is writable by others (mode ${(mode & 0o7777).toString(8)}), who could put any code into this server; run: chmod go-w ${path}`,
    );
}

function unsafe(path: string, why: string): EunomiaError {
  return new EunomiaError('UNSAFE_PLUGINS', `${path}: ${why}`, { details: { path } });
}
