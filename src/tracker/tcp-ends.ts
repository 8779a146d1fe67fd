import type { PushedField } from './define.js';

// Of trackers of TCP that include ends.bpf.h.

/** `enum eu_socket_state` of sock.bpf.h, by its values from 1. */
export const tcpStates = [
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
] as const;

export const pushedEnds: Readonly<Record<string, PushedField>> = {
  localPort: { kind: 'number', stem: 'local_port' },
  remotePort: { kind: 'number', stem: 'remote_port' },
  localAddress: { kind: 'address', stem: 'local_address' },
  remoteAddress: { kind: 'address', stem: 'remote_address' },
};

export const blindSpotsOfOwner: readonly string[] = [
  'The process is the one that connected or, of an accepted connection, the first that received from it since it was accepted; until one ' +
    'does, it is the process that listens, which of a server with several processes may be another one than serves the connection.',
  'A process to which a socket was passed, or that inherited it, is not told from the one that the socket is attributed to.',
  'Where no process is known, as of sockets of the kernel (NFS, CIFS), `process.pid` is 0 and `process.comm` is empty. The ' +
    'container is then that of the socket, or of the network namespace: where several containers share one (the containers of a pod), ' +
    'that of the first process seen in it.',
];
