import { constants } from 'node:fs';
import { readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { refuse, type LotShares } from './lot.js';
import { openPrivate, privateDirectory } from '../../base/file.js';
import { newerFormat } from '../../base/format.js';
import { FileLock } from '../../lock/lock.js';

export interface SpoolOptions {
  /** Bytes on disk at most. */
  readonly maxBytes: number;
  /** What goes when there is no more room. OLDEST goes by whole segments, of an eighth of the room. */
  readonly drop: 'OLDEST' | 'NEWEST';
}

export interface SpoolRecord {
  readonly payload: Buffer;
  readonly points: number;
  /** Whose points they are; of a server before this one nobody knows. */
  readonly shares?: LotShares | undefined;
}

interface Segment {
  readonly number: number;
  bytes: number;
  points: number;
  /** Of its records that were not sent, the oldest first; empty for what a server before this one has left. */
  readonly shares: LotShares[];
}

// A record: magic, length of the payload, points in it, CRC-32 of these two and the payload; all little endian, then the payload.
const MAGIC = 0x50535545;
/** Of the directory: what its files are, and what is in them. */
const FORMAT = 1;
const HEADER = 16;
const MAX_SEGMENT = 8 << 20;

/**
 * A queue of points on disk, for as long as the database is away. Survives the end of the server at any instruction: a record that was
 * not written whole is cut off, and the place up to which points were sent is kept beside. After a crash between a response of the database
 * and that place, one record is sent again: its points are the same, and overwrite themselves.
 */
export class Spool {
  readonly #directory: string;
  readonly #options: SpoolOptions;
  readonly #segmentBytes: number;
  readonly #segments: Segment[] = [];
  /** Numbers are never used again: the place that is kept beside names one. */
  #lastNumber = 0;
  #tail: FileHandle | null = null;
  #head: FileHandle | null = null;
  /** In the oldest segment: where the next record to be sent starts. */
  #offset = 0;
  #next: { readonly length: number; readonly record: SpoolRecord } | null = null;
  #work: Promise<unknown> = Promise.resolve();
  #lock: FileLock | null = null;
  /** Of the directory: one server after the other has it, never two at a time. */
  id = '';
  /** Points that went since there was no room. */
  dropped = 0;
  /** Bytes that were cut off when it was opened: the record that a crash left unfinished, or what a disk has spoiled. */
  damagedBytes = 0;

  private constructor(directory: string, options: SpoolOptions) {
    this.#directory = directory;
    this.#options = options;
    this.#segmentBytes = Math.min(MAX_SEGMENT, Math.floor(options.maxBytes / 8));
  }

  /** Makes the directory when there is none. Rejects with SPOOL_UNUSABLE, which says why, or SPOOL_LOCKED while another server has it. */
  static async open(directory: string, options: SpoolOptions): Promise<Spool> {
    const spool = new Spool(directory, options);
    try {
      privateDirectory(directory);
      spool.#lock = await lockOf(join(directory, 'lock'));
      await checkFormat(join(directory, 'format'));
      spool.id = await keptId(join(directory, 'id'));
      await spool.#load();
    } catch (error) {
      await spool.#lock?.release();
      if (error instanceof EunomiaError && error.code === 'SPOOL_LOCKED') throw error;
      throw new EunomiaError('SPOOL_UNUSABLE', `the spool directory ${directory} cannot be used: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return spool;
  }

  get points(): number {
    return this.#segments.reduce((sum, { points }) => sum + points, 0);
  }

  /** On disk; the part of the oldest segment that was sent is still there. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get isEmpty(): boolean {
    return this.points === 0;
  }

  /** Appends in the order of the calls. Resolves to false, and has counted the points as dropped, when there is no room. */
  append(record: SpoolRecord): Promise<boolean> {
    return this.#serial(() => this.#append(record));
  }

  /** The oldest record; null when there is none. */
  peek(): Promise<SpoolRecord | null> {
    return this.#serial(() => this.#peek());
  }

  /** The record that `peek` gave was sent. It may have been dropped meanwhile: then nothing is left to do, and it returns false. */
  acknowledge(record: SpoolRecord): Promise<boolean> {
    return this.#serial(() => this.#acknowledge(record));
  }

  async close(): Promise<void> {
    await this.#serial(async () => {
      await this.#head?.close();
      await this.#tail?.close();
      this.#head = this.#tail = null;
      await this.#lock?.release();
    });
  }

  #serial<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = this.#work.then(work);
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #append({ payload, points, shares = [] }: SpoolRecord): Promise<boolean> {
    const size = HEADER + payload.length;
    while (this.bytes + size > this.#options.maxBytes) {
      if (this.#options.drop === 'NEWEST' || !this.#segments.length || size > this.#options.maxBytes) {
        this.dropped += points;
        refuse(shares, points);
        return false;
      }
      const oldest = this.#segments[0];
      this.dropped += oldest?.points ?? 0;
      for (const lost of oldest?.shares ?? []) refuse(lost, pointsOf(lost));
      await this.#removeOldest();
    }
    let segment = this.#segments.at(-1);
    if (!segment || !this.#tail || segment.bytes + size > this.#segmentBytes) {
      await this.#tail?.close();
      segment = { number: ++this.#lastNumber, bytes: 0, points: 0, shares: [] };
      this.#tail = await openPrivate(
        this.#path(segment.number),
        constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
      );
      this.#segments.push(segment);
    }
    const header = Buffer.alloc(HEADER);
    header.writeUInt32LE(MAGIC, 0);
    header.writeUInt32LE(payload.length, 4);
    header.writeUInt32LE(points, 8);
    header.writeUInt32LE(checksum(header, payload), 12);
    try {
      await this.#tail.appendFile(Buffer.concat([header, payload]));
    } catch (error) {
      // What was written of it must not stand before the next one.
      await this.#tail.truncate(segment.bytes).catch(() => undefined);
      this.dropped += points;
      refuse(shares, points);
      throw error;
    }
    segment.bytes += size;
    segment.points += points;
    segment.shares.push(shares);
    return true;
  }

  async #peek(): Promise<SpoolRecord | null> {
    if (this.#next) return this.#next.record;
    for (;;) {
      const [segment] = this.#segments;
      if (!segment) return null;
      if (this.#offset >= segment.bytes) {
        if (this.#segments.length === 1 && this.#offset === 0) return null;
        await this.#removeOldest();
        continue;
      }
      this.#head ??= await openPrivate(this.#path(segment.number), constants.O_RDONLY);
      const header = Buffer.alloc(HEADER);
      await this.#head.read(header, 0, HEADER, this.#offset);
      const payload = Buffer.alloc(header.readUInt32LE(4));
      await this.#head.read(payload, 0, payload.length, this.#offset + HEADER);
      const record = { payload, points: header.readUInt32LE(8), shares: segment.shares[0] };
      this.#next = { length: HEADER + payload.length, record };
      return record;
    }
  }

  async #acknowledge(record: SpoolRecord): Promise<boolean> {
    const [segment] = this.#segments;
    if (this.#next?.record !== record || !segment) return false;
    this.#offset += this.#next.length;
    this.#next = null;
    segment.points -= record.points;
    segment.shares.shift();
    if (this.#offset >= segment.bytes) await this.#removeOldest();
    else await this.#keepPlace(segment.number);
    return true;
  }

  async #removeOldest(): Promise<void> {
    const segment = this.#segments.shift();
    await this.#head?.close();
    this.#head = null;
    this.#offset = 0;
    this.#next = null;
    if (!segment) return;
    if (!this.#segments.length) {
      await this.#tail?.close();
      this.#tail = null;
    }
    await rm(this.#path(segment.number), { force: true });
  }

  async #keepPlace(segment: number): Promise<void> {
    const path = join(this.#directory, 'place');
    await writePrivate(`${path}.new`, JSON.stringify({ segment, offset: this.#offset }));
    await rename(`${path}.new`, path);
  }

  async #load(): Promise<void> {
    const numbers = (await readdir(this.#directory))
      .flatMap((name) => /^(\d{12})\.points$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
    const place = await readPlace(join(this.#directory, 'place'));
    this.#lastNumber = Math.max(0, place.segment, numbers.at(-1) ?? 0);
    for (const number of numbers) {
      const file = await openPrivate(this.#path(number), constants.O_RDWR);
      const bytes = await file.readFile().catch(async (error: unknown) => {
        await file.close();
        throw error;
      });
      const sent = number === numbers[0] && place.segment === number ? place.offset : 0;
      const { end, points } = scan(bytes, sent);
      this.damagedBytes += bytes.length - end;
      if (end < bytes.length) await file.truncate(end);
      await file.close();
      if (end === 0 || points === 0) {
        await rm(this.#path(number));
        continue;
      }
      if (!this.#segments.length) this.#offset = sent;
      this.#segments.push({ number, bytes: end, points, shares: [] });
    }
  }

  #path(number: number): string {
    return join(this.#directory, `${String(number).padStart(12, '0')}.points`);
  }
}

function pointsOf(shares: LotShares): number {
  return shares.reduce((sum, { points }) => sum + points, 0);
}

function checksum(header: Buffer, payload: Buffer): number {
  return crc32(payload, crc32(header.subarray(4, 12)));
}

/** Where the last whole record ends, and how many points are in those behind `sent`. */
function scan(bytes: Buffer, sent: number): { end: number; points: number } {
  let end = 0;
  let points = 0;
  while (end + HEADER <= bytes.length) {
    const header = bytes.subarray(end, end + HEADER);
    const next = end + HEADER + header.readUInt32LE(4);
    if (header.readUInt32LE(0) !== MAGIC || next > bytes.length) break;
    if (checksum(header, bytes.subarray(end + HEADER, next)) !== header.readUInt32LE(12)) break;
    if (end >= sent) points += header.readUInt32LE(8);
    end = next;
  }
  return { end, points };
}

async function readPlace(path: string): Promise<{ readonly segment: number; readonly offset: number }> {
  const none = { segment: -1, offset: 0 };
  try {
    const { segment, offset } = JSON.parse((await readPrivate(path)) ?? '') as Partial<
      Record<keyof typeof none, unknown>
    >;
    return isPlace(segment) && isPlace(offset) ? { segment, offset } : none;
  } catch {
    return none; // all is sent again, and overwrites itself
  }
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= -1;
}

/** Throws for a directory that a newer version has written. Older ones have no such file. */
async function checkFormat(path: string): Promise<void> {
  const kept = await readPrivate(path);
  const newer = newerFormat(Number(kept), FORMAT);
  if (newer !== null) throw new Error(newer);
  if (kept === null) await writePrivate(path, `${FORMAT}\n`);
}

/** Made at the first start; anew where it is damaged. */
async function keptId(path: string): Promise<string> {
  const kept = await readPrivate(path);
  if (kept !== null && /^[0-9a-f-]{36}$/.test(kept)) return kept;
  const id = randomUUID();
  await writePrivate(path, id);
  return id;
}

/** Null when there is none. */
async function readPrivate(path: string): Promise<string | null> {
  const file = await openPrivate(path, constants.O_RDONLY).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return file && file.readFile('utf8').finally(() => file.close());
}

async function writePrivate(path: string, text: string): Promise<void> {
  const file = await openPrivate(path, constants.O_WRONLY | constants.O_CREAT);
  try {
    await file.truncate(0);
    await file.writeFile(text);
  } finally {
    await file.close();
  }
}

async function lockOf(path: string): Promise<FileLock> {
  const lock = await FileLock.take(path);
  if (lock instanceof FileLock) return lock;
  throw new EunomiaError(
    'SPOOL_LOCKED',
    `${path}: ${lock === null ? 'another process' : `the process ${lock}`} has this spool; give each server a directory of its own`,
    { details: { pid: lock } },
  );
}
