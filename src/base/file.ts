import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { open, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { EunomiaError } from './errors.js';

/**
 * The only way to files that the server owns or trusts. Everything is checked from the root folder down and on open descriptors: where each
 * folder can be changed by trusted users only, nothing can be exchanged between a check and its use.
 */

/**
 * What a file is trusted with, and so who may have a hand in it.
 * CODE runs with our rights: only root and we may own or write it or a folder above it, and it is no link.
 * SECRET: the same owners; nobody else may write it, and others than its owner and group may not read it. Links are followed through safe
 * folders: Kubernetes and certbot make them.
 * SETTINGS decide who may use the server: as SECRET, but everybody may read them.
 * CONFIG: others may neither write it nor put another file in its place.
 */
export type FileKind = 'CODE' | 'SECRET' | 'SETTINGS' | 'CONFIG';

const OTHERS_ACCESS = 0o007;
const OTHERS_WRITE = 0o002;
const SHARED_WRITE = 0o022;
const STICKY = 0o1000;
const MAX_LINKS = 40;
const MAX_BYTES = 1 << 20;

/** Root, this process's user, and the one who called it through sudo: who has no more to gain. */
function isTrusted(uid: number): boolean {
  const me = process.geteuid?.() ?? 0;
  return uid === 0 || uid === me || (me === 0 && String(uid) === process.env['SUDO_UID']);
}

/**
 * Reads a whole file of at most a mebibyte. Never waits, not for a FIFO either. Throws UNSAFE_FILE, which says what is wrong and what would
 * mend it, or the error of the system call.
 */
export function readTrusted(path: string, kind: FileKind): Buffer {
  const fd = openTrusted(path, kind);
  try {
    if (fstatSync(fd).size > MAX_BYTES) throw unsafe(path, 'is larger than 1 MiB');
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A descriptor to read a trusted file by, for whoever closes it. Throws as `readTrusted`. */
function openTrusted(path: string, kind: FileKind): number {
  const real = realPath(path, kind, kind !== 'CODE');
  const fd = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    checkFile(path, fstatSync(fd), kind);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A folder of CODE: where it really is. Throws UNSAFE_FILE when others could put a file into it, or replace it. */
export function trustedDirectory(path: string): string {
  const real = realPath(path, 'CODE', true);
  const facts = lstatSync(real);
  if (!facts.isDirectory()) throw unsafe(path, 'is no directory');
  checkOwner(real, facts);
  checkWriters(real, facts, SHARED_WRITE);
  return real;
}

/**
 * Makes a folder of our own, mode 0700, or takes one that is there: it must be ours or root's, and what others may do in it is taken away
 * (they keep what their group may read). Throws UNSAFE_FILE for a folder of somebody else's, or one that somebody else could replace.
 */
export function privateDirectory(path: string): void {
  const real = realPath(path, 'CODE', true, true);
  const fd = openSync(real, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const facts = fstatSync(fd);
    checkOwner(path, facts);
    if (facts.mode & (OTHERS_ACCESS | SHARED_WRITE)) fchmodSync(fd, facts.mode & 0o750);
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file in a folder of our own: `flags` as of open(2). A new one has mode 0600, and so has one that was there
 * afterwards. Rejects with UNSAFE_FILE for a link, a file of somebody else's, one with a second name, and what is no
 * regular file.
 */
export async function openPrivate(path: string, flags: number): Promise<FileHandle> {
  const file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600).catch(
    (error: NodeJS.ErrnoException) => {
      throw error.code === 'ELOOP' ? unsafe(path, 'is a symbolic link; remove it') : error;
    },
  );
  try {
    const facts = await file.stat();
    checkPrivate(path, facts);
    if (facts.mode & 0o077) await file.chmod(0o600);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * The text of a small file that only its owner can read or write, and its owner: this process's user, or root, or with
 * `anyOwner` anybody. Null when there is none. Throws UNSAFE_FILE for what `openPrivate` refuses, for a file that
 * others can read, and for one of more than `most` bytes.
 */
export function readPrivate(
  path: string,
  { most, anyOwner = false }: { readonly most: number; readonly anyOwner?: boolean },
): { readonly text: string; readonly owner: number } | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw code === 'ELOOP' ? unsafe(path, 'is a symbolic link; remove it') : error;
  }
  try {
    const facts = fstatSync(fd);
    checkPrivate(path, facts, anyOwner);
    if (facts.mode & 0o077) throw unsafe(path, 'can be read by others than its owner');
    if (facts.size > most) throw unsafe(path, `is larger than ${most} bytes`);
    return { text: readFileSync(fd, 'utf8'), owner: facts.uid };
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a file of mode 0600 with this text, on the disk when it returns, in a folder of our own that is made when it is
 * missing. False when there is something of that name. Throws UNSAFE_FILE for a folder that others could change, or the
 * error of the system call.
 */
export function createPrivate(path: string, text: string): boolean {
  privateDirectory(dirname(path));
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
    return true;
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts a text, or its parts, in place of a file of our own, or makes it: mode 0600, in a folder of our own that is made when it
 * is missing. It is on the disk when it resolves, and whoever reads the file has the old text or the new one. Rejects as
 * `createPrivate` throws.
 */
export async function replacePrivate(path: string, text: string | AsyncIterable<string>): Promise<void> {
  privateDirectory(dirname(path));
  const part = `${path}.new`;
  const file = await openPrivate(part, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
  try {
    try {
      await writeFile(file, text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw error;
  }
  const folder = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  await folder.sync().finally(() => folder.close());
}

/** Takes a file that may be there into our hands, as `openPrivate` does; nothing when there is none. */
export async function securePrivate(path: string): Promise<void> {
  const file = await openPrivate(path, constants.O_RDONLY).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  await file?.close();
}

/**
 * Where a path leads. Each folder and each link on the way is checked before the next is looked at; `make` makes
 * folders that are missing.
 */
function realPath(path: string, kind: FileKind, followLast: boolean, make = false): string {
  let left = resolve(path).split('/').filter(Boolean);
  let at = '/';
  checkFolder(at, lstatSync(at), kind);
  for (let links = 0; left.length;) {
    const [name = '', ...rest] = left;
    const next = name === '..' ? dirname(at) : join(at, name);
    const facts = lstatSync(next, { throwIfNoEntry: !make }) ?? made(next);
    left = rest;
    if (facts.isSymbolicLink()) {
      if (!rest.length && !followLast) throw unsafe(path, 'is a symbolic link; put the file itself there');
      // A link in /tmp may be anybody's; in other folders that were let pass it is their owner's.
      if (!isTrusted(facts.uid))
        throw unsafe(path, `is reached by the link ${next} of the user ${facts.uid}, who could make it lead elsewhere`);
      if (++links > MAX_LINKS) throw unsafe(path, 'is reached by too many links');
      const target = readlinkSync(next);
      left = [...target.split('/').filter((part) => part !== '' && part !== '.'), ...rest];
      if (isAbsolute(target)) at = '/';
    } else {
      if (rest.length) checkFolder(next, facts, kind);
      at = next;
    }
  }
  return at;
}

function checkFolder(path: string, facts: Stats, kind: FileKind): void {
  if (kind !== 'CONFIG') checkOwner(path, facts);
  // In a sticky folder (/tmp) only its owner and that of the folder may replace an entry.
  if (!(facts.mode & STICKY)) checkWriters(path, facts, kind === 'CONFIG' ? OTHERS_WRITE : SHARED_WRITE);
}

function checkFile(path: string, facts: Stats, kind: FileKind): void {
  if (!facts.isFile()) throw unsafe(path, 'is no regular file');
  if (kind !== 'CONFIG') checkOwner(path, facts);
  if (kind === 'SECRET' && facts.mode & OTHERS_ACCESS)
    throw unsafe(path, `is open to everybody; run: chmod o= ${path}`);
  checkWriters(path, facts, kind === 'CONFIG' ? OTHERS_WRITE : SHARED_WRITE);
}

function checkPrivate(path: string, facts: Stats, anyOwner = false): void {
  if (!facts.isFile()) throw unsafe(path, 'is no regular file');
  if (!anyOwner) checkOwner(path, facts);
  if (facts.nlink > 1) throw unsafe(path, 'has a second name, by which others may reach it');
}

function checkOwner(path: string, { uid }: Stats): void {
  if (!isTrusted(uid))
    throw unsafe(
      path,
      `belongs to the user ${uid}, who could change it at any time; run: chown ${process.geteuid?.() ?? 0} ${path}`,
    );
}

function checkWriters(path: string, { mode }: Stats, refused: number): void {
  if (mode & refused)
    throw unsafe(
      path,
      `is writable by others (mode ${(mode & 0o7777).toString(8)}); run: chmod ${refused === OTHERS_WRITE ? 'o' : 'go'}-w ${path}`,
    );
}

/** A new folder, or what somebody has put there this moment: never what a link there leads to. */
function made(path: string): Stats {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  return lstatSync(path);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function unsafe(path: string, why: string): EunomiaError {
  return new EunomiaError('UNSAFE_FILE', `${path}: ${why}`, { details: { path } });
}
