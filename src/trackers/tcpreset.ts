import { defineTracker } from '../tracker/define.js';
import { operationMask, pushedEnum } from '../tracker/operation.js';
import { blindSpotsOfOwner, pushedEnds } from '../tracker/tcp-ends.js';

const directions = ['SENT', 'RECEIVED'];

export default defineTracker({
  name: 'tcpreset',
  minimumKernel: '5.12',
  watches:
    "TCP resets that are sent and received: both ends, state, the kernel's reason for sending (Linux 6.10); of the " +
    'process that owns the connection',
  details: '{direction} {remoteAddress@remotePort} [{state}] [{resetReason}] [local {localAddress@localPort}]',
  blindSpots: [
    'Resets that the kernel ignores, as those with a wrong sequence number, and those that end an attempt to connect to this machine ' +
      'before it was accepted by its handshake: no socket receives them.',
    'Resets that firewalls send (REJECT with tcp-reset) or remove on the way, and those of connections that are only forwarded.',
    'The kernel says why it sends a reset, from Linux 6.10 on, and not why the other end has sent one.',
    ...blindSpotsOfOwner,
    "TCP outside the kernel's own: raw and packet sockets, AF_XDP, programs with their own network stack.",
  ],
  formerNames: { resetReason: 'reason' },
  columns: ['direction', 'localAddress', 'localPort', 'remoteAddress', 'remotePort', 'state', 'resetReason'],
  indexed: ['resetReason'],
  example: '{ directions: [SENT] }',
  trigger:
    `node -e 'const s = net.createServer((c) => c.resetAndDestroy()).listen(0, "127.0.0.1", () => ` +
    `net.connect(s.address().port, "127.0.0.1").on("error", () => s.close()))'`,
  constants: (options) => ({ directions: operationMask(directions, options['directions']) }),
  pushed: {
    direction: pushedEnum('direction', directions),
    resetReason: { kind: 'text', stem: 'reason', bytes: 64 },
    ...pushedEnds,
  },
  fields: {
    resetReason: { from: ['resetReason'], read: (reason: string) => reason || null },
  },
});
