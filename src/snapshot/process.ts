import { ifPath, namespaceInode } from '../tracker/define.js';
import type { SnapshotDefinition } from './definition.js';

const ifMemory = (has: boolean, value: string): string | null => (has ? value : null);

export const processSnapshot: SnapshotDefinition = {
  name: 'process',
  type: 'RunningProcess',
  noun: 'process',
  minimumKernel: '5.17',
  fields: {
    pidNs: { from: ['pidNs'], read: namespaceInode },
    netNs: { from: ['netNs'], read: namespaceInode },
    residentBytes: { from: ['hasMemory', 'residentBytes'], read: ifMemory },
    virtualBytes: { from: ['hasMemory', 'virtualBytes'], read: ifMemory },
    executableDeleted: { from: ['executableState', 'executableDeleted'], read: ifPath },
  },
};
