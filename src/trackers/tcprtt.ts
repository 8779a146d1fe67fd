import { ofFirst } from '../tracker/aggregated.js';
import { defineTracker } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { blindSpotsOfOwner } from '../tracker/tcp-ends.js';

const ifPort = (port: number): number | null => port || null;

export default defineTracker({
  name: 'tcprtt',
  minimumKernel: '5.12',
  watches:
    'round-trip times of TCP connections, aggregated in the kernel by container, process and peer, with histograms: ' +
    'smoothed times and their deviations',
  details: '{remoteAddress@remotePort} [{srttNs}] × {count}',
  blindSpots: [
    "The kernel's round-trip time is smoothed: one measurement changes it by an eighth of the difference. It includes the time that the " +
      'other end takes to acknowledge, which may wait 40 ms and more for data to send along.',
    'A connection is looked at when it receives a segment while it is established, and when its state changes. What changes neither ' +
      'the average nor its deviation is not counted, and of several changes between two looks only the last one is.',
    'A connection from before the session counts once with the average that it has at its first segment.',
    'Connections that are only forwarded, and other protocols (QUIC, SCTP).',
    ...blindSpotsOfOwner,
    "TCP outside the kernel's own: raw and packet sockets, AF_XDP, programs with their own network stack.",
  ],
  columns: ['remoteAddress', 'remotePort', 'localPort', 'count', 'srttNs', 'deviationNs'],
  example: '{ every: "5s" }',
  trigger:
    `node -e 'const s = net.createServer((c) => c.pipe(c)).listen(0, "127.0.0.1", () => { let n = 0; const c = net.connect(` +
    `s.address().port, "127.0.0.1", () => c.write("x")).on("data", () => n++ < 50 ? c.write("x") : (c.end(), s.close())) })'`,
  check: checkEvery,
  constants: () => ({}),
  pushed: {
    localPort: { kind: 'number', stem: 'local_port', null: 0, min: 1 },
    remotePort: { kind: 'number', stem: 'remote_port', null: 0, min: 1 },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
    ...ofFirst,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: { count: null, srttNs: 'srttHistogramNs', deviationNs: null },
  },
  fields: {
    localPort: { from: ['localPort'], read: ifPort },
    remotePort: { from: ['remotePort'], read: ifPort },
  },
});
