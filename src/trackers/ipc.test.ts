import { describe, expect, it } from 'vitest';
import { ipcCommand, ipcFlags, semaphoreOperations } from './ipc.js';

describe('the tracker ipc', () => {
  it('names flags by the operation, of which the same bits mean different things', () => {
    expect(ipcFlags('SHM_GET', 0o5000)).toEqual(['IPC_CREAT', 'SHM_HUGETLB']);
    expect(ipcFlags('MSG_RECEIVE', 0o14000)).toEqual(['IPC_NOWAIT', 'MSG_NOERROR']);
    expect(ipcFlags('SHM_ATTACH', 0o10000)).toEqual(['SHM_RDONLY']);
    expect(ipcFlags('MQ_OPEN', 0o102)).toEqual(['O_RDWR', 'O_CREAT']);
    expect(ipcFlags('FD_RECEIVE', 0x40000040)).toEqual(['MSG_DONTWAIT', 'MSG_CMSG_CLOEXEC']);
    expect(ipcFlags('MSG_GET', 0o1000 | (1 << 26))).toEqual(['IPC_CREAT', '0x4000000']);
  });

  it('names commands by the kind of object', () => {
    expect(ipcCommand('SHM_CONTROL', 11)).toBe('SHM_LOCK');
    expect(ipcCommand('SEM_CONTROL', 11)).toBe('GETPID');
    expect(ipcCommand('MSG_CONTROL', 0)).toBe('IPC_RMID');
    expect(ipcCommand('MSG_CONTROL', 77)).toBe('77');
    expect(ipcCommand('SHM_GET', -1)).toBeNull();
  });

  it('writes operations on semaphores with their signs', () => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16LE(65535, 0);
    bytes.writeInt16LE(-32768, 2);
    bytes.writeUInt16LE(0o14000, 4);
    bytes.writeInt16LE(7, 8);
    expect(semaphoreOperations(bytes.toString('latin1'))).toEqual(['65535: -32768 IPC_NOWAIT|SEM_UNDO', '0: +7']);
    expect(semaphoreOperations('')).toEqual([]);
  });
});
