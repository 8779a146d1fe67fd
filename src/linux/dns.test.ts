import { expect, it } from 'vitest';
import { dnsClassName, dnsOpcodeName, dnsRcodeName, dnsTypeName, dnsTypeNumber, dnsTypes } from './dns.js';

it('names types, and finds the number of each name', () => {
  expect([1, 28, 65, 257].map(dnsTypeName)).toEqual(['A', 'AAAA', 'HTTPS', 'CAA']);
  for (let type = 0; type <= 0xffff; type++) if (dnsTypeNumber(dnsTypeName(type)) !== type) expect(type).toBe(-1);
  expect(dnsTypes).toContain('TXT');
});

it.each(['TYPE1', 'TYPE65536', 'TYPE007', 'a', '', 'toString', 'TYPE'])('knows no type %j', (name) => {
  expect(dnsTypeNumber(name)).toBeNull();
});

it('names classes, kinds of messages and codes, or returns their numbers', () => {
  expect([1, 3, 255, 0x8001].map(dnsClassName)).toEqual(['IN', 'CH', 'ANY', 'CLASS32769']);
  expect([0, 3, 5, 15].map(dnsOpcodeName)).toEqual(['QUERY', '3', 'UPDATE', '15']);
  expect([0, 2, 3, 5, 15].map(dnsRcodeName)).toEqual(['NOERROR', 'SERVFAIL', 'NXDOMAIN', 'REFUSED', '15']);
});
