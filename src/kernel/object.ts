import { readFileSync } from 'node:fs';
import { EunomiaError } from '../base/errors.js';
import {
  attachCgroup,
  attachPerfEvent,
  attachUprobe,
  cgroupRoot,
  runIterator,
  type Attachment,
  openIterator,
  type OpenIterator,
} from './attach.js';
import { parseBpfFile } from '../btf/btf.js';
import { possibleCpus } from './cpus.js';
import { failure, lastFailure, later, laterFailure, loadLibbpf, loadLibc, memory, type Pointer } from './libbpf.js';
import { BpfLink } from './link.js';
import { mapShared, type Mapping } from './mapping.js';
import { tracepointArguments } from './tracepoints.js';

const LOG_BYTES = 1 << 20;
/** A constant of memory.bpf.h. */
const PAGE_BYTES = 'eu_page_bytes';
/** EU_AREAS_PER_CPU of areas.bpf.h. */
const AREAS_PER_CPU = 4;

export interface ObjectSpec {
  /** What errors call it, for example "open". */
  readonly name: string;
  /** Path of the .bpf.o file. */
  readonly path: string;
  /** Values for its `const volatile` globals, by their C names. */
  readonly constants: Readonly<Record<string, boolean | number | bigint | Uint16Array>>;
  /** Programs that are not loaded. */
  readonly unneeded: readonly string[];
  /** Where programs attach whose section does not say it, by program name. Default for programs of cgroups: the v2 hierarchy's root. */
  readonly attachments?: Readonly<Record<string, Attachment>>;
  /** Program → capture bits: it serves these alone, and is attached only while one of them is in the mask. */
  readonly demanded?: Readonly<Record<string, bigint>>;
  /**
   * Programs that a kernel may be without: how many arguments their tracepoint has in the kernels that they know. They
   * are loaded where it is so, and a constant `eu_args_TRACEPOINT` of the object, where there is one, says how many it
   * has here (0: there is no such tracepoint). Of programs on other hooks than BTF tracepoints only loading tells
   * (optional.ts), and the list is empty.
   */
  readonly optional?: Readonly<Record<string, readonly number[]>>;
  /** For an object that aggregates in maps (aggregate.bpf.h): how often they are read. */
  readonly aggregatesEveryMs?: number;
}

/** A program that the kernel's verifier has refused: a fault of the program's. */
export interface RefusedProgram {
  readonly program: string;
  readonly errno: string | null;
  /** The verifier's last lines. */
  readonly log: string;
}

/** Optional programs that an object is loaded without. */
export interface Unloaded {
  /** This kernel lacks their hooks. */
  readonly missing: readonly string[];
  readonly refused: readonly RefusedProgram[];
}

/**
 * A BPF object: opened, then loaded, then attached. Loading and attaching run on a thread of the
 * pool. `close()` is idempotent, detaches all its links and leaves nothing in the kernel.
 */
export class BpfObject {
  readonly name: string;
  readonly #spec: ObjectSpec;
  readonly #object: Pointer;
  readonly #maps = new Map<string, Pointer>();
  readonly #programs = new Map<string, Pointer>();
  readonly #logs = new Map<string, Pointer>();
  /** By program, in the order in which they were attached. */
  readonly #links = new Map<string, readonly BpfLink[]>();
  readonly #mappings: Mapping[] = [];
  /** Programs that are not loaded: not needed, or not for this kernel. */
  readonly #left = new Set<string>();
  #unloaded: Unloaded;
  #refused: RefusedProgram | null = null;
  #closed = false;

  private constructor(spec: ObjectSpec, object: Pointer, without: Unloaded) {
    this.#unloaded = without;
    this.name = spec.name;
    this.#spec = spec;
    this.#object = object;
  }

  /**
   * Reads the file, sets the constants and which programs are loaded: not those that it is to be `without`. Throws
   * BAD_OBJECT or a KernelError.
   */
  static async open(spec: ObjectSpec, without: Unloaded = { missing: [], refused: [] }): Promise<BpfObject> {
    const bpf = loadLibbpf();
    const opened = await later(bpf.object_open, spec.path, null);
    if (opened === null) throw laterFailure(`opening ${spec.name}.bpf.o`);
    const object = new BpfObject(spec, opened, without);
    try {
      object.#index();
      object.#setConstants();
      object.#selectPrograms();
    } catch (error) {
      await object.close();
      throw error;
    }
    return object;
  }

  /** Its optional programs that it is without. */
  get unloaded(): Unloaded {
    return this.#unloaded;
  }

  /** The program for which `load` failed, where the verifier has refused it; else null. */
  get refused(): RefusedProgram | null {
    return this.#refused;
  }

  get mapNames(): readonly string[] {
    return [...this.#maps.keys()];
  }

  /** The file descriptor of a map; valid once loaded, until closed. */
  mapFd(name: string): number {
    return loadLibbpf().map_fd(this.#map(name));
  }

  setMaxEntries(name: string, entries: number): void {
    const result = loadLibbpf().map_set_max_entries(this.#map(name), entries);
    if (result < 0) throw failure(`sizing ${this.name}'s map ${name}`, result);
  }

  /** Uses another object's map in the place of its own of that name; before `load`. */
  reuseMap(name: string, fd: number): void {
    const result = loadLibbpf().map_reuse_fd(this.#map(name), fd);
    if (result < 0) throw failure(`sharing ${this.name}'s map ${name}`, result);
  }

  /**
   * The memory of a global data section (".data.eu_control") of a loaded object: writes are seen by the program at once.
   * Gone once closed. libbpf itself maps sections onto the kernel's map for skeletons only (bpf_object__load_skeleton).
   */
  globals(section: string): ArrayBuffer {
    const bytes = this.#initialValue(section).byteLength;
    const mapping = mapShared(
      loadLibbpf().map_fd(this.#section(section)),
      bytes,
      0,
      true,
      `mapping ${this.name}'s ${section}`,
    );
    this.#mappings.push(mapping);
    return mapping.memory;
  }

  /** Verifies and loads all selected programs. Rejects with a KernelError that names the program and holds the verifier's last lines. */
  async load(): Promise<void> {
    const bpf = loadLibbpf();
    const libc = loadLibc();
    for (const [name, program] of this.#programs) {
      const log = libc.calloc(LOG_BYTES, 1);
      this.#logs.set(name, log);
      bpf.program_set_log_buf(program, log, LOG_BYTES);
    }
    try {
      const result = await later(bpf.object_load, this.#object);
      if (result < 0) {
        const [program, log] = [...this.#logs].find(([, text]) => new Uint8Array(memory(text, 1))[0] !== 0) ?? [];
        const said = log === undefined ? null : lastLines(log);
        const error = failure(
          `loading ${this.name}.bpf.o${program === undefined ? '' : `, program ${program}`}`,
          result,
          said,
          [...this.#programs].flatMap(([name, one]) => (this.#left.has(name) ? [] : [bpf.program_section(one)])),
        );
        if (program !== undefined && said !== null) this.#refused = { program, errno: error.errno, log: said };
        throw error;
      }
    } finally {
      for (const log of this.#logs.values()) libc.free(log);
      this.#logs.clear();
    }
  }

  /** Throws what `attach` would where a place to attach to is not visible. */
  checkPlaces(): void {
    for (const [name, program] of this.#programs)
      if (!this.#left.has(name) && isOfCgroups(loadLibbpf().program_section(program))) cgroupRoot();
  }

  /**
   * Attaches the programs that `which` selects, in their order; all of them by default. Iterators come last and run once, to their end:
   * they find what was there before the others were attached. On failure those attached before stay until `close`.
   */
  async attach(which: (program: string) => boolean = () => true): Promise<void> {
    const bpf = loadLibbpf();
    const wanted = [...this.#programs].filter(([name]) => !this.#left.has(name) && which(name));
    const isIterator = (program: Pointer) => bpf.program_section(program).startsWith('iter/');
    for (const [name, program] of wanted) {
      if (this.#links.has(name) || isIterator(program)) continue;
      const section = bpf.program_section(program);
      const attachment =
        this.#spec.attachments?.[name] ?? (isOfCgroups(section) ? { cgroup: cgroupRoot() } : undefined);
      const operation = `attaching ${this.name}'s program ${name} (${section})`;
      if (!attachment) {
        const link = await later(bpf.program_attach, program);
        if (link === null) throw laterFailure(operation);
        this.#links.set(name, [new BpfLink(link)]);
      } else if ('cgroup' in attachment) this.#links.set(name, [await attachCgroup(operation, program, attachment)]);
      else if ('uprobe' in attachment) this.#links.set(name, [await attachUprobe(operation, program, attachment)]);
      else this.#links.set(name, await attachPerfEvent(operation, program, attachment));
    }
    for (const [name, program] of wanted)
      if (isIterator(program)) await runIterator(`running ${this.name}'s iterator ${name}`, program);
  }

  /** Detaches the programs that `which` selects, the last attached first; what runs on another CPU at this moment may still finish. */
  async detach(which: (program: string) => boolean = () => true): Promise<void> {
    for (const [name, links] of [...this.#links].reverse()) {
      if (!which(name)) continue;
      this.#links.delete(name);
      for (const link of links) await link.close();
    }
  }

  isAttached(program: string): boolean {
    return this.#links.has(program);
  }

  /** Opens one of its iterators. Rejects with a KernelError. */
  openIterator(program: string): Promise<OpenIterator> {
    const found = this.#programs.get(program);
    if (!found) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no program ${program}`);
    return openIterator(`opening ${this.name}'s iterator ${program}`, found);
  }

  /**
   * Runs that the kernel skipped, for the program was running on that CPU already: a tracepoint's program that an
   * interrupt comes upon is not run again inside of itself (kernel/trace/bpf_trace.c, __bpf_trace_run; Linux 6.2,
   * commit 05b24ff9b2cf). Before, and where the kernel does not tell, 0.
   */
  get skippedRuns(): number {
    let skipped = 0;
    for (const program of this.#programs.values()) {
      const fd = loadLibbpf().program_fd(program);
      if (fd >= 0)
        skipped += Number(
          /^recursion_misses:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0,
        );
    }
    return skipped;
  }

  /** Bytes of a map's keys and values. */
  mapSizes(name: string): { readonly key: number; readonly value: number } {
    const bpf = loadLibbpf();
    return { key: bpf.map_key_size(this.#map(name)), value: bpf.map_value_size(this.#map(name)) };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.detach();
    while (this.#mappings.length) this.#mappings.pop()?.close();
    await later(loadLibbpf().object_close, this.#object);
    this.#maps.clear();
    this.#programs.clear();
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
      // Scratch memory is an array with one element a CPU, or several (see eunomia.bpf.h).
      if (name.startsWith('eu_scratch_')) bpf.map_set_max_entries(map, possibleCpus());
      if (name.startsWith('eu_areas_')) bpf.map_set_max_entries(map, AREAS_PER_CPU * possibleCpus());
    }
    for (
      let program = bpf.object_next_program(this.#object, null);
      program !== null;
      program = bpf.object_next_program(this.#object, program)
    ) {
      this.#programs.set(bpf.program_name(program), program);
    }
  }

  #setConstants(): void {
    const { variables } = parseBpfFile(readFileSync(this.#spec.path), this.#spec.path);
    const tracepoints = [...variables.keys()].flatMap((name) => {
      const [, tracepoint] = /^eu_args_(\w+)$/.exec(name) ?? [];
      return tracepoint === undefined ? [] : [[name, tracepointArguments(tracepoint) ?? 0] as const];
    });
    const page = variables.has(PAGE_BYTES) ? [[PAGE_BYTES, loadLibc().getpagesize()] as const] : [];
    for (const [name, value] of [...tracepoints, ...page, ...Object.entries(this.#spec.constants)]) {
      const variable = variables.get(name);
      if (!variable || variable.section !== '.rodata') {
        throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no constant ${name} (const volatile)`);
      }
      const view = new DataView(this.#initialValue('.rodata'));
      if (value instanceof Uint16Array) {
        if (value.byteLength !== variable.size)
          throw new EunomiaError(
            'BAD_OBJECT',
            `${this.name}.bpf.o: ${name} has ${variable.size} bytes, not ${value.byteLength}`,
          );
        value.forEach((element, i) => view.setUint16(variable.offset + 2 * i, element, true));
      } else if (variable.size === 1) view.setUint8(variable.offset, Number(value));
      else if (variable.size === 2) view.setUint16(variable.offset, Number(value), true);
      else if (variable.size === 4) view.setUint32(variable.offset, Number(value), true);
      else view.setBigUint64(variable.offset, BigInt(value), true);
    }
  }

  /** What a section starts with; writable until the object is loaded. */
  #initialValue(section: string): ArrayBuffer {
    const size = new BigUint64Array(1);
    const pointer = loadLibbpf().map_initial_value(this.#section(section), size);
    if (pointer === null) throw lastFailure(`reading ${this.name}'s ${section}`);
    return memory(pointer, Number(size[0]));
  }

  #selectPrograms(): void {
    const bpf = loadLibbpf();
    const program = (name: string): Pointer => {
      const found = this.#programs.get(name);
      if (!found) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no program ${name}`);
      return found;
    };
    const { missing, refused } = this.#unloaded;
    const hookless = Object.entries(this.#spec.optional ?? {}).flatMap(([name, known]) => {
      const [, tracepoint] = /^tp_btf\/(.*)/.exec(bpf.program_section(program(name))) ?? [];
      if (tracepoint === undefined) return [];
      const has = tracepointArguments(tracepoint);
      return has !== null && known.includes(has) ? [] : [name];
    });
    this.#unloaded = { missing: [...new Set([...hookless, ...missing])], refused };
    const without = [...this.#unloaded.missing, ...refused.map((one) => one.program)];
    for (const name of [...this.#spec.unneeded, ...without]) {
      this.#left.add(name);
      bpf.program_set_autoload(program(name), false);
    }
  }

  #map(name: string): Pointer {
    const map = this.#maps.get(name);
    if (!map) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no map ${name}`);
    return map;
  }

  /** libbpf names the map of .rodata after the object, and of .data.X by the section itself. */
  #section(section: string): Pointer {
    for (const [name, map] of this.#maps) if (name === section || name.endsWith(section)) return map;
    throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no section ${section}`);
  }
}

/** Whether it is a program that runs for the processes of a cgroup: "cgroup_skb/egress", "cgroup/connect4", "sockops". */
function isOfCgroups(section: string): boolean {
  return /^cgroup(_skb)?\/|^sockops$/.test(section);
}

function lastLines(log: Pointer): string {
  const bytes = Buffer.from(memory(log, LOG_BYTES));
  const text = bytes.toString('utf8', 0, Math.max(0, bytes.indexOf(0)));
  return text.trimEnd().split('\n').slice(-12).join('\n');
}
