import { expect, it } from 'vitest';
import { capabilities, capabilityName, capabilityNames } from './capability.js';

it('numbers are those of the kernel', () => {
  expect([0, 12, 21, 31, 38, 40].map(capabilityName)).toEqual([
    'CAP_CHOWN',
    'CAP_NET_ADMIN',
    'CAP_SYS_ADMIN',
    'CAP_SETFCAP',
    'CAP_PERFMON',
    'CAP_CHECKPOINT_RESTORE',
  ]);
  expect(capabilities).toHaveLength(41);
});

it('a set is named in the order of numbers, bits without a name by their number', () => {
  expect(capabilityNames('0')).toEqual([]);
  expect(capabilityNames(String((1n << 63n) | (1n << 21n) | 1n))).toEqual(['CAP_CHOWN', 'CAP_SYS_ADMIN', 'CAP_63']);
  expect(capabilityNames('2199023255551')).toEqual(capabilities);
});
