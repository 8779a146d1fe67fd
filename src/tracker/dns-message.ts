import { ipv4Text, ipv6Text } from '../base/address.js';
import { dnsClassName, dnsTypeName } from '../linux/dns.js';

/** What a response answers with. Anybody may have made it: what is malformed ends the list, and nothing throws. */
export interface DnsAnswer {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** In seconds. */
  readonly ttl: number;
  /** As zone files have it; of a type without a notation of its own `\# LENGTH HEX` (RFC 3597). */
  readonly data: string;
}

const HEADER_BYTES = 12;
const NAME_BYTES = 255;
const TYPE_A = 1;
const TYPE_AAAA = 28;

/**
 * Returns the records of a message's answer section, as far as they are whole: `message` may be cut. Characters of the text
 * are bytes. Pure.
 */
export function dnsAnswers(message: string): DnsAnswer[] {
  const bytes = Buffer.from(message, 'latin1');
  const answers: DnsAnswer[] = [];
  if (bytes.length < HEADER_BYTES) return answers;
  let at: number | null = HEADER_BYTES;
  for (let left = bytes.readUInt16BE(4); left > 0; left--) {
    at = readName(bytes, at)?.end ?? null;
    if (at === null || at + 4 > bytes.length) return answers;
    at += 4;
  }
  for (let left = bytes.readUInt16BE(6); left > 0; left--) {
    const name = readName(bytes, at);
    if (!name || name.end + 10 > bytes.length) return answers;
    const data = name.end + 10;
    const end = data + bytes.readUInt16BE(name.end + 8);
    if (end > bytes.length) return answers;
    const type = bytes.readUInt16BE(name.end);
    answers.push({
      name: name.text,
      type,
      class: bytes.readUInt16BE(name.end + 2),
      ttl: bytes.readUInt32BE(name.end + 4),
      data: dataText(bytes, type, data, end) ?? unknown(bytes, data, end),
    });
    at = end;
  }
  return answers;
}

/** As dig shows a record, with single spaces: "example.com 300 IN A 192.0.2.1". */
export function answerText({ name, type, class: of, ttl, data }: DnsAnswer): string {
  return `${name} ${ttl} ${dnsClassName(of)} ${dnsTypeName(type)} ${data}`;
}

/** The address that an answer is; null for one that is none. */
export function answerAddress({ type, data }: DnsAnswer): string | null {
  return (type === TYPE_A || type === TYPE_AAAA) && !data.startsWith('\\') ? data : null;
}

interface Name {
  readonly text: string;
  /** Behind the name, where it was read from. */
  readonly end: number;
}

/** A name, which may go on earlier in the message. Null for one that is cut, too long, or that goes on anywhere else. */
function readName(bytes: Buffer, start: number): Name | null {
  const labels: string[] = [];
  let end: number | null = null;
  let length = 0;
  // Each pointer leads further back than the one before, so that no loop is followed.
  for (let at = start, before = start; ;) {
    const size = bytes[at];
    if (size === undefined) return null;
    if (size === 0) return { text: labels.join('.') || '.', end: end ?? at + 1 };
    if (size >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) return null;
      const target = ((size & 0x3f) << 8) | low;
      if (target >= before) return null;
      end ??= at + 2;
      at = before = target;
      continue;
    }
    length += size + 1;
    if (size > 63 || length >= NAME_BYTES || at + size >= bytes.length) return null;
    labels.push(labelText(bytes, at + 1, at + 1 + size));
    at += size + 1;
  }
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
      return length === 4 ? ipv4Text(bytes, start) : null;
    case 'AAAA':
      return length === 16 ? ipv6Text(bytes, start) : null;
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
      return joined(primary.text, mailbox.text, numbers(bytes, mailbox.end, end, 4, 4, 4, 4, 4));
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

function joined(...parts: readonly (string | null)[]): string | null {
  return parts.includes(null) ? null : parts.join(' ');
}

/** A name that takes all of the data. */
function nameText(bytes: Buffer, start: number, end: number): string | null {
  const name = start < end ? readName(bytes, start) : null;
  return name?.end === end ? name.text : null;
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
