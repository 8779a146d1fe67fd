/** Names of the numbers that describe a socket. */

// include/linux/socket.h
const families: Readonly<Record<number, string>> = {
  1: 'AF_UNIX',
  2: 'AF_INET',
  10: 'AF_INET6',
  15: 'AF_KEY',
  16: 'AF_NETLINK',
  17: 'AF_PACKET',
  29: 'AF_CAN',
  30: 'AF_TIPC',
  31: 'AF_BLUETOOTH',
  38: 'AF_ALG',
  40: 'AF_VSOCK',
  43: 'AF_SMC',
  44: 'AF_XDP',
};

// include/uapi/linux/in.h
const protocols: Readonly<Record<number, string>> = {
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  33: 'DCCP',
  58: 'ICMPV6',
  115: 'L2TP',
  132: 'SCTP',
  136: 'UDPLITE',
  255: 'RAW',
  262: 'MPTCP',
};

// include/linux/net.h
const types: Readonly<Record<number, string>> = {
  1: 'SOCK_STREAM',
  2: 'SOCK_DGRAM',
  3: 'SOCK_RAW',
  4: 'SOCK_RDM',
  5: 'SOCK_SEQPACKET',
  6: 'SOCK_DCCP',
};

/** A number without a name is its digits. */
export const familyName = (family: number): string => families[family] ?? String(family);
export const socketTypeName = (type: number): string => types[type] ?? String(type);
/** Of IPv4 and IPv6. */
export const protocolName = (protocol: number): string => protocols[protocol] ?? String(protocol);
