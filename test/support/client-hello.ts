/** A ClientHello of TLS as a test makes it. */

export const u16 = (...values: readonly number[]) => Buffer.from(values.flatMap((value) => [value >> 8, value & 255]));
export const sized = (bytes: Buffer) => Buffer.concat([u16(bytes.length), bytes]);
export const extension = (type: number, data: Buffer) => Buffer.concat([u16(type), sized(data)]);

export function hello(ciphers: readonly number[], extensions: Buffer | null, version = 0x0303): Buffer {
  const body = Buffer.concat([
    u16(version),
    Buffer.alloc(32),
    Buffer.of(0),
    sized(u16(...ciphers)),
    Buffer.of(1, 0),
    ...(extensions ? [sized(extensions)] : []),
  ]);
  return Buffer.concat([Buffer.of(1, 0), u16(body.length), body]);
}
