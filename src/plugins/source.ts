import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { EunomiaError, messageOf } from '../base/errors.js';
import { readTrusted, trustedDirectory } from '../base/file.js';
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

/** Rejects with BAD_PLUGIN, with file and line, for what is no TypeScript. What it lets through, the realm that runs it checks. */
export async function compileSource(file: string, source: string): Promise<PluginSource> {
  if (Buffer.byteLength(source) > MAX_SOURCE_BYTES)
    throw badPlugin(file, `has ${Buffer.byteLength(source)} bytes; at most ${MAX_SOURCE_BYTES} are allowed`);
  const { transform } = await import('./strip-types.js'); // for servers with plugins only
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
  return compileSource(path, checked(path, () => readTrusted(path, 'CODE')).toString());
}

/** The plugin files of a directory, which must be safe itself: nobody else may put files there, nor replace it. */
export async function pluginFiles(directory: string): Promise<string[]> {
  const real = checked(directory, () => trustedDirectory(directory));
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

function checked<Value>(path: string, check: () => Value): Value {
  try {
    return check();
  } catch (error) {
    const message = messageOf(error);
    throw unsafe(
      path,
      error instanceof EunomiaError
        ? `${message}. What lies there runs with the server's rights`
        : `${path}: cannot be read: ${message}`,
    );
  }
}

function unsafe(path: string, message: string): EunomiaError {
  return new EunomiaError('UNSAFE_PLUGINS', message, { details: { path } });
}
