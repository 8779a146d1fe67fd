/**
 * Reverse shells, and shells of suspicious parents. Needs the trackers exec and tcp.
 *
 * - A process that connects out and then becomes a shell (same pid: python's dup2 and exec), or whose child becomes one (`nc -e`) within
 *   `windowSeconds`: HIGH. So is a shell that connects out itself (`bash -i >& /dev/tcp/…`).
 * - A shell whose parent is a server program (`servers`): a web server that starts a shell was made to, as a rule: HIGH.
 *
 * Connections to loopback do not count. A shell that is piped through a forwarder which connected long before is not found.
 */
import { definePlugin } from 'eunomia/plugin';

const connections = new Map<string, { readonly to: string; readonly at: number }>();
const shells = new Map<string, true>();
const MAX = 10_000;

const keyOf = (container: { readonly id: string } | null, pid: number): string => `${container?.id ?? ''}/${pid}`;
const nameOf = (path: string | null | undefined): string =>
  path?.slice(path.lastIndexOf('/') + 1).replace(/^-/, '') ?? '';
const isLocal = (address: string): boolean => address.startsWith('127.') || address === '::1';

/** The newest; the oldest are forgotten. */
function remember<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= MAX) break;
    map.delete(oldest);
  }
}

export default definePlugin({
  name: 'reverse-shell',
  version: '1.0.0',
  summary: 'Finds shells that are tied to an outgoing connection, and shells that server programs start.',
  options: {
    shells: {
      type: 'strings',
      default: ['sh', 'bash', 'dash', 'ash', 'zsh', 'ksh', 'fish'],
      description: 'Names of shells.',
    },
    servers: {
      type: 'strings',
      default: [
        'nginx',
        'apache2',
        'httpd',
        'php-fpm',
        'java',
        'node',
        'mysqld',
        'postgres',
        'redis-server',
        'memcached',
      ],
      description: 'Programs (comm) that have no business to start a shell.',
    },
    windowSeconds: {
      type: 'number',
      default: 10,
      min: 1,
      max: 3600,
      description: 'How long after a connection a shell is tied to it, in seconds.',
    },
  },
  metrics: { findings: { type: 'counter', help: 'Shells that were found, by kind.', labels: ['kind'] } },
  reads: {
    exec: ['bootNs', 'time', 'process', 'container', 'executable', 'args', 'parentComm', 'errno'],
    tcp: ['bootNs', 'time', 'process', 'container', 'operation', 'remoteAddress', 'remotePort'],
  },
  onBatch(events, context) {
    const { shells: names, servers, windowSeconds } = context.options;
    for (const event of events) {
      const { process, container } = event;
      const key = keyOf(container, process.pid);
      const at = Number(event.bootNs);
      const find = (kind: string, title: string, message: string): void => {
        context.count('findings', { kind });
        context.emit(kind, { pid: process.pid, container: container?.name ?? null, message });
        context.alert({ severity: 'HIGH', title, message, event, key: `${kind}/${key}` });
      };
      if (event.tracker === 'tcp') {
        if (event.operation !== 'CONNECT' || !event.remoteAddress || isLocal(event.remoteAddress)) continue;
        const to = `${event.remoteAddress}:${event.remotePort}`;
        remember(connections, key, { to, at });
        if (shells.has(key))
          find(
            'reverse-shell',
            'A shell connected out',
            `${process.comm} (pid ${process.pid}), a shell, connected to ${to}`,
          );
        continue;
      }
      if (event.errno !== null) continue;
      // The name that it was called by counts too: in busybox every program is one file.
      if (![nameOf(event.executable), nameOf(event.args?.[0]), process.comm].some((name) => names.includes(name))) {
        shells.delete(key);
        continue;
      }
      remember(shells, key, true);
      const what = `${event.args?.join(' ') ?? process.comm} (pid ${process.pid})`;
      const own = connections.get(key);
      const tied = [own, connections.get(keyOf(container, process.ppid))].find(
        (connection) => connection && at - connection.at <= windowSeconds * 1e9,
      );
      if (tied)
        find(
          'reverse-shell',
          'A shell behind an outgoing connection',
          `${what} is a shell ${tied === own ? 'that' : 'whose parent'} connected to ${tied.to}`,
        );
      if (event.parentComm !== null && servers.includes(event.parentComm))
        find(
          'suspicious-parent',
          'A server program started a shell',
          `${what} is a shell whose parent is ${event.parentComm}`,
        );
    }
  },
});
