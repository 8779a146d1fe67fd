/** DNS messages as a test makes them. */

export const A = 1;
export const AAAA = 28;

export interface Question {
  readonly id: number;
  readonly name: string;
  readonly type: number;
}

/** Labels of a name, with their lengths. */
export function encodeName(name: string): Buffer {
  const labels = name === '.' ? [] : name.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')])),
    Buffer.of(0),
  ]);
}

export function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  values.forEach((value, i) => bytes.writeUInt16BE(value, 2 * i));
  return bytes;
}

export function encodeQuery(id: number, name: string | Buffer, type = A, ofClass = 1): Buffer {
  const question = typeof name === 'string' ? encodeName(name) : name;
  return Buffer.concat([numbers(id, 0x0100, 1, 0, 0, 0), question, numbers(type, ofClass)]);
}

/** Behind the header and the question of a query. */
function questionEnd(query: Buffer): number {
  let at = 12;
  while (query[at]) at += 1 + (query[at] ?? 0);
  return at + 5;
}

export function decodeQuery(query: Buffer): Question {
  const labels: string[] = [];
  let at = 12;
  for (let size = query[at] ?? 0; size; size = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size));
    at += 1 + size;
  }
  return { id: query.readUInt16BE(0), name: labels.join('.'), type: query.readUInt16BE(at + 1) };
}

/** A response with these records, each behind a pointer to the question's name. `flags` beside QR, RD and RA. */
export function encodeResponse(
  query: Buffer,
  records: readonly { readonly type: number; readonly data: Buffer; readonly name?: Buffer }[],
  flags = 0,
): Buffer {
  return Buffer.concat([
    query.subarray(0, 2),
    numbers(0x8180 | flags, 1, records.length, 0, 0),
    query.subarray(12, questionEnd(query)),
    ...records.flatMap(({ type, data, name = numbers(0xc00c) }) => [name, numbers(type, 1, 0, 300, data.length), data]),
  ]);
}
