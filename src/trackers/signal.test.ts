import { expect, it } from 'vitest';
import { signalCode } from './signal.js';

it.each([
  [15, 0, 'SI_USER'],
  [11, 1, 'SEGV_MAPERR'],
  [11, 128, 'SI_KERNEL'],
  [17, 6, 'CLD_CONTINUED'],
  [31, 1, 'SYS_SECCOMP'],
  [10, -6, 'SI_TKILL'],
  [10, 1, '1'], // only the kernel's own signals have codes of their own
  [11, 99, '99'],
  [36, -77, '-77'],
])('of signal %i the code %i is %s', (signal, code, name) => expect(signalCode(signal, code)).toBe(name));
