import ipaddr from 'ipaddr.js';
import { RE2JS, RE2JSSyntaxException } from 're2js';
import { messageOf } from '../base/errors.js';
import type { TextPredicate } from '../base/glob.js';

export { compileGlob, type TextPredicate } from '../base/glob.js';

/** Reports an error in what a client wrote, or in its element at an index. */
export type Fail = (message: string, index?: number) => never;

export const MAX_PATTERN = 500;
/**
 * The time of an automaton is linear in the text, with the size of its program as the factor. With the worst text of
 * the length of a path, 4 KiB, a program of this size takes a few milliseconds.
 */
export const MAX_PROGRAM = 300;

// Regular expressions

/** Compiles an RE2 regular expression. Calls `fail` if it is invalid or too large. */
export function compileRegex(source: string, fail: Fail): TextPredicate {
  const compiled = compileRe2(source, 0, (message) =>
    fail(`"${shorten(source)}" is no RE2 regular expression: ${message}`),
  );
  if (compiled.programSize() > MAX_PROGRAM)
    return fail(
      `"${shorten(source)}" compiles to ${compiled.programSize()} instructions; at most ${MAX_PROGRAM} are ` +
        'allowed: use smaller repetitions',
    );
  return (text) => compiled.test(text);
}

function compileRe2(source: string, flags: number, fail: Fail): RE2JS {
  try {
    return RE2JS.compile(source, flags);
  } catch (error) {
    const message =
      error instanceof RE2JSSyntaxException
        ? [error.getDescription(), error.getPattern()].filter(Boolean).join(': ')
        : messageOf(error);
    const hint = /\(\?(<?[=!])/.test(source)
      ? '; RE2 has no look-around'
      : /\\[1-9]/.test(source)
        ? '; RE2 has no back-references'
        : /repeat count/.test(message)
          ? '; RE2 repeats at most 1000 times'
          : '';
    return fail(`${message}${hint}`);
  }
}

/** Returns the equivalent simple operator, such as `["prefix", "/etc/"]`; null if the pattern needs an automaton. */
export type Plain =
  readonly [op: 'eq' | 'prefix' | 'suffix' | 'contains', text: string] | readonly [op: 'isNull', value: false];

/** "/etc/*" → prefix. */
export function plainGlob(glob: string): Plain | null {
  const [, before = '', middle = '', after = ''] = /^(\**)([^*]*)(\**)$/s.exec(glob) ?? [];
  if (before + middle + after !== glob || /[?[\]{}\\]/.test(middle)) return null;
  if (middle === '') return before ? ['isNull', false] : ['eq', ''];
  return [before ? (after ? 'contains' : 'suffix') : after ? 'prefix' : 'eq', middle];
}

/** "^/etc/" → prefix. */
export function plainRegex(source: string): Plain | null {
  const [, start, middle = '', end] = /^(\^?)(.*?)(\$?)$/s.exec(source) ?? [];
  if (!/^(?:[^\\.+*?()|[\]{}^$]|\\[\\.+*?()|[\]{}^$/-])*$/.test(middle)) return null;
  const text = middle.replace(/\\(.)/g, '$1');
  if (text === '') return start && end ? ['eq', ''] : ['isNull', false];
  return [start ? (end ? 'eq' : 'prefix') : end ? 'suffix' : 'contains', text];
}

// Addresses

/** Returns an address as the decoder formats it: IPv4 in four decimals, also if mapped; IPv6 by RFC 5952. */
export function normaliseAddress(text: string, fail: Fail): string {
  const address = parseAddress(text);
  if (!address) return fail(`"${shorten(text)}" is no IP address; write "10.1.2.3" or "2001:db8::1"`);
  return textOf(address);
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function parseAddress(text: string): Address | null {
  // ipaddr.js also accepts "127.1", octal numbers and zones.
  if (!text.includes(':')) return ipaddr.IPv4.isValidFourPartDecimal(text) ? ipaddr.IPv4.parse(text) : null;
  if (text.includes('%') || !ipaddr.IPv6.isValid(text)) return null;
  return unmapped(ipaddr.IPv6.parse(text));
}

function unmapped(address: ipaddr.IPv6): Address {
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

function textOf(address: Address): string {
  return address instanceof ipaddr.IPv6 ? address.toRFC5952String() : address.toString();
}

interface Network {
  readonly bytes: readonly number[];
  readonly bits: number;
}

/** Parses "10.0.0.0/8". A mapped network becomes the IPv4 network. The text is canonical. */
export function normaliseCidr(text: string, fail: Fail): string {
  const { bytes, bits } = parseCidr(text, fail);
  return `${textOf(ipaddr.fromByteArray([...bytes]))}/${bits}`;
}

function parseCidr(text: string, fail: Fail): Network {
  const example = 'write an address and a length, for example "10.0.0.0/8" or "2001:db8::/32"';
  const [, base = '', length] = /^([^/]*)\/(\d{1,3})$/.exec(text) ?? [];
  if (length === undefined) {
    const address = parseAddress(text);
    return fail(
      `"${shorten(text)}" is no network; ` +
        `${address ? `write "${textOf(address)}/${address.kind() === 'ipv4' ? 32 : 128}", or use eq` : example}`,
    );
  }
  const address = parseAddress(base);
  if (!address) return fail(`"${shorten(text)}" is no network; ${example}`);
  const mapped = base.includes(':') && address.kind() === 'ipv4';
  const bits = Number(length) - (mapped ? 96 : 0);
  const max = address.kind() === 'ipv4' ? 32 : 128;
  if (bits < 0 || bits > max)
    return fail(
      `"${shorten(text)}" has the length ${length}; ` +
        `${mapped ? 'a mapped IPv4 address takes 96 to 128' : `an address of IPv${max === 32 ? 4 : 6} takes 0 to ${max}`}`,
    );
  const bytes = address.toByteArray();
  const network = bytes.map((byte, index) => byte & maskAt(bits, index));
  if (network.some((byte, index) => byte !== bytes[index])) {
    return fail(
      `"${shorten(text)}" has bits beyond its length; did you mean "${textOf(ipaddr.fromByteArray(network))}/${bits}"?`,
    );
  }
  return { bytes: network, bits };
}

/**
 * Returns an address or network, already checked, as the kernel stores it: 128 bits, IPv4 as ::ffff:a.b.c.d, as a
 * string of "0" and "1".
 */
export function addressBits(text: string): string {
  const checked = (message: string): never => {
    throw new TypeError(message);
  };
  const { bytes, bits } = text.includes('/')
    ? parseCidr(text, checked)
    : { bytes: parseAddress(text)?.toByteArray() ?? checked(text), bits: 128 };
  const mapped = bytes.length === 4;
  const all = mapped ? [...Array.from({ length: 10 }, () => 0), 0xff, 0xff, ...bytes] : bytes;
  const length = text.includes('/') && mapped ? 96 + bits : bits;
  return all
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('')
    .slice(0, length);
}

function maskAt(bits: number, index: number): number {
  const left = Math.min(8, Math.max(0, bits - 8 * index));
  return (0xff << (8 - left)) & 0xff;
}

const REMEMBERED = 4096;

/**
 * Returns whether an address, as the decoder formats it, is in a network. Results are cached, because few peers make
 * most connections.
 */
export function compileCidr(cidr: string, fail: Fail): TextPredicate {
  const { bytes, bits } = parseCidr(cidr, fail);
  const results = new Map<string, boolean>();
  return (text) => {
    const known = results.get(text);
    if (known !== undefined) return known;
    const address = parseAddress(text)?.toByteArray();
    const inside =
      address?.length === bytes.length && address.every((byte, index) => (byte & maskAt(bits, index)) === bytes[index]);
    if (results.size >= REMEMBERED) results.clear();
    results.set(text, inside);
    return inside;
  };
}

export function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
