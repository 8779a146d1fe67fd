import { protocolName } from '../linux/socket.js';
import { ofFirst } from '../tracker/aggregated.js';
import { defineTracker } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { blindSpotsOfOwner } from '../tracker/tcp-ends.js';

const ifPort = (port: number): number | null => port || null;
const ofProcess = ['flow_sent', 'flow_received'];
/** They tell what an unconnected socket was addressed to, for the counts of processes. */
const ofAddress = ['flow_sendmsg4', 'flow_sendmsg6', 'flow_recvmsg4', 'flow_recvmsg6'];
const ofWire = ['flow_egress', 'flow_ingress', 'owner_create'];

export default defineTracker({
  name: 'flow',
  minimumKernel: '5.12',
  watches:
    'network traffic, aggregated in the kernel by container, process and peer, TCP and UDP, in two measures: the ' +
    'bytes that processes send and receive, and the packets and bytes on the wire',
  details:
    '[{protocol}] [{remoteAddress@remotePort}] ' +
    'sent {processSentBytes} (wire {wireSentBytes}) received {processReceivedBytes} (wire {wireReceivedBytes})',
  blindSpots: [
    'Packets that are only forwarded, and packets of no socket: answers of the kernel to closed ports (RST, ICMP), and the end of ' +
      'connections whose socket has ended (TIME_WAIT).',
    'Packets that are dropped before they reach the socket, or, where they are sent, after it: a queue, a firewall, a network card. ' +
      'What is sent again counts again. Headers below IP (Ethernet) and tunnels around the packet are not counted.',
    'The bytes of a process are those of its calls: what it maps and sends without a copy (MSG_ZEROCOPY) counts when it is sent; ' +
      'TCP_ZEROCOPY_RECEIVE and splice(2) from a socket of TCP, as proxies use it, do not count as received. Peeks (MSG_PEEK) and error ' +
      'queues do not.',
    'The peer of an unconnected socket that receives without asking for the address (recv, or recvmsg without msg_name): ' +
      '`remoteAddress` is null there for what the process takes; the packets have it.',
    'Packets belong to the process that owns the socket, calls to the process that makes them: of a socket that several processes ' +
      'share, they can be two events.',
    'A socket of UDP belongs to the process that made it, or that sent or received by it last.',
    ...blindSpotsOfOwner,
    "Traffic outside the kernel's own sockets: packet sockets, AF_XDP, programs with their own network stack.",
  ],
  columns: [
    'protocol',
    'remoteAddress',
    'remotePort',
    'localPort',
    'processSentBytes',
    'processReceivedBytes',
    'wireSentBytes',
    'wireReceivedBytes',
  ],
  indexed: ['protocol'],
  example: '{ every: "5s" }',
  trigger:
    `node -e 'const s = net.createServer((c) => c.pipe(c)).listen(0, "127.0.0.1", () => { const c = net.connect(` +
    `s.address().port, "127.0.0.1", () => c.end("x".repeat(1e5))).on("close", () => s.close()).resume() })'`,
  optional: { flow_sent: [3], flow_received: [3] },
  blindWithout: [
    {
      programs: ofProcess,
      what: 'What processes pass to their sockets and take from them, and the owners of UDP sockets that others use',
      lacking: 'this kernel has no tracepoint sock_send_length (Linux 6.3 and later)',
    },
  ],
  check: checkEvery,
  unneeded: ({ levels }) => {
    const chosen = levels as readonly string[] | undefined;
    if (!chosen || chosen.length === 0) return [];
    return [
      ...(chosen.includes('PROCESS') ? [] : [...ofProcess, ...ofAddress]),
      ...(chosen.includes('WIRE') ? [] : ofWire),
    ];
  },
  constants: ({ peers }) => ({ by_peer: peers !== false }),
  pushed: {
    localPort: { kind: 'number', stem: 'local_port', null: 0, min: 1 },
    remotePort: { kind: 'number', stem: 'remote_port', null: 0, min: 1 },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
    ...ofFirst,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: {
      count: null,
      sends: null,
      processSentBytes: null,
      receives: null,
      processReceivedBytes: null,
      wireSentPackets: null,
      wireSentBytes: null,
      wireReceivedPackets: null,
      wireReceivedBytes: null,
    },
    values: {
      processSentBytes: 'sends',
      processReceivedBytes: 'receives',
      wireSentBytes: 'wireSentPackets',
      wireReceivedBytes: 'wireReceivedPackets',
    },
  },
  fields: {
    protocol: { from: ['protocol'], read: protocolName },
    remoteAddress: {
      from: ['remoteKnown', 'remoteAddress'],
      read: (known: boolean, address: string) => (known ? address : null),
    },
    remotePort: { from: ['remotePort'], read: ifPort },
    localPort: { from: ['localPort'], read: ifPort },
  },
});
