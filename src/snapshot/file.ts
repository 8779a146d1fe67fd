import { deviceNumbers } from '../tracker/block.js';
import { ifPath } from '../tracker/define.js';
import { openFlags } from '../tracker/open-flags.js';
import type { SnapshotDefinition } from './definition.js';

export const fileSnapshot: SnapshotDefinition = {
  name: 'file',
  type: 'OpenFile',
  noun: 'open file',
  minimumKernel: '5.17',
  fields: {
    flags: { from: ['flags'], read: (flags: number) => openFlags(BigInt(flags)) },
    device: { from: ['device'], read: deviceNumbers },
    deleted: { from: ['pathState', 'deleted'], read: ifPath },
  },
};
