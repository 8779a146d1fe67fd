import { defineTracker, namespaceInode, pushedErrno } from '../tracker/define.js';
import { operationMask, pushedEnum } from '../tracker/operation.js';

const operations = ['SEND', 'RECEIVE'] as const;

const ifKnown = <Value>(known: boolean, value: Value): Value | null => (known ? value : null);

export default defineTracker({
  name: 'udp',
  minimumKernel: '6.3',
  watches:
    'datagrams that processes send and receive, and attempts that fail: bytes, both ends, of unconnected sockets ' +
    'too',
  details: '{udpOperation} {remoteAddress@remotePort} {payloadBytes} [= {errno}] [local {localAddress@localPort}]',
  blindSpots: [
    'Datagrams that no process takes: that arrive and are dropped (see the tracker drop), or that wait when the session ends. What is ' +
      'sent may never arrive.',
    'One call is one event: with UDP_SEGMENT it sends many datagrams, with UDP_GRO it receives many.',
    'Peeks (MSG_PEEK), error queues, and receives that find nothing (EAGAIN).',
    'The peer of an unconnected socket that receives without asking for the address (recv, or recvmsg without msg_name).',
    'The address is the one that the process passed: NAT may have changed it. A socket that is bound to all addresses has "0.0.0.0" ' +
      'or "::" as its own.',
    'Datagrams that the kernel itself sends and receives, as those of VXLAN and WireGuard, UDP-Lite, and packet and raw sockets.',
  ],
  columns: ['udpOperation', 'errno', 'payloadBytes', 'localAddress', 'localPort', 'remoteAddress', 'remotePort'],
  example: '{ operations: [SEND] }',
  trigger:
    `node -e 'const s = dgram.createSocket("udp4").bind(0, "127.0.0.1", () => s.send("hello", s.address().port, "127.0.0.1"))` +
    `.on("message", () => s.close())'`,
  constants: (options) => ({
    operations: operationMask(operations, options['operations']),
    failed_only: options['failedOnly'] === true,
  }),
  pushed: {
    udpOperation: pushedEnum('udp_operation', operations),
    errno: pushedErrno,
    localPort: { kind: 'number', stem: 'local_port' },
    remotePort: { kind: 'number', stem: 'remote_port', null: -1, min: 0 },
    localAddress: { kind: 'address', stem: 'local_address' },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
  },
  fields: {
    remoteAddress: { from: ['remoteKnown', 'remoteAddress'], read: ifKnown<string> },
    remotePort: { from: ['remoteKnown', 'remotePort'], read: ifKnown<number> },
    netNs: { from: ['netNs'], read: namespaceInode },
  },
});
