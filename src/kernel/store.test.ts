import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { KernelStore } from './store.js';

const scratch = mkdtempSync(join(tmpdir(), 'eunomia-store-'));
afterAll(() => rmSync(scratch, { recursive: true }));

let folder = '';
let count = 0;
beforeEach(() => {
  folder = join(scratch, String(count++));
});

const value = {
  programs: new Map([['on_exec', { flags: 3, instructions: Uint8Array.from([1, 2, 3]) }]]),
  extra: 2n ** 63n,
  none: null,
};

async function kept(store: KernelStore, source = 'a source'): Promise<string> {
  store.write('one', source, value);
  await store.written;
  return join(folder, 'one');
}

describe('what is kept of the kernel', () => {
  it('is read by a later process, as it was', async () => {
    await kept(new KernelStore(folder, 'a kernel'));
    expect(new KernelStore(folder, 'a kernel').read('one', 'a source')).toEqual(value);
  });

  it('is not there for another kernel, another source, or by another name', async () => {
    await kept(new KernelStore(folder, 'a kernel'));
    expect(new KernelStore(folder, 'another kernel').read('one', 'a source')).toBeNull();
    expect(new KernelStore(folder, 'a kernel').read('one', 'another source')).toBeNull();
    expect(new KernelStore(folder, 'a kernel').read('two', 'a source')).toBeNull();
  });

  it('is replaced by what is written last, and nothing else stays', async () => {
    const store = new KernelStore(folder, 'a kernel');
    for (let i = 0; i < 20; i++) store.write('one', 'a source', i);
    await store.written;
    expect(store.read('one', 'a source')).toBe(19);
    expect(readdirSync(folder)).toEqual(['one']);
  });

  it('is written where a process was killed that wrote, and what that left is removed', async () => {
    await kept(new KernelStore(folder, 'a kernel'));
    for (const name of ['.one.17.0', '.two.18.1']) writeFileSync(join(folder, name), 'the beginning');
    utimesSync(join(folder, '.one.17.0'), 1, 1);
    const store = new KernelStore(folder, 'a kernel');
    await kept(store);
    expect(readdirSync(folder).sort()).toEqual(['.two.18.1', 'one']); // the other one may be being written
    expect(store.read('one', 'a source')).toEqual(value);
  });

  it('is not there where it is damaged: a byte changed anywhere, or cut', async () => {
    const store = new KernelStore(folder, 'a kernel');
    const file = await kept(store);
    const whole = readFileSync(file);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, change, isCut) => {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ change;
        writeFileSync(file, isCut ? whole.subarray(0, at) : bytes);
        expect(store.read('one', 'a source')).toBeNull();
      }),
    );
    await kept(store);
    expect(store.read('one', 'a source')).toEqual(value);
  });

  it('is not read where somebody else could have written it', async () => {
    const store = new KernelStore(folder, 'a kernel');
    const file = await kept(store);
    chmodSync(file, 0o666);
    expect(store.read('one', 'a source')).toBeNull();
    chmodSync(file, 0o600);
    expect(store.read('one', 'a source')).toEqual(value);
    chmodSync(folder, 0o777);
    expect(store.read('one', 'a source')).toBeNull();
    chmodSync(folder, 0o700);
    symlinkSync(file, join(folder, 'link'));
    expect(store.read('link', 'a source')).toBeNull();
  });

  it('is worked out anew where it cannot be written', async () => {
    const store = new KernelStore('/proc/none', 'a kernel');
    store.write('one', 'a source', value);
    await store.written;
    expect(store.read('one', 'a source')).toBeNull();
  });
});
