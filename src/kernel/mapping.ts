import { lastFailure, loadLibc, memory } from './libbpf.js';

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;

/** Kernel memory that is mapped into this process. `memory` must not be touched after `close`. */
export interface Mapping {
  readonly memory: ArrayBuffer;
  close(): void;
}

/** Maps `bytes` of a BPF map from `offset` on. Throws a KernelError that names `operation`. */
export function mapShared(fd: number, bytes: number, offset: number, writable: boolean, operation: string): Mapping {
  const libc = loadLibc();
  const pointer = libc.mmap(null, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, offset);
  if (pointer === null || BigInt.asIntN(64, pointer) === -1n) throw lastFailure(operation);
  let open = true;
  return {
    memory: memory(pointer, bytes),
    close: () => {
      if (open) libc.munmap(pointer, bytes);
      open = false;
    },
  };
}
