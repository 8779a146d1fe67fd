/** The names that IANA gives to the numbers of DNS messages. */

// https://www.iana.org/assignments/dns-parameters
const types: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  3: 'MD',
  4: 'MF',
  5: 'CNAME',
  6: 'SOA',
  7: 'MB',
  8: 'MG',
  9: 'MR',
  10: 'NULL',
  11: 'WKS',
  12: 'PTR',
  13: 'HINFO',
  14: 'MINFO',
  15: 'MX',
  16: 'TXT',
  17: 'RP',
  18: 'AFSDB',
  24: 'SIG',
  25: 'KEY',
  28: 'AAAA',
  29: 'LOC',
  33: 'SRV',
  35: 'NAPTR',
  36: 'KX',
  37: 'CERT',
  39: 'DNAME',
  41: 'OPT',
  42: 'APL',
  43: 'DS',
  44: 'SSHFP',
  45: 'IPSECKEY',
  46: 'RRSIG',
  47: 'NSEC',
  48: 'DNSKEY',
  49: 'DHCID',
  50: 'NSEC3',
  51: 'NSEC3PARAM',
  52: 'TLSA',
  53: 'SMIMEA',
  55: 'HIP',
  59: 'CDS',
  60: 'CDNSKEY',
  61: 'OPENPGPKEY',
  62: 'CSYNC',
  63: 'ZONEMD',
  64: 'SVCB',
  65: 'HTTPS',
  99: 'SPF',
  108: 'EUI48',
  109: 'EUI64',
  249: 'TKEY',
  250: 'TSIG',
  251: 'IXFR',
  252: 'AXFR',
  253: 'MAILB',
  254: 'MAILA',
  255: 'ANY',
  256: 'URI',
  257: 'CAA',
};
const classes: Readonly<Record<number, string>> = { 1: 'IN', 3: 'CH', 4: 'HS', 254: 'NONE', 255: 'ANY' };
const opcodes = ['QUERY', 'IQUERY', 'STATUS', null, 'NOTIFY', 'UPDATE', 'DSO'];
const rcodes = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
  'DSOTYPENI',
];

const typeNumbers: ReadonlyMap<string, number> = new Map(Object.entries(types).map(([nr, name]) => [name, Number(nr)]));

/** The types that have a name. */
export const dnsTypes: readonly string[] = [...typeNumbers.keys()];

/** 28 → "AAAA"; a type without a name → "TYPE65280" (RFC 3597). */
export function dnsTypeName(type: number): string {
  return types[type] ?? `TYPE${type}`;
}

/** "AAAA" → 28, "TYPE65280" → 65280; null for what `dnsTypeName` returns of no type. */
export function dnsTypeNumber(name: string): number | null {
  const [, digits] = /^TYPE(\d{1,5})$/.exec(name) ?? [];
  const type = typeNumbers.get(name) ?? (digits === undefined ? -1 : Number(digits));
  return type >= 0 && type <= 0xffff && dnsTypeName(type) === name ? type : null;
}

/** 1 → "IN"; a class without a name → "CLASS32769". */
export function dnsClassName(value: number): string {
  return classes[value] ?? `CLASS${value}`;
}

/** 0 → "QUERY"; one without a name is its number. */
export function dnsOpcodeName(opcode: number): string {
  return opcodes[opcode] ?? String(opcode);
}

/** 3 → "NXDOMAIN"; one without a name is its number. */
export function dnsRcodeName(rcode: number): string {
  return rcodes[rcode] ?? String(rcode);
}
