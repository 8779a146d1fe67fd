import { familyName, protocolName, socketTypeName } from '../linux/socket.js';
import { namespaceInode } from '../tracker/define.js';
import type { SnapshotDefinition } from './definition.js';

// include/linux/socket.h
const AF_INET = 2;
const AF_INET6 = 10;

const isInet = (family: number): boolean => family === AF_INET || family === AF_INET6;
const ifTcp = <Value>(has: boolean, value: Value): Value | null => (has ? value : null);
const ifPort = (port: number): number | null => (port < 0 ? null : port);

export const socketSnapshot: SnapshotDefinition = {
  name: 'socket',
  type: 'Socket',
  noun: 'socket',
  minimumKernel: '5.11',
  fields: {
    family: { from: ['family'], read: familyName },
    socketType: { from: ['socketType'], read: socketTypeName },
    protocol: {
      from: ['family', 'protocol'],
      read: (family: number, protocol: number) => (isInet(family) ? protocolName(protocol) : null),
    },
    localAddress: {
      from: ['family', 'localIp'],
      read: (family: number, ip: string) => (isInet(family) ? ip : null),
    },
    localPort: { from: ['localPort'], read: ifPort },
    remoteAddress: {
      from: ['family', 'remotePort', 'remoteIp'],
      read: (family: number, port: number, ip: string) => (isInet(family) && port >= 0 ? ip : null),
    },
    remotePort: { from: ['remotePort'], read: ifPort },
    netNs: { from: ['netNs'], read: namespaceInode },
    peerInode: { from: ['peerInode'], read: (inode: string) => (inode === '0' ? null : inode) },
    cwnd: { from: ['hasTcp', 'cwnd'], read: ifTcp },
    mssBytes: { from: ['hasTcp', 'mss'], read: ifTcp },
    retransmits: { from: ['hasTcp', 'retransmits'], read: ifTcp },
    sentBytes: { from: ['hasTcp', 'sentBytes'], read: ifTcp },
    receivedBytes: { from: ['hasTcp', 'receivedBytes'], read: ifTcp },
    sendQueueBytes: { from: ['hasTcp', 'sendQueue'], read: ifTcp },
    receiveQueueBytes: { from: ['hasTcp', 'receiveQueue'], read: ifTcp },
    backlog: {
      from: ['family', 'state', 'backlog'],
      read: (family: number, state: string | null, backlog: number) =>
        isInet(family) && state === 'LISTEN' ? backlog : null,
    },
    backlogLimit: {
      from: ['state', 'backlogLimit'],
      read: (state: string | null, limit: number) => (state === 'LISTEN' ? limit : null),
    },
  },
};
