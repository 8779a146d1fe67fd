import { describe, expect, it } from 'vitest';
import { compatCalls, nativeCalls } from '../linux/syscalls.js';
import fileio from './fileio.js';

const NATIVE = 576;
const watched = (fileio.constants?.({}) ?? {})['eu_calls'] as Uint16Array;

describe('the tracker fileio', () => {
  it('watches the same calls of the 32-bit ABI, and both that copy to a socket or file there', () => {
    for (const name of ['read', 'pwritev2', 'sendfile', 'copy_file_range', 'splice']) {
      const [native = 0] = nativeCalls(name);
      const compat = compatCalls(name);
      expect(watched[native]).toBeGreaterThan(0);
      expect(compat).not.toEqual([]);
      for (const nr of compat) expect(watched[NATIVE + nr]).toBe(watched[native]);
    }
    // sendfile is for offsets of 32 bits, and what programs call with large files is the other.
    expect(compatCalls('sendfile64')).toEqual([239]);
    expect(watched[NATIVE + 239]).toBe(watched[NATIVE + (compatCalls('sendfile')[0] ?? 0)]);
  });
});
