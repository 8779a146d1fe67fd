import { defineTracker, pushedErrno } from './define.js';

const AF_INET = 2;
const AF_INET6 = 10;
const CLOSE = 3;
const operations = ['CONNECT', 'ACCEPT', 'CLOSE', 'CONNECT_FAILED'];

const address = (family: number, text: string | null) => (family === 0 ? null : text);
/** UNKNOWN_BYTES */
const unknown = String(2n ** 64n - 1n);
const atClose = (operation: string, bytes: string) =>
  operation === operations[CLOSE - 1] && bytes !== unknown ? bytes : null;

export default defineTracker({
  name: 'tcp',
  summary: 'TCP connections: connect, accept, close, and connects that fail.',
  minimumKernel: '5.12',
  constants: (options) => ({
    // One bit a value of `enum tcp_operation`, which counts from 1.
    operations: ((options.operations as readonly string[] | null | undefined) ?? []).reduce(
      (mask, name) => mask | (1 << (operations.indexOf(name) + 1)),
      0,
    ),
  }),
  pushed: {
    operation: {
      kind: 'code',
      stem: 'operation',
      max: operations.length,
      read: (code) => operations[code - 1] ?? null,
    },
    errno: pushedErrno,
    localPort: { kind: 'number', stem: 'local_port' },
    remotePort: { kind: 'number', stem: 'remote_port' },
    localAddress: { kind: 'address', stem: 'local_address' },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
  },
  fields: {
    ipVersion: {
      from: ['family'],
      read: (family: number) => (family === AF_INET ? 4 : family === AF_INET6 ? 6 : null),
    },
    localAddress: { from: ['family', 'localAddress'], read: address },
    remoteAddress: { from: ['family', 'remoteAddress'], read: address },
    sentBytes: { from: ['operation', 'sentBytes'], read: atClose },
    receivedBytes: { from: ['operation', 'receivedBytes'], read: atClose },
  },
});
