import { lastFailure, loadLibc, memory, type Pointer } from './libbpf.js';

const PROT_NONE = 0;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
/** Places that are kept of one size. */
const KEPT = 4;

/** Kernel memory that is mapped into this process. `memory` must not be touched after `close`. */
export interface Mapping {
  readonly memory: ArrayBuffer;
  close(): void;
}

/** Addresses of this process, with nothing behind them while nothing is mapped there. */
interface Place {
  readonly pointer: Pointer;
  readonly memory: ArrayBuffer;
}

/**
 * Places where nothing is mapped now, by their size. They are used again because each ArrayBuffer counts as memory that V8 should free:
 * with a new one of 32 MiB for each ring, each start of a session was followed by a collection of all garbage, of up to 30 ms.
 */
const free = new Map<number, Place[]>();

/** Maps `bytes` of a BPF map from `offset` on. Throws a KernelError that names `operation`. */
export function mapShared(fd: number, bytes: number, offset: number, writable: boolean, operation: string): Mapping {
  const libc = loadLibc();
  const place = free.get(bytes)?.pop() ?? newPlace(bytes, operation);
  const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  if (isFailure(libc.mmap(place.pointer, bytes, protection, MAP_SHARED | MAP_FIXED, fd, offset))) {
    const error = lastFailure(operation);
    giveBack(place, bytes);
    throw error;
  }
  let open = true;
  return {
    memory: place.memory,
    close: () => {
      if (open) giveBack(place, bytes);
      open = false;
    },
  };
}

function newPlace(bytes: number, operation: string): Place {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const pointer = loadLibc().mmap(null, bytes, PROT_NONE, flags, -1, 0);
  if (pointer === null || isFailure(pointer)) throw lastFailure(operation);
  return { pointer, memory: memory(pointer, bytes) };
}

/** Unmaps what is there. The addresses stay taken, so that nothing else comes to lie behind an ArrayBuffer that is used again. */
function giveBack(place: Place, bytes: number): void {
  const libc = loadLibc();
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  const kept = free.get(bytes) ?? [];
  if (kept.length >= KEPT || isFailure(libc.mmap(place.pointer, bytes, PROT_NONE, flags, -1, 0))) {
    libc.munmap(place.pointer, bytes);
    return;
  }
  kept.push(place);
  free.set(bytes, kept);
}

function isFailure(pointer: Pointer | null): boolean {
  return pointer === null || BigInt.asIntN(64, pointer) === -1n;
}
