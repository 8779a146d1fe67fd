import { isEncrypted, ja4, parseClientHello, tlsVersionName, type ClientHello } from '../tracker/client-hello.js';
import { defineTracker, type FieldDefinition } from '../tracker/define.js';
import type { FieldValue } from '../event/event.js';

/** A field that is made from the message; null where that was not captured or is malformed. */
const ofHello = (read: (hello: ClientHello) => FieldValue): FieldDefinition => ({
  from: ['ja4'],
  read: (message: string | null) => {
    const hello = message === null ? null : parseClientHello(message);
    return hello && read(hello);
  },
});

export default defineTracker({
  name: 'sni',
  minimumKernel: '5.17',
  watches:
    'TLS over TCP, on any port: the name of the server that a process asks for, ALPN, version, JA4, remote address',
  details: '[{name}] [{remoteAddress@remotePort}] [{alpn}] [{tlsVersion}] [{ja4}] [{malformed:malformed}]',
  blindSpots: [
    'QUIC (HTTP/3) and DTLS, which are sent over UDP.',
    'With Encrypted Client Hello the true name is encrypted: `name` is a public name of the provider, and `encrypted` is true.',
    'A process may ask for any name, and connect to any address.',
    'A ClientHello that is written in several pieces or several records: `malformed` is true where its name is not in the first; one ' +
      'whose first piece has at most 38 bytes of the message has no event.',
    'A ClientHello behind other bytes in one segment: a header of the PROXY protocol, pipelined STARTTLS, writes that MSG_MORE, ' +
      'TCP_CORK or the algorithm of Nagle joined.',
    'A ClientHello that the kernel sends only after the write has returned: the window was full, or pacing, the timer of TCP_CORK, ' +
      'the algorithm of Nagle or a queue of netfilter (NFQUEUE) held it back.',
    'A ClientHello that a thread of the kernel sends, as with several subflows of MPTCP and with sockmaps.',
    'A record whose version does not begin with 3, which TLS forbids and servers may accept.',
    'Memory that the process changes after the kernel has taken it without a copy (MSG_ZEROCOPY, sendfile, splice): another name may ' +
      'be sent than was read.',
    'Packets that IPsec, or a route with encapsulation of its own (MPLS, SRv6), has wrapped.',
    'What servers of this machine are asked for by clients of others.',
    'Packets that no TCP socket of this machine sends: forwarded ones, as those of virtual machines, raw and packet sockets, AF_XDP.',
  ],
  columns: ['name', 'remoteAddress', 'remotePort', 'alpn', 'tlsVersion', 'ja4'],
  example: '{ namedOnly: true }',
  // A server that closes the connection: the name was sent by then.
  trigger:
    `node -e 'const s = net.createServer((c) => c.destroy()).listen(0, "127.0.0.1", () => tls.connect({ port: s.address().port, ` +
    `host: "127.0.0.1", servername: "example.com", ALPNProtocols: ["h2"] }).on("error", () => s.close()))'`,
  pushed: {
    name: { kind: 'text', stem: 'name', bytes: 64 },
    remotePort: { kind: 'number', stem: 'remote_port' },
    remoteAddress: { kind: 'address', stem: 'remote_address' },
  },
  fields: {
    ja4: ofHello(ja4),
    alpn: ofHello(({ alpn }) => alpn),
    tlsVersion: ofHello(({ version }) => tlsVersionName(version)),
    encrypted: ofHello(isEncrypted),
  },
});
