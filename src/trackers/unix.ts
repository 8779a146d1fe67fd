import { socketTypeName } from '../linux/socket.js';
import { defineTracker, pushedErrno, secondProcess } from '../tracker/define.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = ['CONNECT', 'ACCEPT'];

export default defineTracker({
  name: 'unix',
  minimumKernel: '5.17',
  watches:
    'connections over Unix domain sockets, and attempts that fail: path or abstract name, type, the process and ' +
    'container at the other end',
  details: '{unixOperation} [{path}] [peer {peerPid} {peerComm}] [= {errno}]',
  blindSpots: [
    'Connections from before the session, sockets of socketpair(2), and datagrams that are sent to an address without a connect.',
    'The peer is the process that called listen(2), of CONNECT, or connect(2), of ACCEPT. Another process may have the socket by then: ' +
      'one that inherited it, one that was passed it, or, of a service manager, the service that it starts (socket activation).',
    'The peer of datagram sockets, of calls that fail, and one that has ended by then.',
    'The path that a connect passed is read when the call ends: another thread may have changed it by then.',
    'A call whose descriptor another thread closes or replaces while it ends: what the descriptor stands for by then decides.',
    'A path is what the program passed to bind(2) or connect(2): relative ones, symbolic links and mounts are not resolved.',
    'An abstract name whose last bytes are NUL is shown without them; other NULs in it are "@".',
    'io_uring: requests under way when the session starts, such as a multishot accept, and all that it accepts; the path that a connect ' +
      'passed: `requestedPath` is null there, and `path` when it failed. Before Linux 6.13, an accept to a direct descriptor is not ' +
      'seen. If the completion queue is full, requests with equal user_data may be confused with each other.',
    'On arm64, calls of 32-bit programs.',
  ],
  formerNames: { unixOperation: 'operation' },
  columns: ['unixOperation', 'errno', 'path', 'socketType', 'peerPid', 'peerComm', 'peerContainerName'],
  example: '{ operations: [CONNECT] }',
  trigger:
    `node -e 'const path = "/tmp/example.sock", s = net.createServer((c) => c.end()).listen(path, () => ` +
    `net.connect(path).on("close", () => s.close()).resume())'`,
  atCallExit: { unix_exit: null },
  optional: uring('conn'),
  blindWithout: blindWithoutUring('conn', 'Connections through io_uring'),
  constants: (options) => ({
    ...watchedCalls({ connect: 1, accept: 2, accept4: 2 }, process.arch === 'x64' ? { socketcall: 3 } : {}),
    operations: operationMask(operations, options['operations']),
  }),
  pushed: {
    unixOperation: pushedOperation(operations),
    errno: pushedErrno,
    peerPid: { kind: 'number', stem: 'peer_pid', null: 0 },
    path: { kind: 'text', stem: 'path', bytes: 64 },
    requestedPath: { kind: 'text', stem: 'requested_path', bytes: 64 },
  },
  fields: {
    ...secondProcess('peer'),
    socketType: { from: ['socketType'], read: socketTypeName },
  },
});
