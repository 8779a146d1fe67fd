/**
 * Port scans and beacons. Requires the tracker tcp.
 *
 * - Scan: a container (or a process on the host) tries `ports` different ports of one address, or one port of `hosts` different
 *   addresses, within `windowSeconds`: MEDIUM.
 * - Beacon: it connects to one address and port `beats` times, at intervals of at least `minSeconds` whose standard deviation is at most
 *   `jitter` times their mean: LOW. Health checks and metric scrapes do the same: list their addresses in `ignore`.
 */
import { definePlugin } from 'eunomia/plugin';

const byHost = new Map<string, Map<string, number>>();
const byPort = new Map<string, Map<string, number>>();
const beats = new Map<string, number[]>();
const MAX = 5_000;

/** Returns the entry of a key and makes it the newest; evicts the oldest entries. */
function entry<Value>(map: Map<string, Value>, key: string, make: () => Value): Value {
  const value = map.get(key) ?? make();
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= MAX) break;
    map.delete(oldest);
  }
  return value;
}

/** Returns how many different ones were tried within the window. */
function tried(at: Map<string, number>, what: string, now: number, windowMs: number): number {
  at.set(what, now);
  for (const [other, when] of at) if (now - when > windowMs || at.size > 1000) at.delete(other);
  return at.size;
}

export default definePlugin({
  name: 'port-scan',
  version: '1.0.0',
  summary: 'Finds port and host scans, and connections as regular as a beacon.',
  options: {
    ports: {
      type: 'integer',
      default: 15,
      min: 2,
      max: 900,
      description: 'Number of different ports of one address that make a scan.',
    },
    hosts: {
      type: 'integer',
      default: 30,
      min: 2,
      max: 900,
      description: 'Number of different addresses, with the same port, that make a scan.',
    },
    windowSeconds: {
      type: 'number',
      default: 30,
      min: 1,
      max: 3600,
      description: 'Time window of a scan, in seconds.',
    },
    beats: { type: 'integer', default: 8, min: 4, max: 100, description: 'Number of connections that make a beacon.' },
    minSeconds: {
      type: 'number',
      default: 1,
      min: 0.01,
      max: 3600,
      description: 'Minimum mean interval of a beacon, in seconds. Shorter intervals are ordinary traffic.',
    },
    jitter: {
      type: 'number',
      default: 0.15,
      min: 0.01,
      max: 0.5,
      description: "Maximum standard deviation of a beacon's intervals, as a fraction of their mean.",
    },
    ignore: {
      type: 'strings',
      default: [],
      description: 'Addresses, or addresses with port ("10.0.0.1:9090"), to ignore.',
    },
  },
  metrics: { findings: { type: 'counter', help: 'Scans and beacons found, by kind.', labels: ['kind'] } },
  reads: { tcp: ['time', 'bootNs', 'process', 'container', 'tcpOperation', 'remoteAddress', 'remotePort'] },
  where: 'tcp.tcpOperation in ["CONNECT", "CONNECT_FAILED"]',
  onBatch(events, context) {
    const { ports, hosts, windowSeconds, jitter, minSeconds, ignore } = context.options;
    for (const event of events) {
      const { remoteAddress: address, remotePort: port, container, process } = event;
      if (!address || ignore.includes(address) || ignore.includes(`${address}:${port}`)) continue;
      const who = container?.id ?? String(process.pid);
      const name = container ? (container.name ?? container.id.slice(0, 12)) : `${process.comm} (pid ${process.pid})`;
      const now = Number(event.bootNs) / 1e6;
      const find = (kind: string, severity: 'LOW' | 'MEDIUM', title: string, message: string): void => {
        context.count('findings', { kind });
        context.emit(kind, { who: name, address, port }, { event });
        context.alert({
          severity,
          title,
          message,
          event,
          key: `${kind} ${who} ${kind === 'host-scan' ? port : address}`,
        });
      };
      const portCount = tried(
        entry(byHost, `${who} ${address}`, () => new Map()),
        String(port),
        now,
        windowSeconds * 1000,
      );
      if (portCount === ports)
        find(
          'port-scan',
          'MEDIUM',
          'A port scan',
          `${name} tried ${portCount} ports of ${address} within ${windowSeconds} s`,
        );
      const hostCount = tried(
        entry(byPort, `${who} ${port}`, () => new Map()),
        address,
        now,
        windowSeconds * 1000,
      );
      if (hostCount === hosts)
        find(
          'host-scan',
          'MEDIUM',
          'A host scan',
          `${name} tried port ${port} of ${hostCount} addresses within ${windowSeconds} s`,
        );
      const times = entry(beats, `${who} ${address} ${port}`, () => []);
      times.push(now);
      if (times.length > context.options.beats) times.shift();
      if (times.length < context.options.beats) continue;
      const intervals = times.slice(1).map((time, i) => time - (times[i] ?? 0));
      const mean = intervals.reduce((sum, each) => sum + each, 0) / intervals.length;
      const deviation = Math.sqrt(intervals.reduce((sum, each) => sum + (each - mean) ** 2, 0) / intervals.length);
      if (mean < minSeconds * 1000 || deviation > jitter * mean) continue;
      find(
        'beacon',
        'LOW',
        'Connections as regular as a beacon',
        `${name} connects to ${address}:${port} every ${(mean / 1000).toFixed(1)} s`,
      );
    }
  },
});
