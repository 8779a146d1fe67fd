import { invalid } from '../base/errors.js';
import { protocolName } from '../linux/socket.js';
import { defineTracker, namespaceInode, type TrackerOptions } from '../tracker/define.js';
import { operationMask, pushedEnum } from '../tracker/operation.js';
import { blindSpotsOfOwner } from '../tracker/tcp-ends.js';

const directions = ['SENT', 'RECEIVED'] as const;
/** SNAP_MAX of the object. */
const MOST_BYTES = 16_384;
/** Of `where` in the kernel. */
const UNKNOWN_PROTOCOL = 256;
/** By bit, from the lowest. */
const tcpFlags = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

const ifKnown = <Value>(known: boolean, value: Value): Value | null => (known ? value : null);
const ifIp = (version: number, address: string): string | null => ifKnown(version > 0, address);

function check(options: TrackerOptions, path: string): void {
  const length = options['snapLength'] as number | null | undefined;
  if (typeof length === 'number' && (length < 0 || length > MOST_BYTES))
    throw invalid(
      `${path}.snapLength`,
      `is ${length}; give 0 to ${MOST_BYTES} bytes, for example 128 for headers, or 1500 for whole packets of Ethernet`,
    );
}

export default defineTracker({
  name: 'packet',
  minimumKernel: '5.12',
  watches:
    'IP packets that sockets send and receive, with their first bytes: direction, addresses, ports, flags of TCP, ' +
    'size, process and container; exported as pcapng for Wireshark',
  details:
    '{packetDirection} [{protocol}] [{sourceAddress@sourcePort} > {targetAddress@targetPort}] {packetBytes} [{tcpFlags}]',
  blindSpots: [
    'Packets that are only forwarded, and packets of no socket: answers of the kernel to closed ports (RST, ICMP), and the end of ' +
      'connections whose socket has ended (TIME_WAIT). Packet sockets, AF_XDP, and programs with their own network stack.',
    'Packets that are dropped before they reach the socket, or, where they are sent, after it: see the tracker drop.',
    'Headers below IP (Ethernet) and tunnels around the packet. What is sent is seen after NAT, and before it is cut into fragments.',
    'A packet of several segments (GSO, GRO) is one event, of up to 64 KiB, as tcpdump shows it. Checksums may not be computed yet.',
    `More than the first bytes of a packet: \`snapLength\`, ${MOST_BYTES} at most.`,
    'A socket of UDP belongs to the process that made it, or that sent or received by it last.',
    ...blindSpotsOfOwner,
  ],
  columns: [
    'packetDirection',
    'protocol',
    'sourceAddress',
    'sourcePort',
    'targetAddress',
    'targetPort',
    'packetBytes',
    'tcpFlags',
  ],
  indexed: ['protocol'],
  example: '{ snapLength: 1500 }',
  trigger:
    `node -e 'const s = dgram.createSocket("udp4").bind(0, "127.0.0.1", () => s.send("hello", s.address().port, "127.0.0.1"))` +
    `.on("message", () => s.close())'`,
  optional: { owner_sent: [3], owner_received: [3] },
  blindWithout: [
    {
      programs: ['owner_sent', 'owner_received'],
      what: 'That a UDP socket is used by another process than the one that made it',
      lacking: 'this kernel has no tracepoint sock_send_length (Linux 6.3 and later)',
    },
  ],
  check,
  constants: (options) => ({
    snap_length: (options['snapLength'] as number | null | undefined) ?? 256,
    directions: operationMask(directions, options['directions']),
  }),
  pushed: {
    packetDirection: pushedEnum('packet_direction', directions),
    packetBytes: { kind: 'number', stem: 'packet_bytes' },
    protocol: {
      kind: 'code',
      stem: 'protocol',
      max: UNKNOWN_PROTOCOL,
      read: (n) => ifKnown(n < UNKNOWN_PROTOCOL, protocolName(n)),
    },
    sourcePort: { kind: 'number', stem: 'source_port', null: -1, min: 0 },
    targetPort: { kind: 'number', stem: 'target_port', null: -1, min: 0 },
    sourceAddress: { kind: 'address', stem: 'source_address' },
    targetAddress: { kind: 'address', stem: 'target_address' },
  },
  fields: {
    protocol: {
      from: ['hasProtocol', 'protocol'],
      read: (known: boolean, n: number) => ifKnown(known, protocolName(n)),
    },
    ipVersion: { from: ['ipVersion'], read: (version: number) => ifKnown(version > 0, version) },
    sourceAddress: { from: ['ipVersion', 'sourceAddress'], read: ifIp },
    targetAddress: { from: ['ipVersion', 'targetAddress'], read: ifIp },
    sourcePort: { from: ['hasPorts', 'sourcePort'], read: ifKnown<number> },
    targetPort: { from: ['hasPorts', 'targetPort'], read: ifKnown<number> },
    tcpFlags: {
      from: ['hasTcp', 'tcpFlags'],
      read: (known: boolean, flags: number) =>
        ifKnown(
          known,
          tcpFlags.filter((_, bit) => flags & (1 << bit)),
        ),
    },
    device: { from: ['device'], read: (name: string) => name || null },
    netNs: { from: ['netNs'], read: namespaceInode },
    data: {
      from: ['data'],
      read: (bytes: string | null) => (bytes === null ? null : Buffer.from(bytes, 'latin1').toString('base64')),
    },
  },
});
