import { expect, it } from 'vitest';
import capability from './capability.js';

const check = (options: Readonly<Record<string, unknown>>) => () =>
  capability.check?.(options, 'trackers[0].capability');

it('an option with a name that no capability has is refused, with near ones', () => {
  expect(check({ capabilities: ['CAP_CHOWN', 'CAP_NET_ADMN'] })).toThrow(
    'trackers[0].capability.capabilities[1]: there is no capability "CAP_NET_ADMN"; did you mean "CAP_NET_ADMIN"',
  );
  expect(check({ capabilities: ['zzzzzzzzzzzzzzz'] })).toThrow('write names as in capabilities(7)');
  expect(check({ capabilities: [] })).toThrow('is empty');
  expect(check({ every: 10 })).toThrow('10 ms is out of range');
  expect(check({ capabilities: ['CAP_63', 'CAP_BPF'], every: 50 })).not.toThrow();
});

it('chosen capabilities are bits', () => {
  const constants = capability.constants?.({ capabilities: ['CAP_CHOWN', 'CAP_SYS_ADMIN', 'CAP_63'] });
  expect(constants?.['capabilities']).toBe((1n << 63n) | (1n << 21n) | 1n);
  expect(capability.constants?.({})['capabilities']).toBe(0n);
});
