import { ipv4Text, ipv6Text } from '../base/address.js';
import { dnsClassName, dnsTypeName } from '../linux/dns.js';

const HEADER_BYTES = 12;
const NAME_BYTES = 255;
const TYPE_A = 1;
const TYPE_AAAA = 28;
/** A name has few: each label may have one, but servers point at names that are as whole as they can be. */
const MOST_POINTERS = 16;
/** Pointers and escapes make a hundred times as much text of a message as it has bytes. */
const MOST_TEXT = 16 * 1024;

/** A record of a message, with offsets in it. Anybody may have made the message. */
interface DnsRecord {
  readonly name: Name;
  readonly type: number;
  readonly class: number;
  /** In seconds. */
  readonly ttl: number;
  /** The data, and behind it. */
  readonly start: number;
  readonly end: number;
}

/**
 * Returns the answers of a message as dig shows them, with single spaces: "example.com 300 IN A 192.0.2.1". Data of a type without a
 * notation of its own is `\# LENGTH HEX` (RFC 3597). The list ends at what is cut or malformed, and before it has more than 16 KiB of
 * text. Characters of `message` are bytes. Pure.
 */
export function dnsAnswers(message: string): string[] {
  const bytes = Buffer.from(message, 'latin1');
  const answers: string[] = [];
  let size = 0;
  for (const { name, type, class: of, ttl, start, end } of records(bytes)) {
    const data = dataText(bytes, type, start, end) ?? unknown(bytes, start, end);
    const text = `${textOf(bytes, name)} ${ttl} ${dnsClassName(of)} ${dnsTypeName(type)} ${data}`;
    size += text.length;
    if (size > MOST_TEXT) break;
    answers.push(text);
  }
  return answers;
}

/** Returns the addresses among the answers of a message, without making text of anything else. Pure. */
export function dnsAddresses(message: string): string[] {
  const bytes = Buffer.from(message, 'latin1');
  const addresses: string[] = [];
  for (const { type, start, end } of records(bytes)) {
    const address = addressText(bytes, type, start, end);
    if (address !== null) addresses.push(address);
  }
  return addresses;
}

/** The records of a message's answer section, as far as they are whole and well-formed. */
function* records(bytes: Buffer): Generator<DnsRecord> {
  if (bytes.length < HEADER_BYTES) return;
  let at = HEADER_BYTES;
  for (let left = bytes.readUInt16BE(4); left > 0; left--) {
    const name = readName(bytes, at);
    if (!name || name.end + 4 > bytes.length) return;
    at = name.end + 4;
  }
  for (let left = bytes.readUInt16BE(6); left > 0; left--) {
    const name = readName(bytes, at);
    if (!name || name.end + 10 > bytes.length) return;
    const start = name.end + 10;
    const end = start + bytes.readUInt16BE(name.end + 8);
    if (end > bytes.length) return;
    yield {
      name,
      type: bytes.readUInt16BE(name.end),
      class: bytes.readUInt16BE(name.end + 2),
      ttl: bytes.readUInt32BE(name.end + 4),
      start,
      end,
    };
    at = end;
  }
}

interface Name {
  /** Offsets of its labels, with their lengths. */
  readonly labels: readonly number[];
  /** Behind the name, where it was read from. */
  readonly end: number;
}

/** A name, which may go on earlier in the message. Null for one that is cut, too long, or that goes on anywhere else or too often. */
function readName(bytes: Buffer, start: number): Name | null {
  const labels: number[] = [];
  let end: number | null = null;
  let length = 0;
  let pointers = 0;
  // Each pointer leads further back than the one before, so that no loop is followed.
  for (let at = start, before = start; ;) {
    const size = bytes[at];
    if (size === undefined) return null;
    if (size === 0) return { labels, end: end ?? at + 1 };
    if (size >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined || ++pointers > MOST_POINTERS) return null;
      const target = ((size & 0x3f) << 8) | low;
      if (target >= before) return null;
      end ??= at + 2;
      at = before = target;
      continue;
    }
    length += size + 1;
    if (size > 63 || length >= NAME_BYTES || at + size >= bytes.length) return null;
    labels.push(at);
    at += size + 1;
  }
}

function textOf(bytes: Buffer, { labels }: Name): string {
  return labels.map((at) => labelText(bytes, at + 1, at + 1 + (bytes[at] ?? 0))).join('.') || '.';
}

/** As the object writes names (dns_message.bpf.h). */
function labelText(bytes: Buffer, start: number, end: number): string {
  let text = '';
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte <= 0x20 || byte > 0x7e) text += `\\${String(byte).padStart(3, '0')}`;
    else if (byte === 0x2e || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else text += String.fromCharCode(byte).toLowerCase();
  }
  return text;
}

/** The data of a record between two offsets; null where it has no notation here or does not keep to it. */
function dataText(bytes: Buffer, type: number, start: number, end: number): string | null {
  const length = end - start;
  switch (dnsTypeName(type)) {
    case 'A':
    case 'AAAA':
      return addressText(bytes, type, start, end);
    case 'CNAME':
    case 'DNAME':
    case 'NS':
    case 'PTR':
      return nameText(bytes, start, end);
    case 'MX':
      return joined(numbers(bytes, start, end, 2), nameText(bytes, start + 2, end));
    case 'SRV':
      return joined(numbers(bytes, start, end, 2, 2, 2), nameText(bytes, start + 6, end));
    case 'SOA': {
      const primary = readName(bytes, start);
      const mailbox = primary && readName(bytes, primary.end);
      if (!mailbox || mailbox.end + 20 !== end) return null;
      return joined(textOf(bytes, primary), textOf(bytes, mailbox), numbers(bytes, mailbox.end, end, 4, 4, 4, 4, 4));
    }
    case 'TXT':
    case 'SPF':
      return strings(bytes, start, end);
    case 'CAA': {
      const tag = start + 2 + (bytes[start + 1] ?? 0);
      if (length < 2 || tag > end) return null;
      return `${bytes[start]} ${labelText(bytes, start + 2, tag)} ${quoted(bytes, tag, end)}`;
    }
    default:
      return null;
  }
}

function addressText(bytes: Buffer, type: number, start: number, end: number): string | null {
  if (type === TYPE_A && end - start === 4) return ipv4Text(bytes, start);
  return type === TYPE_AAAA && end - start === 16 ? ipv6Text(bytes, start) : null;
}

function joined(...parts: readonly (string | null)[]): string | null {
  return parts.includes(null) ? null : parts.join(' ');
}

/** A name that takes all of the data. */
function nameText(bytes: Buffer, start: number, end: number): string | null {
  const name = start < end ? readName(bytes, start) : null;
  return name?.end === end ? textOf(bytes, name) : null;
}

function numbers(bytes: Buffer, start: number, end: number, ...sizes: readonly (2 | 4)[]): string | null {
  const texts: string[] = [];
  let at = start;
  for (const size of sizes) {
    if (at + size > end) return null;
    texts.push(String(bytes.readUIntBE(at, size)));
    at += size;
  }
  return texts.join(' ');
}

function strings(bytes: Buffer, start: number, end: number): string | null {
  const texts: string[] = [];
  for (let at = start; at < end;) {
    const next = at + 1 + (bytes[at] ?? 0);
    if (next > end) return null;
    texts.push(quoted(bytes, at + 1, next));
    at = next;
  }
  return texts.join(' ');
}

function quoted(bytes: Buffer, start: number, end: number): string {
  const text = [...bytes.subarray(start, end)]
    .map((byte) => {
      if (byte < 0x20 || byte > 0x7e) return `\\${String(byte).padStart(3, '0')}`;
      const character = String.fromCharCode(byte);
      return character === '"' || character === '\\' ? `\\${character}` : character;
    })
    .join('');
  return `"${text}"`;
}

function unknown(bytes: Buffer, start: number, end: number): string {
  return end === start ? '\\# 0' : `\\# ${end - start} ${bytes.toString('hex', start, end)}`;
}
