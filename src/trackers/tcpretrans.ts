import { defineTracker } from '../tracker/define.js';
import { operationMask, pushedEnum } from '../tracker/operation.js';
import { blindSpotsOfOwner, pushedEnds, tcpStates } from '../tracker/tcp-ends.js';

const reasons = ['HANDSHAKE', 'FAST', 'TIMEOUT', 'TAIL_LOSS_PROBE', 'OTHER'];

const ifEstablished = <Value>(established: boolean, value: Value): Value | null => (established ? value : null);

export default defineTracker({
  name: 'tcpretrans',
  minimumKernel: '5.12',
  watches:
    'TCP segments that are sent again: both ends, why (handshake, fast retransmit, timeout, tail loss probe), ' +
    'state, sequence number, segments, bytes, round-trip time, congestion window; of the process that owns the ' +
    'connection',
  details: '{retransmitReason} {remoteAddress@remotePort} segments {segments} [{state}] [rtt {srttNs}]',
  blindSpots: [
    'Whether a segment was really lost: it, or its acknowledgement, may only have been late. What is lost without being sent ' +
      'again, as the last segments of a connection that is given up, has no event.',
    'What the other end sends again.',
    ...blindSpotsOfOwner,
    'A SYN-ACK that is not sent again since the kernel keeps nothing of the request (SYN cookies).',
    "Retransmission by other protocols (SCTP, QUIC), and by TCP outside the kernel's own: raw and packet sockets, AF_XDP, programs with " +
      'their own network stack.',
    'Before Linux 6.17, attempts that fail, as for want of a route: `errno` is always null there.',
  ],
  formerNames: { retransmitReason: 'reason' },
  columns: [
    'retransmitReason',
    'localAddress',
    'localPort',
    'remoteAddress',
    'remotePort',
    'state',
    'segments',
    'srttNs',
  ],
  example: '{ reasons: [HANDSHAKE, TIMEOUT] }',
  // An address that nobody has, in a network namespace of its own: the SYN is sent again after a second.
  trigger:
    `unshare -n sh -c 'ip link set lo up; ip route add 192.0.2.1 dev lo src 127.0.0.1; ` +
    `node -e "net.connect(9, \\"192.0.2.1\\"); setTimeout(process.exit, 1500)"'`,
  constants: (options) => ({ reasons: operationMask(reasons, options['reasons']) }),
  pushed: {
    retransmitReason: pushedEnum('reason', reasons),
    state: pushedEnum('state', tcpStates),
    ...pushedEnds,
  },
  fields: {
    congestionWindow: { from: ['established', 'congestionWindow'], read: ifEstablished<number> },
  },
});
