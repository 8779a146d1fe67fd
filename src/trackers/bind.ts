import { defineReport, ifSet } from '../tracker/define-report.js';
import { protocolName, socketTypeName } from '../linux/socket.js';
import { defineTracker, namespaceInode, pushedErrno } from '../tracker/define.js';
import { pushedOperation } from '../tracker/operation.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = ['BIND', 'LISTEN'] as const;
const AF_INET = 2;
const UNKNOWN = 0xffffffff;

const ifKnown = (value: number) => (value < 0 ? null : value);

export default defineTracker({
  name: 'bind',
  minimumKernel: '5.12',
  watches:
    'IPv4 and IPv6 sockets that are bound or begin to listen, and attempts that fail: address, real port, backlog, ' +
    'protocol',
  details: '{bindOperation} {localAddress@localPort} [{protocol}] [backlog {backlog}] [= {errno}]',
  blindSpots: [
    'Sockets of other families than IPv4 and IPv6, and calls on what is no socket.',
    'Ports that the kernel gives a socket without a bind: at connect, at the first packet that is sent, at a listen (that has its port).',
    'A listening socket that is inherited or received from another process: the event is of the process that made it listen.',
    'The address of a bind that failed is read when the call ends: another thread may have changed it by then.',
    'The address that a bind through io_uring was given: `requestedPort` is null there, and `localAddress` when it failed.',
    'Through io_uring, with IOSQE_CQE_SKIP_SUCCESS: the kernel reports no success. Such a request is ' +
      'reported when it is submitted, with `errno` null, with `localAddress` and `localPort` null, and ' +
      'again if it fails.',
    'On arm64, calls of 32-bit programs.',
  ],
  formerNames: { bindOperation: 'operation' },
  columns: ['bindOperation', 'errno', 'protocol', 'localAddress', 'localPort', 'requestedPort', 'backlog'],
  indexed: ['protocol'],
  example: '{ failedOnly: true }',
  trigger: `node -e 'net.createServer().on("error", () => 0).listen(80, "192.0.2.1")'`,
  atCallExit: { bind_exit: null },
  optional: uring('bind'),
  blindWithout: blindWithoutUring('bind', 'Sockets that are bound or listen through io_uring (Linux 6.11)'),
  constants: (options) => ({
    ...watchedCalls({ bind: 1, listen: 2 }, process.arch === 'x64' ? { socketcall: 3 } : {}),
    failed_only: options.failedOnly === true,
  }),
  pushed: {
    bindOperation: pushedOperation(operations),
    errno: pushedErrno,
    localPort: { kind: 'number', stem: 'port', null: -1, min: 0 },
    localAddress: { kind: 'address', stem: 'address' },
  },
  fields: {
    ipVersion: { from: ['family'], read: (family: number) => (family === AF_INET ? 4 : 6) },
    protocol: { from: ['protocol'], read: protocolName },
    socketType: { from: ['socketType'], read: socketTypeName },
    localAddress: {
      from: ['addressKnown', 'address'],
      read: (known: boolean, address: string) => (known ? address : null),
    },
    localPort: { from: ['port'], read: ifKnown },
    requestedPort: { from: ['requestedPort'], read: ifKnown },
    requestedBacklog: {
      from: ['bindOperation', 'requestedBacklog'],
      read: (operation: string, backlog: number) => (operation === 'LISTEN' ? backlog : null),
    },
    backlog: { from: ['backlog'], read: (backlog: number) => (backlog === UNKNOWN ? null : backlog) },
    netNs: { from: ['netNs'], read: namespaceInode },
  },
  report: defineReport<'bind'>({
    feeds: 'listens',
    alike: ['bindOperation', 'protocol', 'localAddress', 'localPort', 'requestedPort', 'errno'],
    // A socket of UDP that was bound to a port of its choice takes datagrams there; one of TCP takes connections once it listens.
    read: ({ bindOperation, protocol, localAddress, localPort, requestedPort, errno }) =>
      bindOperation === 'LISTEN' || (protocol === 'UDP' && requestedPort !== 0) || errno !== null
        ? { protocol, address: localAddress, port: localPort, errno }
        : null,
    restricting: [ifSet('failedOnly', 'sockets that are bound without an error are excluded')],
  }),
});
