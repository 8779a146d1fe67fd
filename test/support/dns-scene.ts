import { createSocket, type Socket } from 'node:dgram';
import { afterEach } from 'vitest';
import { startDnsServer, type Respond } from './dns.js';
import { A, AAAA, encodeResponse, numbers } from './dns-message.js';
import type { Seen } from './session.js';

/** Servers and sockets of tests of the tracker dns, which are closed after each. */

export const V4 = '127.0.53.1';
const NXDOMAIN = 3;
const AUTHORITATIVE = 0x0400;

/** An address for each name; none for what ends in ".none". */
export const addresses: Respond = ({ name, type }, query) =>
  name.endsWith('.none')
    ? encodeResponse(query, [], NXDOMAIN | AUTHORITATIVE)
    : encodeResponse(query, [
        type === AAAA
          ? { type: AAAA, data: Buffer.from('20010db8000000000000000000000001', 'hex') }
          : { type: A, data: Buffer.of(192, 0, 2, 1) },
      ]);

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

export async function serve(address = V4, respond: Respond = addresses, port = 53): Promise<void> {
  const server = await startDnsServer(address, respond, port);
  closing.push(() => server.close());
}

export function socket(kind: 'udp4' | 'udp6' = 'udp4'): Socket {
  const made = createSocket(kind);
  closing.unshift(() => made.close());
  return made;
}

export const query = (name?: string) => (e: Seen) =>
  e['dnsOperation'] === 'QUERY' && (name === undefined || e['name'] === name);
export const response = (name?: string) => (e: Seen) =>
  e['dnsOperation'] === 'RESPONSE' && (name === undefined || e['name'] === name);

/** A message as it is sent over TCP. */
export const framed = (message: Buffer) => Buffer.concat([numbers(message.length), message]);
