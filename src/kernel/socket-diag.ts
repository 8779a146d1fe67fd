import { isIPv4, isIPv6 } from 'node:net';
import koffi from 'koffi';

/** One end of a TCP connection and the other, as the wanted socket sees them. */
export interface Ends {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface SocketOwner {
  /** Of the process that made the socket, in the user namespace of this process. */
  readonly uid: number;
  /** Of the socket, as in the link `socket:[INODE]` of /proc/PID/fd. */
  readonly inode: number;
}

/**
 * Asks the kernel for the owner of a socket in this network namespace (sock_diag(7)): one exchange with the kernel, which
 * does not wait, of some 20 µs. Null when there is no such connection, when no process holds its socket any more, and
 * where the kernel has no tcp_diag.
 */
export function ownerOf(ends: Ends): SocketOwner | null {
  const request = encode(ends);
  return request && exchange(request, ends);
}

// include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h and the kernel's tcp_states.h
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_SOCK_DIAG = 4;
const MSG_DONTWAIT = 0x40;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 1;
const IPPROTO_TCP = 6;
const HEADER = 16;
const REQUEST_BYTES = HEADER + 56;
const REPLY_BYTES = HEADER + 72;
/** Where inet_diag_sockid lies in request and reply. */
const REQUEST_ID = HEADER + 8;
const REPLY_ID = HEADER + 4;
const ID_ADDRESSES = 36;

/**
 * States in which a process holds the socket and its connection was made. Not SYN_SENT: another socket that takes the same
 * ports while ours still waits to be closed. A closed socket that lingers (FIN_WAIT2, TIME_WAIT) has no inode, and the
 * kernel says that its owner is 0.
 */
const HELD = new Set([1 /* ESTABLISHED */, 4 /* FIN_WAIT1 */, 5 /* FIN_WAIT2 */]);

interface Libc {
  socket(family: number, type: number, protocol: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  recv(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  close(fd: number): number;
}

let libc: Libc | null = null;
let sequence = 0;

function loadLibc(): Libc {
  if (libc) return libc;
  const library = koffi.load('libc.so.6');
  const [socket, connect, send, recv, close] = [
    library.func('int socket(int family, int type, int protocol)'),
    library.func('int connect(int fd, const void *address, unsigned int length)'),
    library.func('long send(int fd, const void *bytes, size_t length, int flags)'),
    library.func('long recv(int fd, void *bytes, size_t length, int flags)'),
    library.func('int close(int fd)'),
  ];
  libc = {
    socket: (...args) => Number(socket(...args)),
    connect: (...args) => Number(connect(...args)),
    send: (...args) => Number(send(...args)),
    recv: (...args) => Number(recv(...args)),
    close: (...args) => Number(close(...args)),
  };
  return libc;
}

/** A socket for each exchange: nothing that another one left unread can be taken for the reply. */
function exchange(request: Buffer, ends: Ends): SocketOwner | null {
  const { socket, connect, send, recv, close } = loadLibc();
  const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return null;
  try {
    const kernel = Buffer.alloc(12);
    kernel.writeUInt16LE(AF_NETLINK);
    // Connected to the kernel: messages of others are not received.
    if (connect(fd, kernel, kernel.length) < 0) return null;
    sequence = (sequence + 1) >>> 0;
    request.writeUInt32LE(sequence, 8);
    if (send(fd, request, request.length, 0) !== request.length) return null;
    const reply = Buffer.alloc(4096);
    const length = recv(fd, reply, reply.length, MSG_DONTWAIT);
    return length < REPLY_BYTES ? null : decode(reply, request, ends);
  } finally {
    close(fd);
  }
}

function encode({ localAddress, localPort, remoteAddress, remotePort }: Ends): Buffer | null {
  const local = bytesOf(localAddress);
  const remote = bytesOf(remoteAddress);
  if (!local || local.length !== remote?.length) return null;
  const request = Buffer.alloc(REQUEST_BYTES);
  request.writeUInt32LE(REQUEST_BYTES, 0);
  request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
  request.writeUInt16LE(NLM_F_REQUEST, 6);
  request[HEADER] = local.length === 4 ? AF_INET : AF_INET6;
  request[HEADER + 1] = IPPROTO_TCP;
  request.writeUInt32LE(0xffffffff, HEADER + 4); // all states
  request.writeUInt16BE(localPort, REQUEST_ID);
  request.writeUInt16BE(remotePort, REQUEST_ID + 2);
  request.set(local, REQUEST_ID + 4);
  request.set(remote, REQUEST_ID + 20);
  request.fill(0xff, REQUEST_ID + 40); // no cookie
  return request;
}

function decode(reply: Buffer, request: Buffer, ends: Ends): SocketOwner | null {
  if (reply.readUInt16LE(4) !== SOCK_DIAG_BY_FAMILY || reply.readUInt32LE(8) !== sequence) return null;
  const state = reply[HEADER + 1] ?? 0;
  // Where there is no connection, the kernel looks for a listener at the address: its ports are not these.
  const isOurs = isIPv4(unmapped(ends.localAddress))
    ? reply.readUInt32BE(REPLY_ID) === request.readUInt32BE(REQUEST_ID)
    : reply.compare(request, REQUEST_ID, REQUEST_ID + ID_ADDRESSES, REPLY_ID, REPLY_ID + ID_ADDRESSES) === 0;
  const inode = reply.readUInt32LE(REPLY_ID + 64);
  return isOurs && HELD.has(state) && inode !== 0 ? { uid: reply.readUInt32LE(REPLY_ID + 60), inode } : null;
}

function bytesOf(address: string): Buffer | null {
  const plain = unmapped(address);
  if (isIPv4(plain)) return Buffer.from(plain.split('.').map(Number));
  return isIPv6(plain) ? bytesOf6(plain) : null;
}

function unmapped(address: string): string {
  return address.toLowerCase().startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address;
}

/** Of an address without a dotted part and without a zone: link-local addresses are no loopback. */
function bytesOf6(address: string): Buffer | null {
  if (/[.%]/.test(address)) return null;
  const [head = '', tail] = address.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const bytes = Buffer.alloc(16);
  [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last].forEach((group, i) =>
    bytes.writeUInt16BE(group, i * 2),
  );
  return bytes;
}
