import { syscallName } from '../syscalls.js';
import { defineTracker, pushedErrno } from './define.js';
import { pushedName, syscallConstants, syscallSelection } from './syscall-set.js';

export default defineTracker({
  name: 'syscall',
  summary: 'System calls: each one, with its result and how long it took.',
  minimumKernel: '5.12',
  check: (options, where) => void syscallSelection(options, where),
  constants: (options) => ({ ...syscallConstants(options), failed_only: options.failedOnly === true }),
  demanded: { syscall_enter: 'durationNs' },
  pushed: {
    nr: { kind: 'number', stem: 'nr' },
    name: pushedName,
    errno: pushedErrno,
    ret: { kind: 'number', stem: 'ret' },
  },
  fields: {
    name: { from: ['nr'], read: syscallName },
  },
});
