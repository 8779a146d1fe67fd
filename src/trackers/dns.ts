import { invalid } from '../base/errors.js';
import { dnsClassName, dnsOpcodeName, dnsRcodeName, dnsTypeName, dnsTypeNumber, dnsTypes } from '../linux/dns.js';
import { protocolName } from '../linux/socket.js';
import { defineReport, ifListed } from '../tracker/define-report.js';
import { defineTracker, type NameSet, type TrackerOptions } from '../tracker/define.js';
import { dnsAddresses, dnsAnswers } from '../tracker/dns-message.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';

const operations = ['QUERY', 'RESPONSE'];
/** PORTS of the object. */
const MOST_PORTS = 8;
const DNS_PORT = 53;
/** Beyond the types with names, so that patterns of these are evaluated in the kernel. */
const LAST_NAMED_TYPE = 257;
const typeNames: NameSet = { of: 'type of DNS records', has: (name) => dnsTypeNumber(name) !== null, all: dnsTypes };

function check(options: TrackerOptions, path: string): void {
  const ports = options['ports'] as readonly number[] | null | undefined;
  if (ports?.length === 0)
    throw invalid(
      `${path}.ports`,
      `is empty; leave it out for port ${DNS_PORT}, or name ports, for example [53, 5353]`,
    );
  if (ports && ports.length > MOST_PORTS)
    throw invalid(`${path}.ports`, `has ${ports.length} ports; there may be ${MOST_PORTS} at most`);
  ports?.forEach((port, i) => {
    if (port < 1 || port > 65535) throw invalid(`${path}.ports[${i}]`, `${port} is no port; ports are 1 to 65535`);
  });
}

const networkOrder = (port: number) => ((port & 0xff) << 8) | (port >> 8);
/** Numbers of the record are one more than those of the message; 0 is not known. */
const ifKnown =
  <Value>(read: (number: number) => Value) =>
  (number: number): Value | null =>
    number === 0 ? null : read(number - 1);
const plain = ifKnown(Number);
const ifResponse = (operation: string, value: boolean) => (operation === 'RESPONSE' ? value : null);

export default defineTracker({
  name: 'dns',
  minimumKernel: '5.17',
  watches:
    'DNS queries and responses over UDP and TCP: name, type, code, answers, addresses, latency, server as the ' +
    'process addressed it, process and container',
  details:
    '{dnsOperation} [{queryType}] [{name}] [{rcode}] [{addresses}] [{latencyNs}] [@{serverAddress}] [{malformed:malformed}]',
  blindSpots: [
    'DNS over HTTPS, TLS or QUIC, and DNS on other ports than those of the option `ports`: see the trackers tcp and open.',
    'Names that are resolved without DNS by the process itself: from /etc/hosts, by nscd, by systemd-resolved over varlink or D-Bus ' +
      '(nss-resolve). The queries of such a service itself are reported, as its own.',
    'What a DNS server receives and sends back, so also responses sent, and queries received, by a socket whose own port is ' +
      'one of `ports`. Its queries to other servers are reported.',
    'Queries and responses of multicast DNS that are not of one socket to one address.',
    'What becomes of a message after it was seen: its memory may change (zero-copy: MSG_ZEROCOPY, sendfile), a daemon may change or drop ' +
      'it (NFQUEUE), and a tunnel or IPsec takes it elsewhere. What arrives inside of IPsec is seen where it is decrypted, if at all.',
    'A socket that several processes share: a response to a query of a process outside of the target may be reported for the process ' +
      'inside that used the socket first. Where several threads send to several servers by one socket at once, `serverAddress` may be ' +
      'that of another one of them.',
    'Packets that no socket of this machine sends: forwarded ones, as those of virtual machines, raw and packet sockets, AF_XDP.',
    'A query whose port another BPF program rewrites when it is sent, as service meshes do, if the new port is not one of `ports`.',
    'Over TCP, a message whose header or first question is not in one segment: `malformed` is true. A stream is not followed beyond ' +
      'a segment that arrives out of order, or while another one of it is being looked at on another CPU. In one segment, 1,024 messages ' +
      'are seen; what follows is one lost event.',
    'Over TCP, the process is the one that connected; over UDP, the one that sent the query.',
    'A response has no latency, and belongs to the process that first used the socket, if its query was before the session or ' +
      'if some 16,000 other queries were waiting for a response.',
    'Several questions in one message: only the first one is decoded.',
  ],
  formerNames: { dnsOperation: 'operation' },
  columns: ['dnsOperation', 'protocol', 'serverAddress', 'name', 'queryType', 'rcode', 'addresses', 'latencyNs'],
  indexed: ['protocol', 'queryType', 'rcode'],
  example: '{ operations: [RESPONSE] }',
  // A server of its own, for there may be none.
  trigger:
    `node -e 'const s = dgram.createSocket("udp4").bind(53, "127.0.0.77"), r = new dns.Resolver(); r.setServers(["127.0.0.77"]); ` +
    's.on("message", (q, from) => { q[2] |= 128; q[7] = 1; q[11] = 0; const a = Buffer.from("c00c000100010000012c0004c0000201", "hex"); ' +
    's.send(Buffer.concat([q.subarray(0, q.indexOf(0, 12) + 5), a]), from.port, from.address); }); ' +
    `s.on("listening", () => r.resolve4("example.com", () => s.close()))'`,
  check,
  constants: (options) => ({
    operations: operationMask(operations, options['operations']),
    ports: Uint16Array.from({ length: MOST_PORTS }, (_, i) =>
      networkOrder(((options['ports'] ?? [DNS_PORT]) as readonly number[])[i] ?? 0),
    ),
  }),
  names: { queryType: typeNames },
  pushed: {
    dnsOperation: pushedOperation(operations),
    queryType: {
      kind: 'code',
      stem: 'question_type',
      max: LAST_NAMED_TYPE + 1,
      codeOf: (name) => {
        const type = dnsTypeNumber(name);
        return type === null ? null : type + 1;
      },
      read: ifKnown(dnsTypeName),
    },
    rcode: { kind: 'code', stem: 'rcode', max: 16, read: ifKnown(dnsRcodeName) },
    latencyNs: { kind: 'number', stem: 'latency_ns', null: -1, min: 0 },
    serverPort: { kind: 'number', stem: 'server_port' },
    serverAddress: { kind: 'address', stem: 'server_address' },
    name: { kind: 'text', stem: 'name', bytes: 64 },
  },
  fields: {
    protocol: { from: ['protocol'], read: protocolName },
    messageId: { from: ['messageId'], read: plain },
    queryType: { from: ['questionType'], read: ifKnown(dnsTypeName) },
    queryClass: { from: ['questionClass'], read: ifKnown(dnsClassName) },
    questions: { from: ['questions'], read: plain },
    opcode: { from: ['opcode'], read: ifKnown(dnsOpcodeName) },
    rcode: { from: ['rcode'], read: ifKnown(dnsRcodeName) },
    authoritative: { from: ['dnsOperation', 'authoritative'], read: ifResponse },
    truncated: { from: ['dnsOperation', 'truncated'], read: ifResponse },
    answerCount: { from: ['answerCount'], read: plain },
    answers: {
      from: ['answers'],
      read: (message: string | null) => (message === null ? null : dnsAnswers(message)),
    },
    addresses: {
      from: ['answers'],
      read: (message: string | null) => (message === null ? null : dnsAddresses(message)),
    },
  },
  report: defineReport<'dns'>({
    feeds: 'names',
    demand: ['addresses'],
    alike: ['name', 'addresses'],
    read: ({ dnsOperation, name, queryType, rcode, addresses }) => ({
      operation: dnsOperation,
      name,
      type: queryType,
      rcode,
      addresses: addresses ?? [],
    }),
    restricting: [
      ifListed('operations', 'operations that are not listed are excluded'),
      ifListed('ports', 'messages of servers at other ports are excluded'),
    ],
  }),
});
