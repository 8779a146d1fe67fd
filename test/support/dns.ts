import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { decodeQuery, numbers, type Question } from './dns-message.js';
import { run, scratch, type Ended } from './workload.js';

/** A DNS server of a test's own, and clients of it. */

/** The response to a question; null for none. */
export type Respond = (question: Question, query: Buffer, over: 'UDP' | 'TCP') => Buffer | null;

export interface DnsServer {
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Answers over UDP and TCP. */
export async function startDnsServer(address: string, respond: Respond, port = 53): Promise<DnsServer> {
  const datagrams: Socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  datagrams.on('message', (query: Buffer, from: RemoteInfo) => {
    const response = query.length > 16 ? respond(decodeQuery(query), query, 'UDP') : null;
    if (response) datagrams.send(response, from.port, from.address);
  });
  const streams: Server = createServer((stream) => {
    let waiting = Buffer.alloc(0);
    stream.on('error', () => stream.destroy());
    stream.on('data', (data: Buffer) => {
      waiting = Buffer.concat([waiting, data]);
      while (waiting.length > 2 && waiting.length >= 2 + waiting.readUInt16BE(0)) {
        const query = waiting.subarray(2, 2 + waiting.readUInt16BE(0));
        waiting = waiting.subarray(2 + query.length);
        const response = query.length > 16 ? respond(decodeQuery(query), query, 'TCP') : null;
        if (response) stream.write(Buffer.concat([numbers(response.length), response]));
      }
    });
  });
  datagrams.bind(port, address);
  streams.listen(port, address);
  await Promise.all([once(datagrams, 'listening'), once(streams, 'listening')]);
  return {
    address,
    port,
    close: async () => {
      await new Promise<void>((resolve) => datagrams.close(() => resolve()));
      await new Promise((resolve) => streams.close(resolve));
    },
  };
}

/** Runs a program to which /etc/resolv.conf is this: in a mount namespace of its own, with the process id that `run` returns. */
export async function resolving(configuration: string, program: string, ...args: readonly string[]): Promise<Ended> {
  const file = join(scratch, 'resolv.conf');
  writeFileSync(file, configuration);
  return run('unshare', [
    '--mount',
    'sh',
    '-c',
    `mount --bind ${file} /etc/resolv.conf && exec "$0" "$@"`,
    program,
    ...args,
  ]);
}
