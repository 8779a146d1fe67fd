/**
 * Reverse shells, and shells started by servers. Requires the trackers exec and tcp.
 *
 * HIGH:
 * - a shell whose standard input is a network connection (bash, python, `nc -e`, socat);
 * - an interactive shell that connects out, or whose parent did so within `windowSeconds` (pty.spawn);
 * - a shell beside a relay program (`relays`) that connects out (`mkfifo f; sh -i <f | nc HOST PORT >f`).
 * MEDIUM: any other shell that connects out itself (`/dev/tcp`), and a shell whose parent is one of `servers`.
 * Not seen: shells with names other than `shells`, connections to loopback (a tunnel), and shells whose input comes from a program that
 * connected earlier than `windowSeconds` before.
 */
import { definePlugin } from 'eunomia/plugin';

type Connection = { readonly to: string; readonly at: number; readonly comm: string };
type Shell = { readonly at: number; readonly what: string; readonly interactive: boolean };

const connections = new Map<string, Connection>();
/** By the parent: a relay that connected, a shell that reads a pipe or is interactive. */
const relayed = new Map<string, Connection>();
const siblings = new Map<string, Shell>();
const shells = new Map<string, Shell>();
const MAX = 10_000;

const nameOf = (path: string | null | undefined): string =>
  path?.slice(path.lastIndexOf('/') + 1).replace(/^-/, '') ?? '';
const isLocal = (address: string): boolean => /^(::ffff:)?127\.|^::1$/.test(address);
/** Without a command or a script: somebody types, or a program that pretends to. */
const isInteractive = (args: readonly string[] | null): boolean =>
  args !== null &&
  (args.slice(1).some((arg) => /^-[a-z]*i/.test(arg)) || args.slice(1).every((arg) => /^-[^c]*$/.test(arg)));

/** Stores a value as the newest; evicts the oldest. */
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
  version: '2.0.0',
  summary: 'Finds shells controlled through an outgoing connection, and shells started by server programs.',
  options: {
    shells: {
      type: 'strings',
      default: ['sh', 'bash', 'dash', 'ash', 'zsh', 'ksh', 'fish'],
      description: 'Names of shells.',
    },
    relays: {
      type: 'strings',
      default: ['nc', 'ncat', 'netcat', 'nc.openbsd', 'nc.traditional', 'socat', 'telnet', 'openssl', 'exe'],
      description: 'Programs (comm) that relay a connection; the shell of busybox runs its own nc as "exe".',
    },
    servers: {
      type: 'strings',
      default: ['nginx', 'apache2', 'httpd', 'php-fpm', 'mysqld', 'mariadbd', 'redis-server', 'memcached'],
      description: 'Server programs (comm) that normally never start a shell.',
    },
    windowSeconds: {
      type: 'number',
      default: 10,
      min: 1,
      max: 3600,
      description: 'Maximum time between a connection and a shell, in seconds.',
    },
  },
  metrics: { findings: { type: 'counter', help: 'Shells found, by kind.', labels: ['kind'] } },
  reads: {
    exec: ['bootNs', 'time', 'process', 'container', 'executable', 'args', 'parentComm', 'errno', 'stdin'],
    tcp: ['bootNs', 'time', 'process', 'container', 'tcpOperation', 'remoteAddress', 'remotePort'],
  },
  onBatch(events, context) {
    const { shells: names, relays, servers, windowSeconds } = context.options;
    for (const event of events) {
      const { process, container } = event;
      const of = (pid: number): string => `${container?.id ?? ''}/${pid}`;
      const [own, parent, at] = [of(process.pid), of(process.ppid), Number(event.bootNs)];
      const near = <Value extends { readonly at: number }>(value: Value | undefined): Value | undefined =>
        value && Math.abs(at - value.at) <= windowSeconds * 1e9 ? value : undefined;
      // The same finding in the same container is one alert, whichever process it is.
      const find = (kind: string, severity: 'HIGH' | 'MEDIUM', title: string, message: string, about: string): void => {
        context.count('findings', { kind });
        context.emit(kind, { pid: process.pid, container: container?.name ?? null, message }, { event });
        context.alert({ severity, title, message, event, key: `${kind}/${container?.id ?? ''}/${about}` });
      };
      const behind = (what: string, { to, comm }: Connection): void =>
        find(
          'reverse-shell',
          'HIGH',
          'A shell behind an outgoing connection',
          `${what}, behind a connection of ${comm} to ${to}`,
          to,
        );
      if (event.tracker === 'tcp') {
        if (event.tcpOperation !== 'CONNECT' || !event.remoteAddress || isLocal(event.remoteAddress)) continue;
        const connection = { to: `${event.remoteAddress}:${event.remotePort}`, at, comm: process.comm };
        remember(connections, own, connection);
        const shell = shells.get(own);
        if (shell)
          find(
            'connecting-shell',
            shell.interactive ? 'HIGH' : 'MEDIUM',
            'A shell connected out',
            `${shell.what} connected to ${connection.to}`,
            connection.to,
          );
        if (!relays.includes(process.comm)) continue;
        remember(relayed, parent, connection);
        const beside = near(siblings.get(parent));
        if (beside) behind(beside.what, connection);
        continue;
      }
      if (event.errno !== null) continue;
      // The name that it was called by counts too: in busybox every program is one file.
      if (![nameOf(event.executable), nameOf(event.args?.[0]), process.comm].some((name) => names.includes(name))) {
        shells.delete(own);
        continue;
      }
      const shell = {
        at,
        what: `${event.args?.join(' ') ?? process.comm} (pid ${process.pid})`,
        interactive: isInteractive(event.args),
      };
      remember(shells, own, shell);
      if (event.stdin === 'PIPE' || event.args?.some((arg) => arg === '-i')) remember(siblings, parent, shell);
      const started = near(connections.get(parent));
      const beside = siblings.get(parent) === shell ? near(relayed.get(parent)) : undefined;
      if (event.stdin === 'INET_SOCKET')
        behind(
          `${shell.what} reads its commands from the network`,
          near(connections.get(own)) ??
            started ?? { to: 'an address that was not seen', at, comm: event.parentComm ?? process.comm },
        );
      else if (started && (shell.interactive || relays.includes(started.comm))) behind(shell.what, started);
      else if (beside) behind(shell.what, beside);
      if (event.parentComm !== null && servers.includes(event.parentComm))
        find(
          'suspicious-parent',
          'MEDIUM',
          'A server program started a shell',
          `${shell.what} is a shell whose parent is ${event.parentComm}`,
          event.parentComm,
        );
    }
  },
});
