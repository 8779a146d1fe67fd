import { sha256 } from '../base/hash.js';

/**
 * What a ClientHello of TLS offers (RFC 8446, 4.1.2). Anybody may have made it: of one that is malformed there is
 * nothing, and nothing throws.
 */
export interface ClientHello {
  /** The highest version that it offers, as on the wire: 0x0304 is TLS 1.3. */
  readonly version: number;
  readonly ciphers: readonly number[];
  /** Types of the extensions, in their order. */
  readonly extensions: readonly number[];
  /** Protocols of the application, the preferred one first. Characters are bytes. */
  readonly alpn: readonly string[];
  readonly signatures: readonly number[];
}

const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const SIGNATURE_ALGORITHMS = 13;
const ALPN = 16;
const SUPPORTED_VERSIONS = 43;
const ENCRYPTED_CLIENT_HELLO = 0xfe0d;
const HASH_DIGITS = 12;

/** Values that clients make up, so that servers ignore what they do not know (RFC 8701). */
function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff);
}

/** Reads numbers and parts of a message one after the other. Past its end it returns null, from then on. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(size: 1 | 2 | 3): number | null {
    if (this.#at + size > this.#bytes.length) return null;
    this.#at += size;
    return this.#bytes.readUIntBE(this.#at - size, size);
  }

  /** A part whose length is before it. */
  part(size: 1 | 2): Buffer | null {
    const length = this.number(size);
    return length === null ? null : this.bytes(length);
  }

  bytes(length: number): Buffer | null {
    if (this.#at + length > this.#bytes.length) return null;
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

/** `hello`: the handshake message, whose characters are bytes. Null for one that is cut or malformed. Pure. */
export function parseClientHello(hello: string): ClientHello | null {
  const message = new Reader(Buffer.from(hello, 'latin1'));
  const kind = message.number(1);
  const body = message.bytes(message.number(3) ?? Number.POSITIVE_INFINITY);
  if (kind !== CLIENT_HELLO || !body) return null;
  const reader = new Reader(body);
  const legacy = reader.number(2);
  reader.bytes(32);
  reader.part(1);
  const ciphers = reader.part(2);
  const compression = reader.part(1);
  if (legacy === null || !ciphers || !compression) return null;
  const found = { version: legacy, alpn: [] as string[], signatures: [] as number[], extensions: [] as number[] };
  const extensions = reader.isAtEnd ? null : reader.part(2);
  if (!extensions && !reader.isAtEnd) return null;
  for (const inner = new Reader(extensions ?? Buffer.alloc(0)); !inner.isAtEnd;) {
    const type = inner.number(2);
    const data = inner.part(2);
    if (type === null || !data) return null;
    found.extensions.push(type);
    const list = new Reader(data);
    if (type === ALPN) found.alpn = parts(list.part(2));
    else if (type === SIGNATURE_ALGORITHMS) found.signatures = numbers(list.part(2));
    else if (type === SUPPORTED_VERSIONS)
      found.version = Math.max(0, ...numbers(list.part(1)).filter((version) => !isGrease(version))) || legacy;
  }
  return { ...found, ciphers: numbers(ciphers) };
}

function numbers(list: Buffer | null): number[] {
  return Array.from({ length: (list?.length ?? 0) >> 1 }, (_, i) => list?.readUInt16BE(2 * i) ?? 0);
}

function parts(list: Buffer | null): string[] {
  const found: string[] = [];
  for (const reader = new Reader(list ?? Buffer.alloc(0)); !reader.isAtEnd;) {
    const part = reader.part(1);
    if (!part) break;
    found.push(part.toString('latin1'));
  }
  return found;
}

const names: Readonly<Record<number, string>> = {
  0x0300: 'SSL 3.0',
  0x0301: 'TLS 1.0',
  0x0302: 'TLS 1.1',
  0x0303: 'TLS 1.2',
  0x0304: 'TLS 1.3',
};

/** 0x0304 → "TLS 1.3"; a version without a name → "0x7f1c". */
export function tlsVersionName(version: number): string {
  return names[version] ?? `0x${version.toString(16).padStart(4, '0')}`;
}

/** Whether the true name is in an extension that only the server can read; the name outside is a public one then. */
export function isEncrypted({ extensions }: ClientHello): boolean {
  return extensions.includes(ENCRYPTED_CLIENT_HELLO);
}

/**
 * The fingerprint JA4 of a client over TCP: equal for equal programs and libraries.
 * https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md
 */
export function ja4({ version, ciphers, extensions, alpn, signatures }: ClientHello): string {
  const offered = ciphers.filter((cipher) => !isGrease(cipher));
  const extended = extensions.filter((type) => !isGrease(type));
  const first = [
    't',
    { 0x0300: 's3', 0x0301: '10', 0x0302: '11', 0x0303: '12', 0x0304: '13' }[version] ?? '00',
    extended.includes(SERVER_NAME) ? 'd' : 'i',
    count(offered),
    count(extended),
    protocolOf(alpn[0]),
  ].join('');
  const sorted = extended.filter((type) => type !== SERVER_NAME && type !== ALPN);
  const signed = signatures.filter((algorithm) => !isGrease(algorithm));
  const hashed = [hex(sorted).sort().join(), ...(signed.length ? [hex(signed).join()] : [])].join('_');
  return `${first}_${hash(hex(offered).sort().join())}_${sorted.length ? hash(hashed) : '0'.repeat(HASH_DIGITS)}`;
}

function count(list: readonly unknown[]): string {
  return String(Math.min(list.length, 99)).padStart(2, '0');
}

/** First and last character of the preferred protocol, or of its bytes in hex where one is neither letter nor digit. */
function protocolOf(protocol: string | undefined): string {
  if (!protocol) return '00';
  const ends = (text: string) => `${text.charAt(0)}${text.charAt(text.length - 1)}`;
  return /^[a-z0-9]{2}$/i.test(ends(protocol)) ? ends(protocol) : ends(Buffer.from(protocol, 'latin1').toString('hex'));
}

const hex = (list: readonly number[]): string[] => list.map((value) => value.toString(16).padStart(4, '0'));

function hash(text: string): string {
  return text === '' ? '0'.repeat(HASH_DIGITS) : sha256(text).slice(0, HASH_DIGITS);
}
