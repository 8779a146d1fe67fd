import { constants } from 'node:fs';
import { copyFile, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { EunomiaError, messageOf } from '../base/errors.js';
import { openPrivate, privateDirectory, replacePrivate } from '../base/file.js';
import type { Log } from '../base/log.js';
import { turns } from '../base/turn.js';
import { FileLock } from '../lock/lock.js';
import { readRecord, wholeRecord, type AlertRecord } from './record.js';

export interface JournalOptions {
  readonly directory: string;
  readonly log: Log;
  /** How long after a failure it is tried again. Default 5 s. */
  readonly retryMs?: number;
}

const FILE = 'alerts.ndjson';
const LOCK = 'alerts.lock';
/** Characters of one write. */
const WRITE = 256 << 10;
/** A file is made anew when it has twice as much as the last time it was, and so much more. */
const SLACK = 4 << 20;
/** Records that wait for room on the disk. With more, the file is made anew once there is room for all of it. */
const MAX_WAITING = 1000;
/** The same of a disk that fails nothing, and takes its time: a storm of alerts counts on 10,000 of them a second. */
const MAX_QUEUED = 100_000;

/**
 * What happened to alerts, appended to a file of the data directory: a line of JSON each. A line that a crash left unfinished is
 * cut off. It is written behind what raises alerts, in turns of the event loop. When it cannot be written, the disk being full
 * for example, what waits is written as soon as it can.
 */
export class Journal {
  readonly #path: string;
  readonly #lock: FileLock;
  readonly #log: Log;
  readonly #retryMs: number;
  #file: FileHandle;
  #bytes: number;
  #compactAt: number;
  #queue: (() => AlertRecord | null)[] = [];
  /** Too much was to wait: only a file with all that there is has it. */
  #isPartial = false;
  #appended = 0;
  readonly #waiting: { readonly upTo: number; readonly resolve: () => void }[] = [];
  #snapshot: () => Iterable<AlertRecord> = () => [];
  #problem: string | null = null;
  #work: Promise<void> | null = null;
  #retry: NodeJS.Timeout | null = null;
  #rewriting = false;
  #closed = false;

  private constructor(
    { directory, log, retryMs = 5000 }: JournalOptions,
    lock: FileLock,
    file: FileHandle,
    read: Read,
  ) {
    this.#path = join(directory, FILE);
    this.#lock = lock;
    this.#log = log;
    this.#retryMs = retryMs;
    this.#file = file;
    this.#bytes = read.end;
    this.#compactAt = 2 * read.whole + SLACK;
  }

  /**
   * Makes the directory and the file where there are none, and calls `onRecord` with what is in the file, in its order. Rejects with
   * STORE_UNAVAILABLE, which says why: another server has them, the disk is read-only, or the file is of a newer version.
   */
  static async open(options: JournalOptions, onRecord: (record: AlertRecord) => void): Promise<Journal> {
    const { directory } = options;
    const path = join(directory, FILE);
    let lock: FileLock | null = null;
    try {
      privateDirectory(directory);
      lock = await lockOf(join(directory, LOCK));
      const file = await openPrivate(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND);
      try {
        const read = await readAll(file, onRecord);
        await file.truncate(read.end);
        const journal = new Journal(options, lock, file, read);
        if (read.damaged > 0) await journal.#keepDamaged(read.damaged);
        return journal;
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      await lock?.release();
      throw new EunomiaError('STORE_UNAVAILABLE', `the alerts of ${directory}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Lines that cannot be read are kept beside, and the file is made anew without them. Where that has no room, they stay in it. */
  async #keepDamaged(damaged: number): Promise<void> {
    const path = this.#path;
    const what = 'lines of the alerts cannot be read: they are left out';
    try {
      await copyFile(path, `${path}.damaged`);
      this.#bytes = this.#compactAt = 0;
      this.#log.error({ path, damaged }, `${what}, and kept beside`);
    } catch (error) {
      await rm(`${path}.damaged`, { force: true }).catch(() => undefined);
      this.#log.error({ err: error, path, damaged }, `${what}, and cannot be kept beside`);
    }
  }

  /** Why what happens is not written at the moment; null when it is. */
  get problem(): string | null {
    return this.#problem;
  }

  /** `snapshot`: all that there is, as it is when each record is asked for. To be called before the first record. */
  begin(snapshot: () => Iterable<AlertRecord>): void {
    this.#snapshot = snapshot;
    if (this.#bytes === 0) this.#wake(); // a new file, or a damaged one
  }

  /** `record` is called when it is written; null for none. */
  append(record: () => AlertRecord | null): void {
    if (this.#closed) return;
    const most = this.#problem !== null && !this.#rewriting ? MAX_WAITING : MAX_QUEUED;
    if (this.#queue.length >= most) this.#isPartial = true;
    this.#appended++;
    if (this.#isPartial) this.#queue.length = 0;
    else this.#queue.push(record);
    if (this.#problem === null) this.#wake();
  }

  /** Resolves when all that was appended so far is on the disk, or could not be written (`problem`). */
  written(): Promise<void> {
    if (!this.#work && ((this.#queue.length === 0 && !this.#isPartial) || this.#problem !== null))
      return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ upTo: this.#appended, resolve }));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#retry) clearTimeout(this.#retry);
    while (this.#work) await this.#work;
    if (this.#problem !== null) await this.#write();
    await this.#file.close().catch(() => undefined);
    await this.#lock.release().catch(() => undefined);
  }

  #wake(): void {
    this.#work ??= this.#write().finally(() => {
      this.#work = null;
      // Only now: a wake while there is work does nothing.
      if (this.#problem !== null && !this.#closed) this.#retry = setTimeout(() => this.#wake(), this.#retryMs).unref();
      else if ((this.#queue.length > 0 || this.#isPartial) && this.#problem === null) this.#wake();
    });
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    // Whoever raised an alert goes on first.
    await turns.next();
    try {
      // What a failure left of a line must not stand before the next one.
      if (this.#problem !== null && this.#bytes > 0) await this.#file.truncate(this.#bytes);
      for (;;) {
        if (this.#isPartial || this.#bytes === 0) await this.#rewrite();
        else if (this.#bytes >= this.#compactAt) await this.#compact();
        if (this.#isPartial) continue;
        if (this.#queue.length === 0) break;
        const { text, taken } = await this.#take();
        if (text !== '') {
          await this.#file.appendFile(text);
          await this.#file.datasync();
          this.#bytes += Buffer.byteLength(text);
        }
        this.#queue.splice(0, taken);
        this.#mend();
      }
      this.#mend();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A file that needs more room than there is goes on as it is. */
  async #compact(): Promise<void> {
    await this.#rewrite().catch((error: unknown) => {
      this.#compactAt = this.#bytes + SLACK;
      this.#log.warn({ err: error, path: this.#path }, 'the file of the alerts cannot be made shorter: it grows');
    });
  }

  #settle(): void {
    // What was dropped is in no file before the next one.
    if (this.#isPartial) return;
    const settled = this.#appended - this.#queue.length;
    const waiting = this.#waiting.findIndex(({ upTo }) => upTo > settled);
    for (const { resolve } of this.#waiting.splice(0, waiting < 0 ? this.#waiting.length : waiting)) resolve();
  }

  /** The next lines, and of how many records they are. */
  async #take(): Promise<{ readonly text: string; readonly taken: number }> {
    let text = '';
    let taken = 0;
    for (const record of this.#queue) {
      if (text.length >= WRITE) break;
      if (!turns.isOpen) {
        if (taken > 0) break;
        await turns.next();
      }
      const made = record();
      if (made) text += `${JSON.stringify(made)}\n`;
      taken++;
    }
    return { text, taken };
  }

  /** Puts a file with all that there is in place of this one. What is appended meanwhile comes behind it. */
  async #rewrite(): Promise<void> {
    const waiting = this.#queue.splice(0);
    const wasPartial = this.#isPartial;
    this.#isPartial = false;
    this.#rewriting = true;
    try {
      await replacePrivate(this.#path, this.#all());
      const file = await openPrivate(this.#path, constants.O_RDWR | constants.O_APPEND);
      await this.#file.close().catch(() => undefined);
      this.#file = file;
      this.#bytes = (await file.stat()).size;
      this.#compactAt = 2 * this.#bytes + SLACK;
    } catch (error) {
      this.#isPartial ||= wasPartial;
      this.#queue = this.#isPartial ? [] : [...waiting, ...this.#queue];
      throw error;
    } finally {
      this.#rewriting = false;
    }
  }

  async *#all(): AsyncGenerator<string, void> {
    let text = '';
    for (const record of this.#snapshot()) {
      if (!turns.isOpen) await turns.next();
      text += `${JSON.stringify(record)}\n`;
      if (text.length < WRITE) continue;
      yield text;
      text = '';
    }
    yield `${text}${JSON.stringify(wholeRecord)}\n`;
  }

  /** It can be written. */
  #mend(): void {
    this.#settle();
    if (this.#problem !== null) this.#log.info({ path: this.#path }, 'alerts are written again');
    this.#problem = null;
  }

  #fail(error: unknown): void {
    const problem = `${this.#path} cannot be written: ${messageOf(error)}; alerts are in memory until it can`;
    if (this.#problem === null) this.#log.error({ err: error }, problem);
    this.#problem = problem;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }
}

interface Read {
  /** Where the last whole line ends. */
  readonly end: number;
  /** How large the file was when it was made anew. */
  readonly whole: number;
  readonly damaged: number;
}

/** Reads a file from its start, in turns of the event loop. */
async function readAll(file: FileHandle, onRecord: (record: AlertRecord) => void): Promise<Read> {
  let [end, whole, damaged] = [0, 0, 0];
  for await (const line of linesOf(file)) {
    if (!turns.isOpen) await turns.next();
    end += line.length + 1;
    const record = readRecord(line.toString());
    if (record === null) damaged++;
    else if ('newer' in record) throw new Error(`${FILE}: ${record.newer}`);
    else if (record.kind === 'whole') whole = end;
    else onRecord(record);
  }
  return { end, whole, damaged };
}

/** The whole lines of a file. */
async function* linesOf(file: FileHandle): AsyncGenerator<Buffer, void> {
  let parts: Buffer[] = [];
  for (let position = 0; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(WRITE), 0, WRITE, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    let start = 0;
    for (let end = buffer.indexOf(10); end >= 0 && end < bytesRead; end = buffer.indexOf(10, start)) {
      yield Buffer.concat([...parts, buffer.subarray(start, end)]);
      parts = [];
      start = end + 1;
    }
    parts.push(buffer.subarray(start, bytesRead));
  }
}

async function lockOf(path: string): Promise<FileLock> {
  const lock = await FileLock.take(path);
  if (lock instanceof FileLock) return lock;
  const holder = lock === null ? 'another process' : `the process ${lock}`;
  throw new Error(`${holder} has them; give each server a data directory of its own`);
}
