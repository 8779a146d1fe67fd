import type { Flags } from './flag.js';

/** `enum eu_block_operation` of block.bpf.h, by its values from 1. */
export const blockOperations = [
  'READ',
  'WRITE',
  'FLUSH',
  'DISCARD',
  'SECURE_ERASE',
  'WRITE_ZEROES',
  'ZONE',
  'PASSTHROUGH',
] as const;

/** include/linux/blk_types.h, enum req_flag_bits. Those above differ between kernels. */
export const requestFlags: Flags = [
  'FAILFAST_DEV',
  'FAILFAST_TRANSPORT',
  'FAILFAST_DRIVER',
  'SYNC',
  'META',
  'PRIO',
  'NOMERGE',
  'IDLE',
  'INTEGRITY',
  'FUA',
  'PREFLUSH',
  'RAHEAD',
  'BACKGROUND',
  'NOWAIT',
  'POLLED',
].map((name, i) => [1 << (8 + i), name] as const);

/** "254:0" of a dev_t; null for 0, which no disk has. */
export const deviceNumbers = (device: number): string | null =>
  device === 0 ? null : `${device >>> 20}:${device & 0xfffff}`;

export const blindSpotsOfBlock: readonly string[] = [
  'Requests that are under way when the session starts or stops.',
  'Input and output that reaches no disk: from and to the page cache, on tmpfs, and on network file systems.',
  'Disks that are made of others and have no requests of their own (device mapper, md): the requests to the disks below are seen.',
  'Writeback is done by kernel threads, some time after a process has written: `process` is then the kernel thread. The ' +
    'container is that to which cgroup v2 charges the page, and none on hosts where the controller blkio is in a hierarchy of v1.',
  'Pieces of input and output that the kernel merges are one request, which belongs to the process that made the first piece.',
  'A write that is to be durable (the flag FUA) on a disk that has no such command ends, here, before the flush that makes it durable.',
  'Durations include time in which the system was suspended.',
  'A flush that several processes wait for is one command to the disk, and a request of each of them here.',
];
