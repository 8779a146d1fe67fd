import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { readdirSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageFile } from '../base/paths.js';
import { holdsFor } from '../../test/support/property.js';
import { readCapture } from './capture.js';
import { evaluate } from './expression.js';
import { FrameTable } from './frame-table.js';
import { ElfImage, type FileBytes } from './image.js';
import { FunctionNames } from './names.js';
import { parseMounts, Place } from './place.js';
import { Reader } from './reader.js';
import { MAX_FRAMES, unwind } from './unwind.js';

const exec = promisify(execFile);
let folder: string;
let library: Uint8Array;
let mountNs: number;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hostile-'));
  const path = join(folder, 'library.so');
  await exec('gcc', ['-O2', '-shared', '-fPIC', '-o', path, packageFile('test', 'support', 'stack-inner.c')]);
  library = new Uint8Array(await readFile(path)); // a slice of a Buffer would be no copy
  ({ ino: mountNs } = await stat('/proc/self/ns/mnt'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Counts what is read, so that a test sees who reads a file again and again. */
function fileOf(bytes: Uint8Array): FileBytes & { reads: number } {
  return {
    size: bytes.length,
    reads: 0,
    read(at, length) {
      this.reads += 1;
      if (!(at >= 0 && length >= 0 && at + length <= bytes.length)) throw new RangeError('not there');
      return bytes.subarray(at, at + length);
    },
  };
}

/** Reads all that a stack would of a file; what a damaged one throws is a RangeError, and nothing else. */
function readAll(bytes: Uint8Array): void {
  const file = fileOf(bytes);
  const attempt = (read: () => unknown): void => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  };
  attempt(() => {
    const image = new ElfImage(file);
    attempt(() => new FunctionNames(image).of(0x1200));
    const table = new FrameTable(image);
    for (let address = 0x1000; address < 0x1400; address += 16) attempt(() => table.rowAt(address));
    const mapping = { start: 0, end: 0x10000, offset: 0, path: '/x', inode: 1 };
    const memory = new Uint8Array(4096).fill(0x11);
    const registers = new Float64Array(17).fill(0x100);
    const stack = { machine: 'X86_64', address: 0x1110, registers, memory, mappings: [mapping] } as const;
    expect(unwind(stack, (_, offset) => table.rowAt(image.addressOf(offset) ?? 0)).frames.length).toBeLessThanOrEqual(
      MAX_FRAMES,
    );
  });
  expect(file.reads).toBeLessThan(20_000);
}

type Changes = readonly (readonly [at: number, byte: number])[];

/** Reads the file with other bytes in some places, again and again. */
async function endsWith(whole: Uint8Array, changes: fc.Arbitrary<Changes>, numRuns: number): Promise<void> {
  await holdsFor(
    fc.property(changes, (some) => {
      const bytes = whole.slice();
      for (const [at, byte] of some) bytes[at] = byte;
      readAll(bytes);
      return true;
    }),
    { numRuns },
  );
}

const random = (bytes: readonly number[]): Reader => new Reader(Uint8Array.from(bytes));
const nothing = { register: () => 0x1000, memory: () => 0x1000 };

describe('a file that somebody wrote to do harm', () => {
  it('is read where it is whole', () => {
    const image = new ElfImage(fileOf(library));
    const table = new FrameTable(image);
    const rows = Array.from({ length: 64 }, (_, i) => table.rowAt(0x1100 + 16 * i)).filter((row) => row !== null);
    expect(rows.length).toBeGreaterThan(10);
  });

  it('reads no more than there is of one that is cut short anywhere', async () => {
    await holdsFor(
      fc.property(fc.nat(library.length), (length) => {
        readAll(library.subarray(0, length));
        return true;
      }),
      { numRuns: 200 },
    );
  });

  it('ends with every other byte in any place', async () => {
    const changes = fc.array(fc.tuple(fc.nat(library.length - 1), fc.nat(255)), { minLength: 1, maxLength: 40 });
    await endsWith(library, changes, 500);
  });

  it('ends with other headers and frames, which are a small part of it', async () => {
    const { frameIndex } = new ElfImage(fileOf(library));
    const frames = frameIndex?.address ?? 0;
    const place = fc.oneof(fc.nat(0x400), fc.integer({ min: frames, max: frames + 0x200 }));
    const changes = fc.array(fc.tuple(place, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)), { minLength: 1, maxLength: 20 });
    await endsWith(library, changes, 1000);
  });

  it('ends where frames without an index are damaged', async () => {
    const path = join(folder, 'unindexed.so');
    const flags = ['-O2', '-shared', '-fPIC', '-Wl,--no-eh-frame-hdr'];
    await exec('gcc', [...flags, '-o', path, packageFile('test', 'support', 'stack-inner.c')]);
    const whole = new Uint8Array(await readFile(path));
    const { address = 0, size = 0 } = new ElfImage(fileOf(whole)).section('.eh_frame') ?? {};
    expect(size).toBeGreaterThan(100);
    const place = fc.integer({ min: address, max: address + size - 1 });
    const changes = fc.array(fc.tuple(place, fc.constantFrom(0, 1, 4, 0x7f, 0xff)), { minLength: 1, maxLength: 10 });
    await endsWith(whole, changes, 500);
  });

  it('ends an expression that jumps back, takes too much, or holds too much', () => {
    expect(() => evaluate(random([0x2f, 0xfd, 0xff]), nothing, null)).toThrow('does not end');
    expect(() => evaluate(random([0x22]), nothing, 1)).toThrow('does not have');
    expect(() => evaluate(random([0x2f, 0xff, 0x7f]), nothing, 1)).toThrow('jumps out');
    expect(() => evaluate(random(new Array<number>(100).fill(0x31)), nothing, null)).toThrow('too deep');
    expect(evaluate(random([0x31, 0x30, 0x1b]), nothing, null)).toBeNaN(); // a division by 0
    expect(evaluate(random([0x31, 0x08, 200, 0x24]), nothing, null)).toBe(0);
  });

  it('evaluates what the linker writes of its table of procedures', () => {
    // DW_OP_breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus
    const code = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
    const at = (pc: number): number =>
      evaluate(random(code), { register: (number) => (number === 7 ? 0x7fff0000 : pc), memory: () => 0 }, null);
    expect(at(0x1020)).toBe(0x7fff0008);
    expect(at(0x102b)).toBe(0x7fff0010);
  });

  it('ends any expression', async () => {
    await holdsFor(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          evaluate(new Reader(bytes), nothing, 0);
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
        }
        return true;
      }),
      { numRuns: 5000 },
    );
  });

  it('reads any captured bytes', async () => {
    await holdsFor(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        bytes.set([0, 1, 1, 0].slice(0, bytes.length));
        const stack = readCapture(bytes);
        if (stack) unwind(stack, () => null);
        return true;
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the files of a mount namespace', () => {
  const place = (): Place => {
    const found = Place.open({ mountNs, pids: [] });
    if (!found) throw new Error('no place');
    return found;
  };

  it('are regular files, under their own path and number', async () => {
    const path = join(folder, 'library.so');
    const { ino } = await stat(path);
    const files = place();
    const file = files.file(path, ino);
    expect(Number(file?.stat.size)).toBe(library.length);
    if (file) closeSync(file.fd);
    expect(files.file(path, ino + 1)).toBeNull();
    expect(files.file(folder, (await stat(folder)).ino)).toBeNull();
    expect(files.file(`${folder}/../${folder}/library.so`, ino)).toBeNull();
    expect(files.file('relative', ino)).toBeNull();
    expect(files.file('', ino)).toBeNull();
    files.close();
  });

  it('are not followed through links, nor opened where they are no files', async () => {
    const { ino } = await stat(join(folder, 'library.so'));
    await symlink(join(folder, 'library.so'), join(folder, 'link.so'));
    await symlink(folder, join(folder, 'linked'));
    await mkdir(join(folder, 'inside'));
    await exec('mkfifo', [join(folder, 'fifo')]);
    await writeFile(join(folder, 'inside/x'), '');
    const files = place();
    expect(files.file(join(folder, 'link.so'), ino)).toBeNull();
    expect(files.file(join(folder, 'linked/library.so'), ino)).toBeNull();
    expect(files.file(join(folder, 'fifo'), (await stat(join(folder, 'fifo'))).ino)).toBeNull();
    expect(files.file('/proc/self/exe', (await stat(process.execPath)).ino)).toBeNull();
    files.close();
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(200);
  });

  it('are of that namespace, or are not read', () => {
    expect(Place.open({ mountNs: mountNs + 1, pids: [1, process.pid] })).toBeNull();
    expect(Place.open({ mountNs, pids: [2 ** 30] })).not.toBeNull();
  });

  it('are found by their path in their file system, wherever that is mounted', async () => {
    const path = join(folder, 'library.so');
    const { ino, dev } = await stat(path);
    const mounts = parseMounts(await readFile('/proc/self/mountinfo', 'latin1'));
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    const mount = mounts.filter((one) => one.device === device && path.startsWith(one.point)).at(-1);
    const inside = `${mount?.root === '/' ? '' : mount?.root}${mount?.point === '/' ? path : path.slice(mount?.point.length)}`;
    const files = place();
    const file = files.realFile({ path: inside, inode: ino, device });
    expect(Number(file?.stat.size)).toBe(library.length);
    if (file) closeSync(file.fd);
    expect(files.realFile({ path: inside, inode: ino, device: '0:99999' })).toBeNull();
    expect(files.realFile({ path: inside, inode: ino + 1, device })).toBeNull();
    files.close();
  });

  it('are told by the lines of mountinfo, of which any may be odd', () => {
    const lines = [
      '36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw',
      '37 36 0:44 /in\\134 /srv/a\\040b rw - fuse.sshfs sshfs rw',
      'nonsense',
      '',
    ];
    expect(parseMounts(lines.join('\n'))).toEqual([
      { device: '98:0', root: '/', point: '/', type: 'ext4' },
      { device: '0:44', root: '/in\\', point: '/srv/a b', type: 'fuse.sshfs' },
    ]);
  });
});
