/** System calls that one argument tells apart, and which that is, from 0: a family of addresses, an option, a request. It has 32 bits. */
export const callArguments: Readonly<Record<string, number>> = { socket: 0, socketpair: 0, prctl: 0, ioctl: 1 };
