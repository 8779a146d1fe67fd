/** Bits of a number, and their names. A name of several bits stands before those of some of them. */
export type Flags = readonly (readonly [bits: number, name: string])[];

/** Names the bits of a number of 32 bits; those without a name are one hexadecimal number. */
export function flagNames(value: number, known: Flags): string[] {
  const names: string[] = [];
  let rest = value | 0;
  for (const [bits, name] of known) {
    if ((rest & bits) !== bits) continue;
    names.push(name);
    rest &= ~bits;
  }
  return rest ? [...names, `0x${(rest >>> 0).toString(16)}`] : names;
}
