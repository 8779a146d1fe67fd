import type { FieldValue } from '../../../event/event.js';

const PRIME_1 = 2654435761;
const PRIME_2 = 1597334677;
const TWO_21 = 0x1fffff;

/** 53 well mixed bits of a value, never 0. Two different values share them once in 10^16 (cyrb53, public domain). */
export function hash53(value: Exclude<FieldValue, null>): number {
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, PRIME_1);
    b = Math.imul(b ^ code, PRIME_2);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (b & TWO_21) * 4294967296 + (a >>> 0) || 1;
}
