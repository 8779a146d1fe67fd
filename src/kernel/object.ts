import { EunomiaError } from '../base/errors.js';
import {
  attachCgroup,
  attachPerfEvent,
  attachUprobe,
  openIterator,
  type AttachTarget,
  type OpenIterator,
} from './attach.js';
import { keepImage, makeImage, type ImageSource, type ObjectImage } from './image.js';
import { entriesHere, KernelObject } from './kernel-object.js';
import { failure, lastFailure, later, laterFailure, loadLibbpf, loadLibc, memory, type Pointer } from './libbpf.js';
import { BpfLink, type Link } from './link.js';
import { readObjectFile, writeConstants, type ReadObjectFile } from './object-file.js';
import type { ObjectSpec, RefusedProgram, Unloaded } from './object-spec.js';

const LOG_BYTES = 1 << 20;

/** An object that libbpf opens, links, relocates and loads: all from its file. */
export class BpfObject extends KernelObject {
  readonly #object: Pointer;
  readonly #file: ReadObjectFile;
  readonly #maps = new Map<string, Pointer>();
  readonly #programs = new Map<string, Pointer>();
  protected readonly sections = new Map<string, string>();
  /** What maps were when the file was opened. */
  readonly #original: ImageSource['maps'][number][] = [];
  #refused: RefusedProgram | null = null;

  private constructor(spec: ObjectSpec, without: Unloaded, object: Pointer, file: ReadObjectFile) {
    super(spec, without);
    this.#object = object;
    this.#file = file;
  }

  /**
   * Reads the file, sets the constants and which programs are loaded: not those that it is to be `without`. Throws
   * BAD_OBJECT or a KernelError.
   */
  static async open(spec: ObjectSpec, without: Unloaded = { missing: [], refused: [] }): Promise<BpfObject> {
    const bpf = loadLibbpf();
    const opened = await later(bpf.object_open, spec.path, null);
    if (opened === null) throw laterFailure(`opening ${spec.name}.bpf.o`);
    let object: BpfObject | null = null;
    try {
      object = new BpfObject(spec, without, opened, readObjectFile(spec.path));
      object.#index();
      object.#setConstants();
      object.select();
      for (const name of object.left) bpf.program_set_autoload(object.#program(name), false);
      return object;
    } catch (error) {
      if (object) await object.close();
      else await later(bpf.object_close, opened);
      throw error;
    }
  }

  get refused(): RefusedProgram | null {
    return this.#refused;
  }

  get mapNames(): readonly string[] {
    return [...this.#maps.keys()];
  }

  mapFd(name: string): number {
    return loadLibbpf().map_fd(this.#map(name));
  }

  setMaxEntries(name: string, entries: number): void {
    const result = loadLibbpf().map_set_max_entries(this.#map(name), entries);
    if (result < 0) throw failure(`sizing ${this.name}'s map ${name}`, result);
  }

  reuseMap(name: string, fd: number): void {
    const result = loadLibbpf().map_reuse_fd(this.#map(name), fd);
    if (result < 0) throw failure(`sharing ${this.name}'s map ${name}`, result);
  }

  mapSizes(name: string): { readonly key: number; readonly value: number } {
    const bpf = loadLibbpf();
    return { key: bpf.map_key_size(this.#map(name)), value: bpf.map_value_size(this.#map(name)) };
  }

  /** Rejects with a KernelError that names the program and holds the verifier's last lines. */
  async load(): Promise<void> {
    const bpf = loadLibbpf();
    const libc = loadLibc();
    const logs = new Map<string, Pointer>();
    for (const [name, program] of this.#programs) {
      if (this.left.has(name)) continue;
      const log = libc.calloc(LOG_BYTES, 1);
      logs.set(name, log);
      bpf.program_set_log_buf(program, log, LOG_BYTES);
    }
    try {
      const result = await later(bpf.object_load, this.#object);
      if (result < 0) {
        const [program, log] = [...logs].find(([, text]) => new Uint8Array(memory(text, 1))[0] !== 0) ?? [];
        const said = log === undefined ? null : lastLines(log);
        const error = failure(
          `loading ${this.name}.bpf.o${program === undefined ? '' : `, program ${program}`}`,
          result,
          said,
          [...this.sections].flatMap(([name, section]) => (this.left.has(name) ? [] : [section])),
        );
        if (program !== undefined && said !== null) this.#refused = { program, errno: error.errno, log: said };
        throw error;
      }
    } finally {
      for (const log of logs.values()) libc.free(log);
    }
  }

  /** Keeps what a loaded object can be loaded from again, with the programs of an image that there was before. */
  keepImage(known: ObjectImage | null): void {
    const programs = new Map([...this.#programs].filter(([name]) => !this.left.has(name)));
    const image = makeImage(
      { object: this.#object, file: this.#file, sections: this.sections, maps: this.#original, programs },
      known,
    );
    if (image) keepImage(image, this.#file.bytes);
  }

  programFd(name: string): number {
    return loadLibbpf().program_fd(this.#program(name));
  }

  protected async link(operation: string, name: string, to: AttachTarget | null): Promise<readonly Link[]> {
    const bpf = loadLibbpf();
    const program = this.#program(name);
    if (!to) {
      const link = await later(bpf.program_attach, program);
      if (link === null) throw laterFailure(operation);
      return [new BpfLink(link)];
    }
    if ('uprobe' in to) return [await attachUprobe(operation, program, to)];
    if (!('cgroup' in to)) return attachPerfEvent(operation, program, to);
    const link = await attachCgroup(operation, to, async (directory, place, hooks) => {
      const made = await later(bpf.program_attach_cgroup, program, directory);
      if (made === null) throw laterFailure(place, hooks);
      return new BpfLink(made);
    });
    return [link];
  }

  protected async iterator(operation: string, name: string): Promise<OpenIterator> {
    const bpf = loadLibbpf();
    const link = await later(bpf.program_attach, this.#program(name));
    if (link === null) throw laterFailure(operation);
    return openIterator(operation, new BpfLink(link), bpf.link_fd(link));
  }

  protected async release(): Promise<void> {
    await later(loadLibbpf().object_close, this.#object);
    this.#maps.clear();
    this.#programs.clear();
    this.sections.clear();
  }

  #index(): void {
    const bpf = loadLibbpf();
    for (
      let map = bpf.object_next_map(this.#object, null);
      map !== null;
      map = bpf.object_next_map(this.#object, map)
    ) {
      const name = bpf.map_name(map);
      this.#maps.set(name, map);
      const initial = initialValue(map);
      this.#original.push({
        pointer: map,
        name,
        type: bpf.map_type(map),
        maxEntries: bpf.map_max_entries(map),
        flags: bpf.map_flags(map),
        extra: BigInt(bpf.map_extra(map)),
        initial: initial && new Uint8Array(initial).slice(),
      });
      const entries = entriesHere(name);
      if (entries !== null) bpf.map_set_max_entries(map, entries);
    }
    for (
      let program = bpf.object_next_program(this.#object, null);
      program !== null;
      program = bpf.object_next_program(this.#object, program)
    ) {
      const name = bpf.program_name(program);
      this.#programs.set(name, program);
      this.sections.set(name, bpf.program_section(program));
    }
  }

  #setConstants(): void {
    writeConstants(this.spec, this.#file.variables, () => {
      const initial = initialValue(this.#map(this.sectionMap('.rodata')));
      if (!initial) throw lastFailure(`reading ${this.name}'s .rodata`);
      return new DataView(initial);
    });
  }

  #program(name: string): Pointer {
    const program = this.#programs.get(name);
    if (!program) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no program ${name}`);
    return program;
  }

  #map(name: string): Pointer {
    const map = this.#maps.get(name);
    if (!map) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no map ${name}`);
    return map;
  }
}

/** What a section of global data starts with; writable until the object is loaded. Null for other maps. */
function initialValue(map: Pointer): ArrayBuffer | null {
  const size = new BigUint64Array(1);
  const pointer = loadLibbpf().map_initial_value(map, size);
  return pointer === null ? null : memory(pointer, Number(size[0]));
}

function lastLines(log: Pointer): string {
  const bytes = Buffer.from(memory(log, LOG_BYTES));
  const text = bytes.toString('utf8', 0, Math.max(0, bytes.indexOf(0)));
  return text.trimEnd().split('\n').slice(-12).join('\n');
}
