import { defineReport, ifListed } from '../tracker/define-report.js';
import { defineTracker, pushedErrno } from '../tracker/define.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';

const AF_INET = 2;
const AF_INET6 = 10;
const CLOSE = 3;
const operations = ['CONNECT', 'ACCEPT', 'CLOSE', 'CONNECT_FAILED'];

/** `enum end` of the object: what of both ends is known. */
const LOCAL_ADDRESS = 1;
const REMOTE_ADDRESS = 2;
const REMOTE_PORT = 4;

const ifKnown =
  <Value>(bit: number) =>
  (known: number, value: Value): Value | null =>
    known & bit ? value : null;
/** UNKNOWN_BYTES */
const unknown = String(2n ** 64n - 1n);
const atClose = (operation: string, bytes: string) =>
  operation === operations[CLOSE - 1] && bytes !== unknown ? bytes : null;

export default defineTracker({
  name: 'tcp',
  minimumKernel: '5.12',
  watches: 'TCP connections that are established, accepted, closed or fail, IPv4 and IPv6: addresses, bytes, durations',
  details:
    '{tcpOperation} {remoteAddress@remotePort} [{durationNs}] [sent {sentBytes}] [received {receivedBytes}] ' +
    '[= {errno}] [local {localAddress@localPort}]',
  blindSpots: [
    'Connections established before the session have no CONNECT or ACCEPT, and may have no CLOSE if the peer or the kernel closes them.',
    'An MPTCP connection is represented by its first subflow: addresses, establishment and close are ' +
      'those of that subflow. Further subflows have no events; `sentBytes` and `receivedBytes` include ' +
      'their bytes up to the close of the first one.',
    'io_uring: before Linux 6.13, an accept to a direct descriptor is not seen. If the completion queue ' +
      'is full, requests with equal user_data may be confused with each other.',
    'A socket that was passed to or inherited by another process is still attributed to the process that connected or accepted.',
    "TCP outside the kernel's TCP stack: raw and packet sockets, AF_XDP, programs with their own network stack.",
  ],
  formerNames: { tcpOperation: 'operation' },
  columns: ['tcpOperation', 'errno', 'localAddress', 'localPort', 'remoteAddress', 'remotePort', 'durationNs'],
  example: '{ operations: [CONNECT, CONNECT_FAILED] }',
  trigger: `node -e 'net.connect(1, "127.0.0.1").on("error", () => 0)'`,
  atCallExit: { tcp_syscall: ['connect', 'accept', 'accept4', 'socketcall'] },
  optional: uring('conn'),
  blindWithout: blindWithoutUring(
    'conn',
    'Connections that are accepted, and connects that fail without a packet, through io_uring',
  ),
  constants: (options) => ({
    operations: operationMask(operations, options.operations),
  }),
  pushed: {
    tcpOperation: pushedOperation(operations),
    errno: pushedErrno,
    localPort: { kind: 'number', stem: 'local_port', null: -1, min: 0 },
    remotePort: { kind: 'number', stem: 'remote_port', null: -1, min: 0 },
    localAddress: { kind: 'address', stem: 'local_address' },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
  },
  fields: {
    ipVersion: {
      from: ['family'],
      read: (family: number) => (family === AF_INET ? 4 : family === AF_INET6 ? 6 : null),
    },
    localAddress: { from: ['known', 'localAddress'], read: ifKnown<string>(LOCAL_ADDRESS) },
    localPort: { from: ['localPort'], read: (port: number) => port || null },
    remoteAddress: { from: ['known', 'remoteAddress'], read: ifKnown<string>(REMOTE_ADDRESS) },
    remotePort: { from: ['known', 'remotePort'], read: ifKnown<number>(REMOTE_PORT) },
    sentBytes: { from: ['tcpOperation', 'sentBytes'], read: atClose },
    receivedBytes: { from: ['tcpOperation', 'receivedBytes'], read: atClose },
  },
  report: defineReport<'tcp'>({
    feeds: 'network',
    // The other port of a connection is another one each time.
    alike: [
      'tcpOperation',
      { field: 'localAddress', where: 'tcpOperation', is: ['ACCEPT'] },
      { field: 'localPort', where: 'tcpOperation', is: ['ACCEPT'] },
      { field: 'remoteAddress', where: 'tcpOperation', is: ['CONNECT', 'CONNECT_FAILED'] },
      { field: 'remotePort', where: 'tcpOperation', is: ['CONNECT', 'CONNECT_FAILED'] },
    ],
    read: (event) => ({
      operation: event.tcpOperation,
      errno: event.errno,
      localAddress: event.localAddress,
      localPort: event.localPort,
      remoteAddress: event.remoteAddress,
      remotePort: event.remotePort,
      sentBytes: event.sentBytes,
      receivedBytes: event.receivedBytes,
    }),
    restricting: [ifListed('operations', 'operations that are not listed are excluded')],
  }),
});
