import koffi from 'koffi';
import { capabilitiesFor } from '../linux/hook-capability.js';
import { errnoName } from '../linux/linux.js';
import { EunomiaError, KernelError } from '../base/errors.js';
import { listed } from '../base/listed.js';

/**
 * libbpf 1.x and the few calls of libc that Eunomia needs, through koffi. Pointers are bigints.
 * Functions come in two forms: called (`f(…)`, blocks) and `later(f, …)`, which runs on a thread of the pool.
 */
export type Pointer = bigint;

export interface ForeignFunction<Args extends unknown[], Result> {
  (...args: Args): Result;
  async(...args: [...Args, (error: Error | null, result: Result) => void]): void;
}

type Nullable = Pointer | null;
type Bytes = Uint8Array | null;

export interface Libbpf {
  readonly version: string;
  object_open: ForeignFunction<[string, null], Nullable>;
  object_load: ForeignFunction<[Pointer], number>;
  object_close: ForeignFunction<[Pointer], void>;
  object_btf_fd: ForeignFunction<[Pointer], number>;
  object_next_map: ForeignFunction<[Pointer, Nullable], Nullable>;
  object_next_program: ForeignFunction<[Pointer, Nullable], Nullable>;
  map_name: ForeignFunction<[Pointer], string>;
  map_fd: ForeignFunction<[Pointer], number>;
  map_type: ForeignFunction<[Pointer], number>;
  map_max_entries: ForeignFunction<[Pointer], number>;
  map_flags: ForeignFunction<[Pointer], number>;
  map_extra: ForeignFunction<[Pointer], bigint | number>;
  map_key_type: ForeignFunction<[Pointer], number>;
  map_value_type: ForeignFunction<[Pointer], number>;
  program_fd: ForeignFunction<[Pointer], number>;
  map_set_max_entries: ForeignFunction<[Pointer, number], number>;
  map_key_size: ForeignFunction<[Pointer], number>;
  map_value_size: ForeignFunction<[Pointer], number>;
  map_reuse_fd: ForeignFunction<[Pointer, number], number>;
  map_initial_value: ForeignFunction<[Pointer, BigUint64Array], Nullable>;
  map_update: ForeignFunction<[number, Bytes, Bytes, number], number>;
  map_delete: ForeignFunction<[number, Bytes], number>;
  map_lookup: ForeignFunction<[number, Bytes, Bytes], number>;
  map_next_key: ForeignFunction<[number, null, Uint8Array], number>;
  map_take_batch: ForeignFunction<[number, Bytes, Uint8Array, Uint8Array, Uint8Array, Uint32Array, null], number>;
  program_name: ForeignFunction<[Pointer], string>;
  program_section: ForeignFunction<[Pointer], string>;
  program_type: ForeignFunction<[Pointer], number>;
  program_attach_type: ForeignFunction<[Pointer], number>;
  program_flags: ForeignFunction<[Pointer], number>;
  program_instructions: ForeignFunction<[Pointer], Nullable>;
  program_instruction_count: ForeignFunction<[Pointer], number | bigint>;
  program_set_autoload: ForeignFunction<[Pointer, boolean], number>;
  program_set_log_buf: ForeignFunction<[Pointer, Pointer, number], number>;
  program_attach: ForeignFunction<[Pointer], Nullable>;
  program_attach_cgroup: ForeignFunction<[Pointer, number], Nullable>;
  program_attach_perf_event: ForeignFunction<[Pointer, number], Nullable>;
  program_attach_uprobe: ForeignFunction<[Pointer, number, string, number, Uint8Array], Nullable>;
  link_destroy: ForeignFunction<[Pointer], number>;
  link_fd: ForeignFunction<[Pointer], number>;
  iter_create: ForeignFunction<[number], number>;
  info: ForeignFunction<[number, Uint8Array, Uint32Array], number>;
  btf_load: ForeignFunction<[Uint8Array, number, null], number>;
  map_create: ForeignFunction<[number, string, number, number, number, Uint8Array | null], number>;
  map_freeze: ForeignFunction<[number], number>;
  program_load: ForeignFunction<[number, string, string, Uint8Array, number, Uint8Array], number>;
  raw_tracepoint_open: ForeignFunction<[null, number], number>;
  link_create: ForeignFunction<[number, number, number, null], number>;
  probe_prog_type: ForeignFunction<[number, null], number>;
  probe_map_type: ForeignFunction<[number, null], number>;
  probe_helper: ForeignFunction<[number, number, null], number>;
}

export interface Libc {
  mmap: ForeignFunction<[Pointer | null, number, number, number, number, number], Pointer | null>;
  munmap: ForeignFunction<[Pointer, number], number>;
  close: ForeignFunction<[number], number>;
  open: ForeignFunction<[string, number], number>;
  epoll_create1: ForeignFunction<[number], number>;
  epoll_ctl: ForeignFunction<[number, number, number, Uint8Array], number>;
  epoll_wait: ForeignFunction<[number, Uint8Array, number, number], number>;
  eventfd: ForeignFunction<[number, number], number>;
  write: ForeignFunction<[number, Uint8Array, number], number>;
  read: ForeignFunction<[number, Uint8Array, number], number>;
  clock_gettime: ForeignFunction<[number, BigInt64Array], number>;
  calloc: ForeignFunction<[number, number], Pointer>;
  free: ForeignFunction<[Pointer], void>;
  getpagesize: ForeignFunction<[], number>;
  /** perf_event_open, membarrier: number and up to five arguments. */
  syscall: ForeignFunction<[number, number, number, number, number, number], number>;
  syscallBytes: ForeignFunction<[number, Uint8Array, number, number, number, number], number>;
}

const prototypes: Readonly<Record<Exclude<keyof Libbpf, 'version'>, string>> = {
  object_open: 'void *bpf_object__open_file(const char *path, const void *opts)',
  object_load: 'int bpf_object__load(void *obj)',
  object_close: 'void bpf_object__close(void *obj)',
  object_btf_fd: 'int bpf_object__btf_fd(const void *obj)',
  object_next_map: 'void *bpf_object__next_map(void *obj, void *map)',
  object_next_program: 'void *bpf_object__next_program(void *obj, void *prog)',
  map_name: 'const char *bpf_map__name(void *map)',
  map_fd: 'int bpf_map__fd(void *map)',
  map_type: 'int bpf_map__type(const void *map)',
  map_max_entries: 'uint32_t bpf_map__max_entries(const void *map)',
  map_flags: 'uint32_t bpf_map__map_flags(const void *map)',
  map_extra: 'uint64_t bpf_map__map_extra(const void *map)',
  map_key_type: 'uint32_t bpf_map__btf_key_type_id(const void *map)',
  map_value_type: 'uint32_t bpf_map__btf_value_type_id(const void *map)',
  program_fd: 'int bpf_program__fd(void *program)',
  map_set_max_entries: 'int bpf_map__set_max_entries(void *map, uint32_t n)',
  map_key_size: 'uint32_t bpf_map__key_size(void *map)',
  map_value_size: 'uint32_t bpf_map__value_size(void *map)',
  map_reuse_fd: 'int bpf_map__reuse_fd(void *map, int fd)',
  map_initial_value: 'void *bpf_map__initial_value(void *map, uint64_t *size)',
  map_update: 'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  map_delete: 'int bpf_map_delete_elem(int fd, const void *key)',
  map_lookup: 'int bpf_map_lookup_elem(int fd, const void *key, void *value)',
  map_next_key: 'int bpf_map_get_next_key(int fd, const void *key, void *next)',
  map_take_batch:
    'int bpf_map_lookup_and_delete_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values, ' +
    'uint32_t *count, const void *opts)',
  program_name: 'const char *bpf_program__name(void *prog)',
  program_section: 'const char *bpf_program__section_name(void *prog)',
  program_type: 'int bpf_program__type(const void *prog)',
  program_attach_type: 'int bpf_program__expected_attach_type(const void *prog)',
  program_flags: 'uint32_t bpf_program__flags(const void *prog)',
  program_instructions: 'void *bpf_program__insns(const void *prog)',
  program_instruction_count: 'size_t bpf_program__insn_cnt(const void *prog)',
  program_set_autoload: 'int bpf_program__set_autoload(void *prog, bool autoload)',
  program_set_log_buf: 'int bpf_program__set_log_buf(void *prog, void *buf, size_t size)',
  program_attach: 'void *bpf_program__attach(void *prog)',
  program_attach_cgroup: 'void *bpf_program__attach_cgroup(void *prog, int fd)',
  program_attach_perf_event: 'void *bpf_program__attach_perf_event(void *prog, int fd)',
  program_attach_uprobe:
    'void *bpf_program__attach_uprobe_opts(void *prog, int pid, const char *path, size_t offset, const void *opts)',
  link_destroy: 'int bpf_link__destroy(void *link)',
  link_fd: 'int bpf_link__fd(const void *link)',
  iter_create: 'int bpf_iter_create(int link_fd)',
  info: 'int bpf_obj_get_info_by_fd(int fd, void *info, uint32_t *length)',
  btf_load: 'int bpf_btf_load(const void *data, size_t size, const void *opts)',
  map_create:
    'int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t entries, const void *opts)',
  map_freeze: 'int bpf_map_freeze(int fd)',
  program_load:
    'int bpf_prog_load(int type, const char *name, const char *license, const void *insns, size_t count, const void *opts)',
  raw_tracepoint_open: 'int bpf_raw_tracepoint_open(const char *name, int fd)',
  link_create: 'int bpf_link_create(int fd, int target, int attach_type, const void *opts)',
  probe_prog_type: 'int libbpf_probe_bpf_prog_type(int type, const void *opts)',
  probe_map_type: 'int libbpf_probe_bpf_map_type(int type, const void *opts)',
  probe_helper: 'int libbpf_probe_bpf_helper(int prog_type, int helper, const void *opts)',
};

let libbpf: Libbpf | null = null;

/** Loads libbpf.so.1 once a thread. Throws NO_LIBBPF or LIBBPF_TOO_OLD with the command that mends it. */
export function loadLibbpf(): Libbpf {
  if (libbpf) return libbpf;
  let library;
  try {
    library = koffi.load('libbpf.so.1');
  } catch (cause) {
    let old = false;
    try {
      koffi.load('libbpf.so.0').unload();
      old = true;
    } catch {
      // none at all
    }
    throw old
      ? new EunomiaError(
          'LIBBPF_TOO_OLD',
          'libbpf 0.x is installed, and Eunomia needs 1.0 or newer: apt-get install libbpf1 (Debian 12, Ubuntu 24.04 or newer)',
          { cause },
        )
      : new EunomiaError('NO_LIBBPF', 'libbpf.so.1 is not installed: apt-get install libbpf1', { cause });
  }
  const version = (library.func('const char *libbpf_version_string()') as () => string)().replace(/^v/, '');
  library.func('void *libbpf_set_print(void *fn)')(null); // its messages would go to stderr; ours carry the verifier's log
  const functions = Object.fromEntries(
    Object.entries(prototypes).map(([name, prototype]) => [name, library.func(prototype)]),
  ) as Record<keyof typeof prototypes, ReturnType<typeof library.func>>;
  libbpf = { version, ...functions };
  return libbpf;
}

let libc: Libc | null = null;

export function loadLibc(): Libc {
  if (libc) return libc;
  const library = koffi.load('libc.so.6');
  libc = {
    mmap: library.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)'),
    munmap: library.func('int munmap(void *addr, size_t length)'),
    close: library.func('int close(int fd)'),
    open: library.func('int open(const char *path, int flags)'),
    epoll_create1: library.func('int epoll_create1(int flags)'),
    epoll_ctl: library.func('int epoll_ctl(int epfd, int op, int fd, void *event)'),
    epoll_wait: library.func('int epoll_wait(int epfd, void *events, int max, int timeout)'),
    eventfd: library.func('int eventfd(unsigned int initval, int flags)'),
    write: library.func('long write(int fd, const void *buf, size_t n)'),
    read: library.func('long read(int fd, void *buf, size_t n)'),
    clock_gettime: library.func('int clock_gettime(int clock, int64_t *tp)'),
    calloc: library.func('void *calloc(size_t n, size_t size)'),
    free: library.func('void free(void *p)'),
    getpagesize: library.func('int getpagesize()'),
    syscall: library.func('long syscall(long nr, long a, long b, long c, long d, long e)'),
    syscallBytes: library.func('long syscall(long nr, const void *a, long b, long c, long d, long e)'),
  };
  return libc;
}

/**
 * errno of the call that `later` returned from last. Outside of koffi's callback it would be gone; whoever awaits runs
 * before the next callback.
 */
let laterErrno = 0;

/** Calls a foreign function on a thread of the pool, so that this thread's event loop goes on. */
export function later<Args extends unknown[], Result>(
  f: ForeignFunction<Args, Result>,
  ...args: Args
): Promise<Result> {
  return new Promise((resolve, reject) => {
    f.async(...args, (error, result) => {
      laterErrno = koffi.errno();
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** What usually mends an errno of the bpf system call, about programs on these hooks, or maps. */
export function hintFor(errno: string | null, hooks: readonly string[] = []): string {
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return `needs root, or ${listed(capabilitiesFor(['', ...hooks]))}, and a kernel that is not locked down`;
    case 'ENOMEM':
      return 'the kernel has no memory for it, or RLIMIT_MEMLOCK is too low';
    case 'ESRCH':
      return 'this kernel has no such hook';
    case 'EINVAL':
      return 'this kernel does not know the hook, helper or map type, or the verifier rejected the program';
    default:
      return '';
  }
}

/** The error of a call that failed: libbpf 1.x returns -errno (`result`), or NULL with errno set. */
export function failure(
  operation: string,
  result: number,
  verifierLog: string | null = null,
  hooks?: readonly string[],
): KernelError {
  const errno = errnoName(result);
  return new KernelError(operation, errno, hintFor(errno, hooks), verifierLog);
}

/** The error of a call by `later` that returned NULL; to be asked for at once. */
export function laterFailure(operation: string, hooks?: readonly string[]): KernelError {
  return failure(operation, laterErrno, null, hooks);
}

/** The error of a direct call that returned NULL or -1; to be asked for at once. */
export function lastFailure(operation: string): KernelError {
  return failure(operation, koffi.errno());
}

/** Memory as an ArrayBuffer, in place. It must not be touched after the memory is unmapped. */
export function memory(pointer: Pointer, bytes: number): ArrayBuffer {
  return koffi.view(pointer, bytes);
}

/** A number as maps have it. An ArrayBuffer of its own: the memory of a small typed array could move while another thread reads it. */
export function u32(value: number): Uint8Array {
  const bytes = new ArrayBuffer(4);
  new Uint32Array(bytes)[0] = value;
  return new Uint8Array(bytes);
}
