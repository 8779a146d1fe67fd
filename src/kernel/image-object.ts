import koffi from 'koffi';
import { INSTRUCTION_BYTES } from '../btf/functions.js';
import { EunomiaError } from '../base/errors.js';
import { attachCgroup, openIterator, type AttachTarget, type OpenIterator } from './attach.js';
import { FUNCTION_INFO_BYTES, type ImageMap, type ImageProgram, type ObjectImage } from './image.js';
import { entriesHere, KernelObject } from './kernel-object.js';
import { failure, later, loadLibbpf, loadLibc, type Libbpf } from './libbpf.js';
import { FdLink, type Link } from './link.js';
import { writeConstants } from './object-file.js';
import type { ObjectSpec } from './object-spec.js';

// include/uapi/linux/bpf.h
const TRACE_ITER = 28;
const MAP_RDONLY_PROG = 1 << 7;
/** A name in the kernel has 15 characters at most. */
const NAME_LENGTH = 15;
// bpf.h of libbpf 1.0: struct bpf_map_create_opts and struct bpf_prog_load_opts.
const MAP_OPTIONS_BYTES = 48;
const PROGRAM_OPTIONS_BYTES = 104;

const TYPE_RINGBUF = 27;
const isRing = ({ type }: ImageMap): boolean => type === TYPE_RINGBUF;

type CreateMap = (...args: Parameters<Libbpf['map_create']>) => number | Promise<number>;

/** An object that is loaded from its image, by the system calls alone: programs side by side. */
export class ImageObject extends KernelObject {
  readonly #image: ObjectImage;
  protected readonly sections = new Map<string, string>();
  readonly refused = null;
  readonly #sizes = new Map<string, number>();
  readonly #constants = new Map<string, Uint8Array>();
  /** Descriptors of others. */
  readonly #reused = new Map<string, number>();
  readonly #maps = new Map<string, number>();
  readonly #programs = new Map<string, number>();

  private constructor(spec: ObjectSpec, image: ObjectImage) {
    super(spec, { missing: [], refused: [] });
    this.#image = image;
  }

  /** Null where the image lacks a program that is to be loaded. Throws BAD_OBJECT as BpfObject.open does. */
  static open(spec: ObjectSpec, image: ObjectImage): ImageObject | null {
    const object = new ImageObject(spec, image);
    for (const [name, section] of image.sections) object.sections.set(name, section);
    for (const { name, initial } of image.maps) if (initial) object.#constants.set(name, new Uint8Array(initial));
    object.select();
    for (const name of image.sections.keys()) if (!object.left.has(name) && !image.programs.has(name)) return null;
    writeConstants(spec, image.file.variables, () => {
      const bytes = object.#constants.get(object.sectionMap('.rodata')) ?? new Uint8Array(0);
      return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    });
    return object;
  }

  get mapNames(): readonly string[] {
    return this.#image.maps.map(({ name }) => name);
  }

  setMaxEntries(name: string, entries: number): void {
    this.#sizes.set(this.#map(name).name, entries);
  }

  reuseMap(name: string, fd: number): void {
    this.#reused.set(this.#map(name).name, fd);
  }

  mapFd(name: string): number {
    return this.#reused.get(name) ?? this.#maps.get(this.#map(name).name) ?? -1;
  }

  mapSizes(name: string): { readonly key: number; readonly value: number } {
    const { keySize, valueSize } = this.#map(name);
    return { key: keySize, value: valueSize };
  }

  /** An error says less than libbpf's: whoever gets one tries with libbpf. */
  async load(): Promise<void> {
    const bpf = loadLibbpf();
    const { btf, maps, programs } = this.#image;
    const types = bpf.btf_load(btf, btf.length, null);
    if (types < 0) throw failure(`loading the BTF of ${this.name}.bpf.o`, types);
    try {
      const own = maps.filter(({ name }) => !this.#reused.has(name));
      // The kernel clears a ring's memory when it makes it: milliseconds, on a thread of the pool.
      const [rings, others] = [own.filter(isRing), own.filter((map) => !isRing(map))];
      const making = rings.map((map) => this.#create(map, types, (...args) => later(bpf.map_create, ...args)));
      try {
        for (const map of others) await this.#create(map, types, (...args) => bpf.map_create(...args));
      } finally {
        await Promise.allSettled(making);
      }
      await Promise.all(making);
      const fds = Int32Array.from(maps, ({ name }) => this.mapFd(name));
      const wanted = [...programs.values()].filter(({ name }) => !this.left.has(name));
      // All are waited for: what still loads cannot be closed.
      const loaded = await Promise.allSettled(wanted.map((program) => this.#load(program, types, fds)));
      for (const one of loaded) if (one.status === 'rejected') throw one.reason;
    } finally {
      loadLibc().close(types);
    }
  }

  programFd(name: string): number {
    return this.#programs.get(name) ?? -1;
  }

  protected async link(operation: string, name: string, to: AttachTarget | null): Promise<readonly Link[]> {
    const bpf = loadLibbpf();
    const program = this.programFd(name);
    if (!to) {
      const fd = await later(bpf.raw_tracepoint_open, null, program);
      if (fd < 0) throw failure(operation, fd);
      return [new FdLink(fd)];
    }
    if (!('cgroup' in to))
      throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o: ${name} has no place to attach to in an image`);
    const attachType = this.#image.programs.get(name)?.attachType ?? 0;
    const link = await attachCgroup(operation, to, async (directory, place, hooks) => {
      const fd = await later(bpf.link_create, program, directory, attachType, null);
      if (fd < 0) throw failure(place, fd, null, hooks);
      return new FdLink(fd);
    });
    return [link];
  }

  protected async iterator(operation: string, name: string): Promise<OpenIterator> {
    const fd = await later(loadLibbpf().link_create, this.programFd(name), 0, TRACE_ITER, null);
    if (fd < 0) throw failure(operation, fd);
    return openIterator(operation, new FdLink(fd), fd);
  }

  protected async release(): Promise<void> {
    const { close } = loadLibc();
    for (const fd of [...this.#programs.values(), ...this.#maps.values()]) await later(close, fd);
    this.#programs.clear();
    this.#maps.clear();
    this.sections.clear();
  }

  async #create(map: ImageMap, types: number, create: CreateMap): Promise<void> {
    const bpf = loadLibbpf();
    const operation = `making ${this.name}'s map ${map.name}`;
    const options = new DataView(new ArrayBuffer(MAP_OPTIONS_BYTES));
    options.setBigUint64(0, BigInt(MAP_OPTIONS_BYTES), true);
    options.setUint32(8, types, true);
    options.setUint32(12, map.key, true);
    options.setUint32(16, map.value, true);
    options.setUint32(28, map.flags, true);
    options.setBigUint64(32, map.extra, true);
    const entries = this.#sizes.get(map.name) ?? entriesHere(map.name) ?? map.maxEntries;
    const name = map.name.slice(0, NAME_LENGTH);
    const fd = await create(map.type, name, map.keySize, map.valueSize, entries, new Uint8Array(options.buffer));
    if (fd < 0) throw failure(operation, fd);
    const initial = this.#constants.get(map.name);
    const filled = initial?.some((byte) => byte !== 0) ? bpf.map_update(fd, new Uint8Array(4), initial, 0) : 0;
    const frozen = initial && filled === 0 && map.flags & MAP_RDONLY_PROG ? bpf.map_freeze(fd) : 0;
    if (filled < 0 || frozen < 0) {
      loadLibc().close(fd);
      throw failure(operation, Math.min(filled, frozen));
    }
    this.#maps.set(map.name, fd);
  }

  async #load(program: ImageProgram, types: number, maps: Int32Array): Promise<void> {
    const { name, type, instructions, functions } = program;
    const options = new DataView(new ArrayBuffer(PROGRAM_OPTIONS_BYTES));
    options.setBigUint64(0, BigInt(PROGRAM_OPTIONS_BYTES), true);
    options.setUint32(12, program.attachType, true);
    options.setUint32(16, types, true);
    options.setUint32(20, program.flags, true);
    options.setUint32(32, program.attachTo, true);
    options.setBigUint64(48, koffi.address(maps), true);
    options.setBigUint64(56, koffi.address(functions), true);
    options.setUint32(64, functions.length / FUNCTION_INFO_BYTES, true);
    options.setUint32(68, FUNCTION_INFO_BYTES, true);
    const fd = await later(
      loadLibbpf().program_load,
      type,
      name.slice(0, NAME_LENGTH),
      this.#image.license,
      instructions,
      instructions.length / INSTRUCTION_BYTES,
      new Uint8Array(options.buffer),
    );
    if (fd < 0) throw failure(`loading ${this.name}.bpf.o, program ${name}`, fd);
    this.#programs.set(name, fd);
  }

  #map(name: string): ImageMap {
    const map = this.#image.maps.find((one) => one.name === name);
    if (!map) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no map ${name}`);
    return map;
  }
}
