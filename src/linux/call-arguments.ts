/** System calls that one argument tells apart, and which that is, from 0: a family of addresses, an option, a request. It has 32 bits. */
export const callArguments: Readonly<Record<string, number>> = { socket: 0, socketpair: 0, prctl: 0, ioctl: 1 };

/** That argument of a call: null for other calls, and where its arguments, hexadecimal numbers, are not known. */
export function argumentOf(name: string, args: readonly string[] | null | undefined): number | null {
  const text = args?.[callArguments[name] ?? -1];
  return text === undefined ? null : Number(BigInt(text) & 0xffffffffn);
}
