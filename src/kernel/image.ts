import koffi from 'koffi';
import { readdirSync, readFileSync } from 'node:fs';
import { objectName } from '../base/paths.js';
import { cString, readSections, type ElfSection } from '../btf/elf.js';
import { INSTRUCTION_BYTES, LOAD_IMMEDIATE, ObjectFunctions } from '../btf/functions.js';
import { relocatedTypes } from '../btf/relocated.js';
import { isOfCgroups } from './kernel-object.js';
import { loadLibbpf, memory, type Pointer } from './libbpf.js';
import { stampOf, type ObjectFile, type ReadObjectFile } from './object-file.js';
import { kernelStore } from './store.js';
import { kernelLacks } from './tracepoints.js';

/**
 * What libbpf has made of an object for the running kernel: its programs linked, and their accesses to the kernel's structs
 * relocated. For this libbpf reads the kernel's BTF and the object's, some 50 ms; from an image the object is loaded by the system calls
 * alone. Constants, the sizes of maps and which programs are loaded are chosen anew each time.
 */
export interface ObjectImage {
  readonly file: ObjectFile;
  /**
   * The kernel's modules, where the object looks for types that the kernel itself has not: one that is loaded later may have them. Null for
   * an object that finds all of them in the kernel.
   */
  readonly modules: string | null;
  /** All its programs, in their order, with their sections. */
  readonly sections: ReadonlyMap<string, string>;
  readonly license: string;
  /** The object's BTF, as this kernel takes it. */
  readonly btf: Uint8Array;
  readonly maps: readonly ImageMap[];
  /** Those of its programs that libbpf has loaded so far, by name. */
  readonly programs: ReadonlyMap<string, ImageProgram>;
}

export interface ImageMap {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly extra: bigint;
  /** Types in the object's BTF. */
  readonly key: number;
  readonly value: number;
  /** Of a section of global data: what it begins with. */
  readonly initial: Uint8Array | null;
}

export interface ImageProgram {
  readonly name: string;
  readonly type: number;
  readonly attachType: number;
  /** In the kernel's BTF; 0 for a program that attaches to none of its types. */
  readonly attachTo: number;
  readonly flags: number;
  /** Maps are named by their index in the image. */
  readonly instructions: Uint8Array;
  /** struct bpf_func_info, for each function. */
  readonly functions: Uint8Array;
}

/** What an image is made of: an object that libbpf has loaded. */
export interface ImageSource {
  readonly object: Pointer;
  readonly file: ReadObjectFile;
  readonly sections: ReadonlyMap<string, string>;
  /** In their order, as they were before anything was set. */
  readonly maps: readonly (Pick<ImageMap, 'name' | 'type' | 'maxEntries' | 'flags' | 'extra' | 'initial'> & {
    readonly pointer: Pointer;
  })[];
  /** Those that were loaded. */
  readonly programs: ReadonlyMap<string, Pointer>;
}

// include/uapi/linux/bpf.h
const PSEUDO_MAP_FD = 1;
const PSEUDO_MAP_VALUE = 2;
const PSEUDO_MAP_IDX = 5;
const PSEUDO_MAP_IDX_VALUE = 6;
const TYPE_TRACING = 26;
const TYPE_PROG_ARRAY = 3;
/**
 * Maps that libbpf fills, from the object's file or from what it knows of the kernel: their content is in no image. What it puts into maps
 * of programs, relocations of their section say.
 */
const isFilled = (
  { name, type }: { readonly name: string; readonly type: number },
  sections: readonly ElfSection[],
): boolean =>
  (type === TYPE_PROG_ARRAY && sections.some((section) => section.name === '.rel.maps')) || name.endsWith('.kconfig');
/** struct bpf_prog_info: attach_btf_obj_id, attach_btf_id (Linux 6.0, commit b79c9fc9551b). */
const PROGRAM_INFO_BYTES = 232;
const ATTACH_OBJECT_AT = 220;
const ATTACH_AT = 224;
/** The first that a kernel parses is its own. */
const KERNEL_BTF = 1;
/** struct bpf_btf_info: btf, btf_size. */
const BTF_INFO_BYTES = 32;
export const FUNCTION_INFO_BYTES = 8;

/**
 * Copies what is needed of a loaded object; null where that is not all to be had: on a kernel before Linux 6.0, for one, or of maps that
 * libbpf fills.
 */
export function makeImage(source: ImageSource, known: ObjectImage | null): ObjectImage | null {
  const bpf = loadLibbpf();
  const { object, maps } = source;
  const { path, stamp, variables, bytes, types } = source.file;
  const sections = readSections(bytes);
  const license = sections.find(({ name }) => name === 'license');
  const btf = readBtf(bpf.object_btf_fd(object));
  if (!license || !btf || maps.some((map) => isFilled(map, sections))) return null;
  const fds = new Map(maps.map(({ pointer }, i) => [bpf.map_fd(pointer), i]));
  const functions = new ObjectFunctions(bytes);
  const programs = new Map(known?.file.stamp === stamp ? known.programs : null);
  for (const [name, pointer] of source.programs) {
    const program = programs.has(name)
      ? null
      : imageProgram(functions, name, source.sections.get(name) ?? '', pointer, fds);
    if (program) programs.set(name, program);
  }
  return {
    file: { path, stamp, variables },
    modules: kernelLacks(relocatedTypes(bytes, types)).length ? kernelModules() : null,
    sections: new Map(source.sections),
    license: cString(bytes, license.offset),
    btf,
    maps: maps.map(({ pointer, ...map }) => ({
      ...map,
      keySize: bpf.map_key_size(pointer),
      valueSize: bpf.map_value_size(pointer),
      key: bpf.map_key_type(pointer),
      value: bpf.map_value_type(pointer),
    })),
    programs,
  };
}

function imageProgram(
  known: ObjectFunctions,
  name: string,
  section: string,
  program: Pointer,
  maps: ReadonlyMap<number, number>,
): ImageProgram | null {
  const bpf = loadLibbpf();
  const pointer = bpf.program_instructions(program);
  if (pointer === null) return null;
  const size = Number(bpf.program_instruction_count(program)) * INSTRUCTION_BYTES;
  const instructions = new Uint8Array(memory(pointer, size)).slice();
  const functions = known.of(name, instructions);
  if (!functions || !nameMaps(instructions, maps)) return null;
  const type = bpf.program_type(program);
  const info = new DataView(new ArrayBuffer(PROGRAM_INFO_BYTES));
  if (bpf.info(bpf.program_fd(program), bytesOf(info), Uint32Array.of(PROGRAM_INFO_BYTES)) < 0) return null;
  const attachTo = info.getUint32(ATTACH_AT, true);
  // Others are attached by what libbpf reads of their sections: a tracepoint's name, a function's place.
  if (type !== TYPE_TRACING && !isOfCgroups(section)) return null;
  if (type === TYPE_TRACING && (attachTo === 0 || info.getUint32(ATTACH_OBJECT_AT, true) !== KERNEL_BTF)) return null;
  return {
    name,
    type,
    attachType: bpf.program_attach_type(program),
    attachTo,
    flags: bpf.program_flags(program),
    instructions,
    functions: new Uint8Array(Uint32Array.from(functions.flatMap(({ at, type: id }) => [at, id])).buffer),
  };
}

/** Puts a map's index where an instruction has its descriptor. False where one is none of the object's. */
function nameMaps(instructions: Uint8Array, maps: ReadonlyMap<number, number>): boolean {
  const view = new DataView(instructions.buffer);
  for (let at = 0; at < instructions.length; at += INSTRUCTION_BYTES) {
    if (view.getUint8(at) !== LOAD_IMMEDIATE) continue;
    const registers = view.getUint8(at + 1);
    const source = registers >> 4;
    if (source === PSEUDO_MAP_FD || source === PSEUDO_MAP_VALUE) {
      const index = maps.get(view.getInt32(at + 4, true));
      if (index === undefined) return false;
      const byIndex = source === PSEUDO_MAP_FD ? PSEUDO_MAP_IDX : PSEUDO_MAP_IDX_VALUE;
      view.setUint8(at + 1, (registers & 0xf) | (byIndex << 4));
      view.setInt32(at + 4, index, true);
    }
    at += INSTRUCTION_BYTES;
  }
  return true;
}

function readBtf(fd: number): Uint8Array | null {
  const bpf = loadLibbpf();
  const info = new DataView(new ArrayBuffer(BTF_INFO_BYTES));
  if (fd < 0 || bpf.info(fd, bytesOf(info), Uint32Array.of(BTF_INFO_BYTES)) < 0) return null;
  const size = info.getUint32(8, true);
  const bytes = new Uint8Array(new ArrayBuffer(size));
  const ask = new DataView(new ArrayBuffer(BTF_INFO_BYTES));
  ask.setBigUint64(0, koffi.address(bytes), true);
  ask.setUint32(8, size, true);
  return bpf.info(fd, bytesOf(ask), Uint32Array.of(BTF_INFO_BYTES)) < 0 ? null : bytes;
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer);
}

/** The images of this thread, by the objects' paths. */
const images = new Map<string, ObjectImage>();

/** What libbpf made of the object at this path; null before it has, and where the file is another one now. */
export function imageOf(path: string): ObjectImage | null {
  const image = images.get(path);
  if (image && image.file.stamp === stampOf(path) && isOfModules(image)) return image;
  images.delete(path);
  const kept = storedImage(path);
  if (kept) images.set(path, kept);
  return kept;
}

/** From now on for this thread, and for those to come. */
export function keepImage(image: ObjectImage, object: Uint8Array): void {
  const { path } = image.file;
  images.set(path, image);
  const name = storedName(path);
  if (name !== null) kernelStore()?.write(name, object, image);
}

function storedImage(path: string): ObjectImage | null {
  const store = kernelStore();
  const name = storedName(path);
  if (!store || name === null) return null;
  const stamp = stampOf(path);
  const image = store.read(name, readFileSync(path)) as ObjectImage | null; // its hash says that it was written here
  return image && isOfModules(image) ? { ...image, file: { path, stamp, variables: image.file.variables } } : null;
}

function isOfModules({ modules }: ObjectImage): boolean {
  return modules === null || modules === kernelModules();
}

/** Those that tell their types. */
function kernelModules(): string {
  return readdirSync('/sys/kernel/btf').sort().join();
}

/** Only images of our own objects are kept: there are so many and no more. */
function storedName(path: string): string | null {
  return objectName(path)?.replaceAll('/', '-') ?? null;
}
