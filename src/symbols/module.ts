import { closeSync, readSync } from 'node:fs';
import { FrameTable, type FrameRow } from './frame-table.js';
import { ElfImage, type FileBytes } from './image.js';
import { FunctionNames, type NamedAddress } from './names.js';
import type { OpenFile } from './place.js';

const BLOCK = 16_384;
const MAX_BLOCKS = 256;
/** What is longer is read by itself: the tables of symbols, which are read once. */
const MAX_KEPT = 65_536;

/** A file of which the parts are kept that were read; open only while somebody uses it. */
class KeptFile implements FileBytes {
  readonly size: number;
  readonly #blocks = new Map<number, Uint8Array>();
  #open: (() => number | null) | null = null;
  #fd: number | null = null;

  constructor(size: number) {
    this.size = size;
  }

  get byteLength(): number {
    return this.#blocks.size * BLOCK;
  }

  /** `open`: called when something must be read, until `close`. `fd`: is open already. */
  use(open: () => number | null, fd: number | null): void {
    this.#open = open;
    if (fd === null) return;
    if (this.#fd === null) this.#fd = fd;
    else closeSync(fd);
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    this.#open = null;
  }

  read(at: number, length: number): Uint8Array {
    if (!(Number.isInteger(at) && Number.isInteger(length) && at >= 0 && length >= 0 && at + length <= this.size))
      throw new RangeError('the file is shorter');
    if (length > MAX_KEPT) return this.#load(at, length);
    const first = Math.floor(at / BLOCK);
    const last = Math.floor((at + Math.max(length, 1) - 1) / BLOCK);
    if (first === last) return this.#block(first).subarray(at - first * BLOCK, at - first * BLOCK + length);
    const bytes = new Uint8Array(length);
    for (let index = first; index <= last; index++) {
      const from = Math.max(at, index * BLOCK);
      const to = Math.min(at + length, (index + 1) * BLOCK);
      bytes.set(this.#block(index).subarray(from - index * BLOCK, to - index * BLOCK), from - at);
    }
    return bytes;
  }

  #block(index: number): Uint8Array {
    const known = this.#blocks.get(index);
    if (known) return known;
    const block = this.#load(index * BLOCK, Math.min(BLOCK, this.size - index * BLOCK));
    if (this.#blocks.size >= MAX_BLOCKS) this.#blocks.clear();
    this.#blocks.set(index, block);
    return block;
  }

  #load(at: number, length: number): Uint8Array {
    this.#fd ??= this.#open?.() ?? null;
    if (this.#fd === null) throw new RangeError('the file cannot be read any more');
    const bytes = new Uint8Array(length);
    try {
      for (let done = 0; done < length;) {
        const n = readSync(this.#fd, bytes, done, length - done, at + done);
        if (n === 0) throw new RangeError('the file is shorter now');
        done += n;
      }
    } catch (error) {
      throw error instanceof RangeError ? error : new RangeError('the file cannot be read', { cause: error });
    }
    return bytes;
  }
}

/** A file that processes have mapped: how its frames are unwound, and what its functions are called. */
export class Module {
  readonly identity: string;
  readonly #file: KeptFile;
  #image: ElfImage | null | undefined;
  #table: FrameTable | null | undefined;
  #names: FunctionNames | null | undefined;

  constructor({ stat }: OpenFile) {
    this.identity = identityOf(stat);
    this.#file = new KeptFile(Number(stat.size));
  }

  get byteLength(): number {
    return 1024 + this.#file.byteLength + (this.#table?.byteLength ?? 0) + (this.#names?.byteLength ?? 0);
  }

  use(open: () => number | null, fd: number | null): void {
    this.#file.use(open, fd);
  }

  close(): void {
    this.#file.close();
  }

  /** How the frame is left whose code is at an offset of the file. Null where it does not say; may throw RangeError. */
  rowAt(offset: number): FrameRow | null {
    const address = this.#theImage?.addressOf(offset) ?? null;
    if (address === null) return null;
    this.#table = this.#table === undefined ? attempt(() => new FrameTable(this.#theImage as ElfImage)) : this.#table;
    return this.#table?.rowAt(address) ?? null;
  }

  /** The function whose code is at an offset of the file. */
  nameAt(offset: number): NamedAddress | null {
    const address = this.#theImage?.addressOf(offset) ?? null;
    if (address === null) return null;
    this.#names =
      this.#names === undefined ? attempt(() => new FunctionNames(this.#theImage as ElfImage)) : this.#names;
    return attempt(() => this.#names?.of(address) ?? null);
  }

  get #theImage(): ElfImage | null {
    this.#image = this.#image === undefined ? attempt(() => new ElfImage(this.#file)) : this.#image;
    return this.#image;
  }
}

export function identityOf({ dev, ino, ctimeNs, size }: OpenFile['stat']): string {
  return [dev, ino, ctimeNs, size].join(':');
}

/** Null for a file that does not have what it says. */
function attempt<Result>(read: () => Result): Result | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
