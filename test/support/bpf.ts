import { readdirSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { untilHolds } from './until.js';

/** What the kernel itself says of its BPF programs, maps and links: a witness beside our own code. */

const library = koffi.load('libbpf.so.1');
const next = {
  programs: library.func('int bpf_prog_get_next_id(uint32_t start, _Out_ uint32_t *next)'),
  maps: library.func('int bpf_map_get_next_id(uint32_t start, _Out_ uint32_t *next)'),
  links: library.func('int bpf_link_get_next_id(uint32_t start, _Out_ uint32_t *next)'),
} as Record<Kind, (start: number, next: [number]) => number>;
const programFd = library.func('int bpf_prog_get_fd_by_id(uint32_t id)') as (id: number) => number;
const info = library.func('int bpf_obj_get_info_by_fd(int fd, void *info, uint32_t *length)') as (
  fd: number,
  info: Uint8Array,
  length: Uint32Array,
) => number;
const close = koffi.load('libc.so.6').func('int close(int fd)') as (fd: number) => number;

type Kind = 'programs' | 'maps' | 'links';
export type BpfIds = Readonly<Record<Kind, ReadonlySet<number>>>;

/** All ids in the kernel, whosever. */
export function kernelIds(): BpfIds {
  const list = (kind: Kind): Set<number> => {
    const ids = new Set<number>();
    const id: [number] = [0];
    while (next[kind](id[0], id) === 0) ids.add(id[0]);
    return ids;
  };
  return { programs: list('programs'), maps: list('maps'), links: list('links') };
}

/** The ids that a process holds by a file descriptor. */
export function heldIds(pid: number | 'self' = 'self'): BpfIds {
  const ids = { programs: new Set<number>(), maps: new Set<number>(), links: new Set<number>() };
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    const text = read(`/proc/${pid}/fdinfo/${fd}`);
    const id = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
    if (id('prog_id')) ids.programs.add(id('prog_id'));
    if (id('map_id')) ids.maps.add(id('map_id'));
    if (id('link_id')) ids.links.add(id('link_id'));
  }
  return ids;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // closed meanwhile
  }
}

/** Those of `ids` that are still in the kernel. */
function remaining(ids: BpfIds): Record<Kind, number[]> {
  const there = kernelIds();
  const left = (kind: Kind) => [...ids[kind]].filter((id) => there[kind].has(id));
  return { programs: left('programs'), maps: left('maps'), links: left('links') };
}

/** Returns when the kernel has none of `ids` any more: it frees what nobody holds later than the last descriptor is closed. */
export async function released(ids: BpfIds): Promise<void> {
  await untilHolds(
    'the kernel has freed all',
    () => remaining(ids),
    (left) => Object.values(left).every((rest) => rest.length === 0),
  );
}

const NAME_AT = 64; // struct bpf_prog_info: name
const NAME_BYTES = 16;
const INFO_BYTES = 128;

/** The name of a program; null when it is gone. */
export function programName(id: number): string | null {
  const fd = programFd(id);
  if (fd < 0) return null;
  try {
    const bytes = new Uint8Array(INFO_BYTES);
    if (info(fd, bytes, Uint32Array.of(INFO_BYTES)) < 0) return null;
    const name = Buffer.from(bytes.subarray(NAME_AT, NAME_AT + NAME_BYTES)).toString('latin1');
    return name.slice(0, name.indexOf('\0'));
  } finally {
    close(fd);
  }
}

/** The names of the programs that a process holds, sorted. */
export function heldPrograms(pid: number | 'self' = 'self'): string[] {
  return [...heldIds(pid).programs].map((id) => programName(id) ?? '').sort();
}

/** Those that sessions have loaded: a server holds others for the cgroups of containers and for the table of processes. */
export function sessionPrograms(pid: number | 'self' = 'self'): string[] {
  return heldPrograms(pid).filter((name) => !/^(?:cgroup_made|lineage_|snap_)/.test(name));
}
