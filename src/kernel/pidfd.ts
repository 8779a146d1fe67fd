import koffi from 'koffi';
import { KernelError } from '../base/errors.js';
import { errnoName } from '../linux/linux.js';

// include/uapi/asm-generic/unistd.h: the same on all architectures. glibc has wrappers since 2.36.
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

interface Libc {
  syscall(number: number, first: number, second: number, third: number, fourth: number): number;
  close(fd: number): number;
}

let libc: Libc | null = null;

/** A process, whatever becomes of its pid: a signal reaches it, or nobody. */
export class Pidfd {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Null when there is no such process. Throws KernelError for a process that may not be opened, or without descriptors left. */
  static open(pid: number): Pidfd | null {
    const fd = calls().syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0);
    if (fd >= 0) return new Pidfd(fd);
    const errno = errnoName(koffi.errno());
    if (errno === 'ESRCH') return null;
    throw new KernelError(`opening process ${pid}`, errno, '');
  }

  /** Returns false when the process has ended. Throws KernelError for one that may not be sent signals. */
  send(signal: number): boolean {
    if (calls().syscall(SYS_PIDFD_SEND_SIGNAL, this.#fd, signal, 0, 0) === 0) return true;
    const errno = errnoName(koffi.errno());
    if (errno === 'ESRCH') return false;
    throw new KernelError(`sending signal ${signal}`, errno, '');
  }

  close(): void {
    calls().close(this.#fd);
  }
}

function calls(): Libc {
  if (libc) return libc;
  const library = koffi.load('libc.so.6');
  const syscall = library.func('long syscall(long number, long first, long second, long third, long fourth)');
  const close = library.func('int close(int fd)');
  return (libc = { syscall: (...args) => Number(syscall(...args)), close: (fd) => Number(close(fd)) });
}
