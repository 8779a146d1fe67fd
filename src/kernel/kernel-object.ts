import { readFileSync } from 'node:fs';
import { EunomiaError } from '../base/errors.js';
import { cgroupRoot, runIterator, type AttachTarget, type OpenIterator } from './attach.js';
import { possibleCpus } from './cpus.js';
import type { Link } from './link.js';
import { mapShared, type Mapping } from './mapping.js';
import type { ObjectSpec, RefusedProgram, Unloaded } from './object-spec.js';
import { tracepointArguments } from './tracepoints.js';

/** EU_AREAS_PER_CPU of areas.bpf.h. */
const AREAS_PER_CPU = 4;

/** Makes a loaded program run otherwise than by attaching it to its hook. Null: it is to be attached. */
export type PlaceProgram = (program: string, fd: number) => Link | null;

/**
 * A BPF object: opened, then loaded, then attached. Loading and attaching run on threads of the pool. `close()` is idempotent, detaches all
 * its links and leaves nothing in the kernel.
 */
export abstract class KernelObject {
  readonly name: string;
  protected readonly spec: ObjectSpec;
  /** Programs that are not loaded: not needed, or not for this kernel. */
  protected readonly left = new Set<string>();
  /** By program, in the order in which they were attached. */
  readonly #links = new Map<string, readonly Link[]>();
  readonly #mappings: Mapping[] = [];
  #place: PlaceProgram = () => null;
  #unloaded: Unloaded;
  #closed = false;

  protected constructor(spec: ObjectSpec, without: Unloaded) {
    this.name = spec.name;
    this.spec = spec;
    this.#unloaded = without;
  }

  /** Programs in their order, with their sections: "tp_btf/sys_exit". */
  protected abstract readonly sections: ReadonlyMap<string, string>;
  abstract readonly mapNames: readonly string[];
  /** The program for which `load` failed, where the verifier has refused it; else null. */
  abstract readonly refused: RefusedProgram | null;

  abstract setMaxEntries(name: string, entries: number): void;
  /** Uses another object's map in the place of its own of that name; before `load`. */
  abstract reuseMap(name: string, fd: number): void;
  /** Verifies and loads all selected programs. Rejects with a KernelError. */
  abstract load(): Promise<void>;
  /** The file descriptor of a map; valid once loaded, until closed. */
  abstract mapFd(name: string): number;
  /** Bytes of a map's keys and values. */
  abstract mapSizes(name: string): { readonly key: number; readonly value: number };
  /** Of a program; negative where it is not loaded. */
  abstract programFd(name: string): number;
  protected abstract link(operation: string, program: string, to: AttachTarget | null): Promise<readonly Link[]>;
  protected abstract iterator(operation: string, program: string): Promise<OpenIterator>;
  /** Gives all back to the kernel; nothing is attached any more. */
  protected abstract release(): Promise<void>;

  /** Its optional programs that it is without. */
  get unloaded(): Unloaded {
    return this.#unloaded;
  }

  /**
   * The memory of a global data section (".data.eu_control") of a loaded object: writes are seen by the program at once.
   * Gone once closed. libbpf itself maps sections onto the kernel's map for skeletons only (bpf_object__load_skeleton).
   */
  globals(section: string): ArrayBuffer {
    const map = this.sectionMap(section);
    const bytes = this.mapSizes(map).value;
    const mapping = mapShared(this.mapFd(map), bytes, 0, true, `mapping ${this.name}'s ${section}`);
    this.#mappings.push(mapping);
    return mapping.memory;
  }

  /** Programs that `place` takes are not attached; before any is. */
  placeBy(place: PlaceProgram): void {
    this.#place = place;
  }

  /** Whether it has programs of cgroups, which are attached to the root of the v2 hierarchy. */
  get ofCgroups(): boolean {
    return [...this.sections].some(([name, section]) => !this.left.has(name) && isOfCgroups(section));
  }

  /**
   * Attaches the programs that `which` selects, in their order; all of them by default. Iterators come last and run once, to their end:
   * they find what was there before the others were attached. On failure those attached before stay until `close`.
   */
  async attach(which: (program: string) => boolean = () => true): Promise<void> {
    const wanted = [...this.sections].filter(([name]) => !this.left.has(name) && which(name));
    const isIterator = (section: string) => section.startsWith('iter/');
    for (const [name, section] of wanted) {
      if (this.#links.has(name) || isIterator(section)) continue;
      const placed = this.#place(name, this.programFd(name));
      if (placed) {
        this.#links.set(name, [placed]);
        continue;
      }
      const to = this.spec.attachments?.[name] ?? (isOfCgroups(section) ? { cgroup: cgroupRoot() } : null);
      this.#links.set(name, await this.link(`attaching ${this.name}'s program ${name} (${section})`, name, to));
    }
    for (const [name, section] of wanted)
      if (isIterator(section)) {
        const operation = `running ${this.name}'s iterator ${name}`;
        await runIterator(operation, await this.iterator(operation, name));
      }
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
    this.sectionOf(program);
    return this.iterator(`opening ${this.name}'s iterator ${program}`, program);
  }

  /**
   * Runs that the kernel skipped, for the program was running on that CPU already: a tracepoint's program that an
   * interrupt comes upon is not run again inside of itself (kernel/trace/bpf_trace.c, __bpf_trace_run; Linux 6.2,
   * commit 05b24ff9b2cf). Before, and where the kernel does not tell, 0.
   */
  get skippedRuns(): number {
    let skipped = 0;
    for (const name of this.sections.keys()) {
      const fd = this.programFd(name);
      if (fd >= 0)
        skipped += Number(
          /^recursion_misses:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0,
        );
    }
    return skipped;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.detach();
    while (this.#mappings.length) this.#mappings.pop()?.close();
    await this.release();
  }

  /** Decides which programs are not loaded; to be called once, when the sections are known. Throws BAD_OBJECT. */
  protected select(): void {
    const { missing, refused } = this.#unloaded;
    const hookless = Object.entries(this.spec.optional ?? {}).flatMap(([name, known]) => {
      const [, tracepoint] = /^tp_btf\/(.*)/.exec(this.sectionOf(name)) ?? [];
      if (tracepoint === undefined) return [];
      const has = tracepointArguments(tracepoint);
      return has !== null && known.includes(has) ? [] : [name];
    });
    this.#unloaded = { missing: [...new Set([...hookless, ...missing])], refused };
    const without = [...this.#unloaded.missing, ...refused.map((one) => one.program)];
    for (const name of [...this.spec.unneeded, ...without]) {
      this.sectionOf(name);
      this.left.add(name);
    }
  }

  protected sectionOf(program: string): string {
    const section = this.sections.get(program);
    if (section === undefined) throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no program ${program}`);
    return section;
  }

  /** libbpf names the map of .rodata after the object, and of .data.X by the section itself. */
  protected sectionMap(section: string): string {
    for (const name of this.mapNames) if (name === section || name.endsWith(section)) return name;
    throw new EunomiaError('BAD_OBJECT', `${this.name}.bpf.o has no section ${section}`);
  }
}

/** Of a map whose size depends on the machine; null for others: scratch memory is an array with one element a CPU, or several. */
export function entriesHere(map: string): number | null {
  if (map.startsWith('eu_scratch_')) return possibleCpus(); // record.bpf.h
  if (map.startsWith('eu_areas_')) return AREAS_PER_CPU * possibleCpus();
  return null;
}

/** Whether it is a program that runs for the processes of a cgroup: "cgroup_skb/egress", "cgroup/connect4", "sockops". */
export function isOfCgroups(section: string): boolean {
  return /^cgroup(_skb)?\/|^sockops$/.test(section);
}
