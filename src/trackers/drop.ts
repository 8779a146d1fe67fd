import { protocolName } from '../linux/socket.js';
import { defineTracker, namespaceInode } from '../tracker/define.js';

const ifPorts = (known: boolean, port: number) => (known ? port : null);
const ifIp = (version: number, address: string) => (version ? address : null);

export default defineTracker({
  name: 'drop',
  minimumKernel: '5.17',
  watches:
    "IP packets that the kernel drops: the kernel's reason by name, function, protocol, addresses, ports, device, " +
    'network namespace, container',
  details:
    '{dropReason} [{protocol}] [{sourceAddress@sourcePort} > {targetAddress@targetPort}] [on {device}] in {location}',
  blindSpots: [
    'Packets that are dropped before the kernel makes a socket buffer of them: by network cards, drivers and XDP.',
    'Packets that the kernel drops as if they had been consumed. Without the option `unspecified`, also those for which it gives no ' +
      'reason; with the option, some of what is reported is no loss.',
    'A packet of several segments (GSO, GRO) is one event.',
    'The process is known for TCP sockets, for sockets that exist when the session starts, and for others once a process has sent or ' +
      'received by them: the first datagram of a new socket that is dropped on its way out has none. For a packet of no socket, and for ' +
      'one that is dropped before its socket is found, `process.pid` is 0 and `process.comm` is empty. The container is then that of ' +
      'the socket, or of the network namespace: where several containers share one (the containers of a pod), that of the first process ' +
      'seen in it.',
    'A packet that is dropped between containers, on a bridge for example, is in the network namespace of the device that it is at, ' +
      "mostly the host's.",
  ],
  formerNames: { dropReason: 'reason' },
  optional: { owner_sent: [3], owner_received: [3] },
  blindWithout: [
    {
      programs: ['owner_sent', 'owner_received'],
      what: 'The process of UDP sockets that are made during the session',
      lacking: 'this kernel has no tracepoint sock_send_length (Linux 6.3 and later)',
    },
  ],
  columns: [
    'dropReason',
    'location',
    'protocol',
    'sourceAddress',
    'sourcePort',
    'targetAddress',
    'targetPort',
    'device',
  ],
  indexed: ['dropReason', 'protocol'],
  example: '{ unspecified: false }',
  // What comes to a connection that is shut down in both directions.
  trigger:
    `perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1"); ` +
    `$c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport); $s = $l->accept; ` +
    `shutdown($c, 2); syswrite($s, "late"); select(undef, undef, undef, 0.1)'`,
  pushed: {
    dropReason: { kind: 'text', stem: 'reason', bytes: 64 },
    location: { kind: 'text', stem: 'location', bytes: 64 },
    sourcePort: { kind: 'number', stem: 'source_port', null: -1, min: 0 },
    targetPort: { kind: 'number', stem: 'target_port', null: -1, min: 0 },
    sourceAddress: { kind: 'address', stem: 'source_address' },
    targetAddress: { kind: 'address', stem: 'target_address' },
  },
  fields: {
    protocol: {
      from: ['hasProtocol', 'protocol'],
      read: (known: boolean, protocol: number) => (known ? protocolName(protocol) : null),
    },
    ipVersion: { from: ['ipVersion'], read: (version: number) => version || null },
    sourceAddress: { from: ['ipVersion', 'sourceAddress'], read: ifIp },
    targetAddress: { from: ['ipVersion', 'targetAddress'], read: ifIp },
    sourcePort: { from: ['hasPorts', 'sourcePort'], read: ifPorts },
    targetPort: { from: ['hasPorts', 'targetPort'], read: ifPorts },
    netNs: { from: ['netNs'], read: namespaceInode },
    device: { from: ['device'], read: (name: string) => name || null },
  },
});
