import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import koffi from 'koffi';
import { KernelError } from '../base/errors.js';
import { openPrivate } from '../base/file.js';
import { errnoName } from '../linux/linux.js';

// include/uapi/asm-generic/fcntl.h
const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * A file that one process has at a time: flock(2) on an open descriptor. The kernel releases it when the process ends, however it ends, and
 * whether anybody waits for it or not. Processes in other PID namespaces are kept out as well. The file stays where it is: of
 * one that was removed and made anew, two processes would each have their own.
 */
export class FileLock {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * Takes the lock, or returns the pid of the process that has it, as that process sees itself; null if it is not known. Rejects with
   * what `openPrivate` rejects with, or KernelError where the file system has no locks.
   */
  static async take(path: string): Promise<FileLock | number | null> {
    const file = await openPrivate(path, constants.O_RDWR | constants.O_CREAT);
    try {
      if (flock(file.fd, LOCK_EX | LOCK_NB) === 0) {
        // For messages only: on a full disk, the lock is as good without it.
        await file
          .truncate(0)
          .then(() => file.write(String(process.pid), 0))
          .catch(() => undefined);
        return new FileLock(file);
      }
      const errno = errnoName(koffi.errno());
      if (errno !== 'EAGAIN') throw new KernelError(`locking ${path}`, errno, '');
      const pid = Number.parseInt(await file.readFile('utf8'), 10);
      await file.close();
      return pid > 0 ? pid : null;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Idempotent. */
  release(): Promise<void> {
    return this.#file.close();
  }
}

let call: ((fd: number, operation: number) => number) | null = null;

function flock(fd: number, operation: number): number {
  if (!call) {
    const found = koffi.load('libc.so.6').func('int flock(int fd, int operation)');
    call = (...args) => Number(found(...args));
  }
  return call(fd, operation);
}
