import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { resolving, startDnsServer, type DnsServer, type Respond } from '../support/dns.js';
import { A, AAAA, encodeName, encodeQuery, encodeResponse, numbers } from '../support/dns-message.js';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { until, untilHolds } from '../support/until.js';
import { compileC, firstLine, run, start } from '../support/workload.js';

const V4 = '127.0.53.1';
const CNAME = 5;
const NXDOMAIN = 3;
const TRUNCATED = 0x0200;
const AUTHORITATIVE = 0x0400;

const servers: DnsServer[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const server of servers.splice(0)) await server.close();
});

const addresses: Respond = ({ name, type }, query) =>
  name.endsWith('.none')
    ? encodeResponse(query, [], NXDOMAIN | AUTHORITATIVE)
    : encodeResponse(query, [
        type === AAAA
          ? { type: AAAA, data: Buffer.from('20010db8000000000000000000000001', 'hex') }
          : { type: A, data: Buffer.of(192, 0, 2, 1) },
      ]);

async function serve(address = V4, respond: Respond = addresses, port = 53): Promise<DnsServer> {
  const server = await startDnsServer(address, respond, port);
  servers.push(server);
  return server;
}

function socket(kind: 'udp4' | 'udp6' = 'udp4'): Socket {
  const made = createSocket(kind);
  sockets.push(made);
  return made;
}

const query = (name?: string) => (e: Seen) => e['operation'] === 'QUERY' && (name === undefined || e['name'] === name);
const response = (name?: string) => (e: Seen) =>
  e['operation'] === 'RESPONSE' && (name === undefined || e['name'] === name);
const resolver = (address = V4, more = '') => `nameserver ${address}\n${more}`;

describe('glibc', () => {
  it('asks over UDP: a query and a response, which is the asking process’s though the server was running', async () => {
    await serve();
    const dns = await startTracker('dns', { comms: ['getent'] });
    const { pid, stdout } = await resolving(resolver(), 'getent', 'ahostsv4', 'Plain.Test');
    expect(stdout).toContain('192.0.2.1');
    const asked = await dns.next(query());
    const of = { pid, comm: 'getent', ppid: process.pid, uid: 0 };
    const ends = { protocol: 'UDP', ipVersion: 4, localAddress: '127.0.0.1', serverAddress: V4, serverPort: 53 };
    expect(asked).toMatchObject({
      ...ends,
      process: of,
      name: 'plain.test',
      queryType: 'A',
      queryClass: 'IN',
      opcode: 'QUERY',
      questions: 1,
      rcode: null,
      answers: null,
      addresses: null,
      answerCount: null,
      truncated: null,
      authoritative: null,
      latencyNs: null,
      malformed: false,
      messageBytes: 28,
    });
    const answered = await dns.next(response());
    expect(answered).toMatchObject({
      ...ends,
      process: of,
      localPort: asked['localPort'],
      messageId: asked['messageId'],
      name: 'plain.test',
      queryType: 'A',
      rcode: 'NOERROR',
      truncated: false,
      authoritative: false,
      answerCount: 1,
      answers: ['plain.test 300 IN A 192.0.2.1'],
      addresses: ['192.0.2.1'],
      malformed: false,
      messageBytes: 44,
    });
    expect(BigInt(answered['latencyNs'] as string)).toBe(BigInt(answered.bootNs) - BigInt(asked.bootNs));
  });

  it('asks for both families at once on one socket', async () => {
    await serve();
    const dns = await startTracker('dns', { comms: ['getent'] });
    await resolving(resolver(), 'getent', 'ahosts', 'both.test');
    const seen = await dns.stop();
    expect(seen.map(({ operation, queryType }) => `${String(operation)} ${String(queryType)}`).sort()).toEqual([
      'QUERY A',
      'QUERY AAAA',
      'RESPONSE A',
      'RESPONSE AAAA',
    ]);
    const aaaa = seen.find((e) => response()(e) && e['queryType'] === 'AAAA');
    expect(aaaa).toMatchObject({ addresses: ['2001:db8::1'], answers: ['both.test 300 IN AAAA 2001:db8::1'] });
    expect(new Set(seen.map(({ localPort }) => localPort)).size).toBe(1);
    for (const each of seen.filter(response())) expect(each['latencyNs']).not.toBeNull();
  });

  it('asks over IPv6', async () => {
    await serve('::1');
    const dns = await startTracker('dns', { comms: ['getent'] });
    await resolving(resolver('::1'), 'getent', 'ahostsv4', 'six.test');
    const ends = { ipVersion: 6, localAddress: '::1', serverAddress: '::1', name: 'six.test' };
    expect(await dns.next(query())).toMatchObject(ends);
    expect(await dns.next(response())).toMatchObject({ ...ends, addresses: ['192.0.2.1'] });
  });

  it.each([
    [V4, 4],
    ['::1', 6],
  ])('asks %s over TCP when it is told to', async (address, ipVersion) => {
    await serve(address);
    const dns = await startTracker('dns', { comms: ['getent'] });
    const { pid, stdout } = await resolving(resolver(address, 'options use-vc\n'), 'getent', 'ahosts', 'stream.test');
    expect(stdout).toContain('192.0.2.1');
    const seen = await dns.stop();
    expect(seen).toHaveLength(4);
    for (const each of seen)
      expect(each).toMatchObject({
        protocol: 'TCP',
        process: { pid, comm: 'getent' },
        serverAddress: address,
        serverPort: 53,
        ipVersion,
        name: 'stream.test',
        malformed: false,
      });
    expect(seen.filter(query()).map(({ messageBytes }) => messageBytes)).toEqual([29, 29]);
    for (const each of seen.filter(response())) {
      expect(each['latencyNs']).not.toBeNull();
      expect(each['addresses']).toHaveLength(1);
    }
  });

  it('asks again over TCP when a response is truncated', async () => {
    await serve(V4, (question, asked, over) =>
      over === 'UDP' ? encodeResponse(asked, [], TRUNCATED) : addresses(question, asked, over),
    );
    const dns = await startTracker('dns', { comms: ['getent'] });
    const { stdout } = await resolving(resolver(), 'getent', 'ahostsv4', 'large.test');
    expect(stdout).toContain('192.0.2.1');
    const seen = await dns.stop();
    expect(seen.map(({ operation, protocol, truncated }) => [operation, protocol, truncated])).toEqual([
      ['QUERY', 'UDP', null],
      ['RESPONSE', 'UDP', true],
      ['QUERY', 'TCP', null],
      ['RESPONSE', 'TCP', false],
    ]);
  });
});

it('busybox asks for a name that does not exist', async () => {
  await serve();
  const dns = await startTracker('dns', { comms: ['busybox'] });
  const { pid } = await run('busybox', ['nslookup', 'no.such.none', V4], { stdio: ['ignore', 'pipe', 'ignore'] });
  const answered = await dns.next((e) => response('no.such.none')(e) && e['queryType'] === 'A');
  expect(answered).toMatchObject({
    process: { pid, comm: 'busybox' },
    rcode: 'NXDOMAIN',
    authoritative: true,
    answerCount: 0,
    answers: [],
    addresses: [],
  });
});

describe('a socket', () => {
  it('that is not connected asks servers, and speaks to others unnoticed', async () => {
    await serve();
    const other = socket().bind(0, V4);
    await once(other, 'listening');
    const dns = await startTracker('dns', { pids: [process.pid] });
    const mine = socket();
    const send = (bytes: Buffer, port: number) =>
      new Promise<void>((resolve, reject) =>
        mine.send(bytes, port, V4, (error) => (error ? reject(error) : resolve())),
      );
    await send(encodeQuery(1, 'first.test'), 53);
    await send(encodeQuery(2, 'elsewhere.test'), other.address().port);
    await send(encodeQuery(3, 'second.test'), 53);
    await dns.next(response('first.test'));
    await dns.next(response('second.test'));
    const seen = await dns.stop();
    expect(seen.filter(query()).map(({ messageId }) => messageId)).toEqual([1, 3]);
    expect(seen).toHaveLength(4);
  });

  it('that was connected before the session is seen', async () => {
    await serve();
    const mine = socket();
    mine.connect(53, V4);
    await once(mine, 'connect');
    const stream = connect(53, V4);
    await once(stream, 'connect');
    const dns = await startTracker('dns', { pids: [process.pid] });
    mine.send(encodeQuery(7, 'early.test'));
    stream.write(Buffer.concat([numbers(28), encodeQuery(8, 'early.tcpx')]));
    expect(await dns.next(response('early.test'))).toMatchObject({ messageId: 7, process: { pid: process.pid } });
    expect(await dns.next(response('early.tcpx'))).toMatchObject({ messageId: 8, process: { pid: process.pid } });
    stream.destroy();
  });

  it('of IPv6 asks a server of IPv4', async () => {
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid] });
    const mine = socket('udp6');
    mine.send(encodeQuery(9, 'mapped.test'), 53, `::ffff:${V4}`);
    const ends = { ipVersion: 4, serverAddress: V4, localAddress: '127.0.0.1' };
    expect(await dns.next(query('mapped.test'))).toMatchObject(ends);
    expect(await dns.next(response('mapped.test'))).toMatchObject(ends);
  });

  it('of a server of the option’s ports is seen, and of no other', async () => {
    await serve(V4, addresses, 5399);
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid], options: { ports: [5399] } });
    const mine = socket();
    mine.send(encodeQuery(1, 'usual.test'), 53, V4);
    mine.send(encodeQuery(2, 'other.test'), 5399, V4);
    expect(await dns.next(response('other.test'))).toMatchObject({ serverPort: 5399 });
    expect(dns.events.map(({ name }) => name)).toEqual(['other.test', 'other.test']);
  });
});

it('sees each of several datagrams that are sent as one', async () => {
  const server = socket().bind(53, V4);
  await once(server, 'listening');
  const program = await compileC(
    'segments',
    `
    #include <arpa/inet.h>
    #include <netinet/udp.h>
    #include <string.h>
    #include <sys/socket.h>
    int main(void)
    {
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
      char queries[5 * 24], one[24] = "\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6hidden\\0\\0\\1\\0";
      int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 24;
      one[23] = 1;
      for (int i = 0; i < 5; i++) { memcpy(queries + 24 * i, one, 24); queries[24 * i + 1] = i; }
      inet_pton(AF_INET, "${V4}", &to.sin_addr);
      if (setsockopt(fd, SOL_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size))) return 1;
      return sendto(fd, queries, sizeof(queries) - 12, 0, (void *)&to, sizeof(to)) != sizeof(queries) - 12;
    }`,
  );
  const dns = await startTracker('dns', { comms: ['segments'] });
  expect((await run(program)).code).toBe(0);
  const seen = await dns.stop();
  expect(seen.map(({ messageId, name, messageBytes }) => [messageId, name, messageBytes])).toEqual([
    [0, 'hidden', 24],
    [1, 'hidden', 24],
    [2, 'hidden', 24],
    [3, 'hidden', 24],
    [4, null, 12],
  ]);
});

describe('a message over UDP', () => {
  async function sent(...messages: readonly Buffer[]): Promise<readonly Seen[]> {
    const server = socket().bind(53, V4);
    await once(server, 'listening');
    const dns = await startTracker('dns', { pids: [process.pid] });
    const mine = socket();
    for (const message of messages) await new Promise<void>((resolve) => mine.send(message, 53, V4, () => resolve()));
    return dns.stop();
  }
  const named = (...labels: readonly string[]) =>
    Buffer.concat([
      ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')])),
      Buffer.of(0),
    ]);

  it('has its name as dig writes it', async () => {
    const long = [63, 63, 63, 61].map((length) => 'L'.repeat(length)).join('.');
    const odd = '\x00'.repeat(63);
    const seen = await sent(
      encodeQuery(1, '.', 2),
      encodeQuery(2, named('a.b', 'c\\d', 'e f')),
      encodeQuery(3, named('\x00\xff\n', 'UPPER', '"')),
      encodeQuery(4, long, 65280, 32769),
      encodeQuery(5, named(odd, odd, odd, odd.slice(2))),
    );
    expect(seen.map(({ name, queryType, queryClass, malformed }) => [name, queryType, queryClass, malformed])).toEqual([
      ['.', 'NS', 'IN', false],
      ['a\\.b.c\\\\d.e\\032f', 'A', 'IN', false],
      ['\\000\\255\\010.upper."', 'A', 'IN', false],
      [long.toLowerCase(), 'TYPE65280', 'CLASS32769', false],
      [[63, 63, 63, 61].map((length) => '\\000'.repeat(length)).join('.'), 'A', 'IN', false],
    ]);
  });

  it('that is malformed is told so', async () => {
    const header = numbers(9, 0x0100, 1, 0, 0, 0);
    const tail = numbers(A, 1);
    const label = Buffer.concat([Buffer.of(63), Buffer.alloc(63, 'x')]);
    const seen = await sent(
      Buffer.from('hi'),
      Buffer.alloc(11),
      header,
      Buffer.concat([header, numbers(0xc00c), tail]), // a pointer to itself
      Buffer.concat([header, Buffer.of(64), Buffer.alloc(64, 'x'), Buffer.of(0), tail]),
      Buffer.concat([header, label, label, label, label, Buffer.of(0), tail]), // 257 bytes
      Buffer.concat([header, Buffer.of(9), Buffer.from('short')]),
      Buffer.concat([header, named('cut'), Buffer.of(0, 1, 0)]),
      encodeResponse(encodeQuery(9, 'reversed.test'), []), // sent to a server
      Buffer.alloc(1200, 0xff),
    );
    expect(seen).toHaveLength(10);
    for (const each of seen) expect(each['malformed']).toBe(true);
    expect(seen.map(({ messageId }) => messageId)).toEqual([null, null, 9, 9, 9, 9, 9, 9, 9, 65535]);
    expect(seen.map(({ name }) => name)).toEqual([...Array<null>(8).fill(null), 'reversed.test', null]);
  });

  it('without a question, or with several, is none that is malformed', async () => {
    const two = Buffer.concat([
      numbers(2, 0x0100, 2, 0, 0, 0),
      encodeName('one.test'),
      numbers(A, 1),
      numbers(0xc00c, AAAA, 1),
    ]);
    const seen = await sent(numbers(1, 0x1000, 0, 0, 0, 0), two);
    expect(seen).toMatchObject([
      { opcode: 'STATUS', questions: 0, name: null, queryType: null, malformed: false },
      { opcode: 'QUERY', questions: 2, name: 'one.test', queryType: 'A', malformed: false },
    ]);
  });
});

describe('a response', () => {
  async function answered(respond: Respond, name = 'answers.test'): Promise<Seen> {
    await serve(V4, respond);
    const dns = await startTracker('dns', { pids: [process.pid] });
    socket().send(encodeQuery(1, name), 53, V4);
    return dns.next(response());
  }

  it('has names that go on elsewhere in it', async () => {
    const seen = await answered((_question, asked) =>
      encodeResponse(asked, [
        { type: CNAME, data: Buffer.concat([Buffer.of(3), Buffer.from('WWW'), numbers(0xc00c)]) },
        { type: A, name: numbers(0xc000 | (12 + 18 + 12)), data: Buffer.of(198, 51, 100, 7) },
        { type: 16, data: Buffer.from('\x05he"lo\x00', 'latin1') },
      ]),
    );
    expect(seen).toMatchObject({
      answers: [
        'answers.test 300 IN CNAME www.answers.test',
        'www.answers.test 300 IN A 198.51.100.7',
        'answers.test 300 IN TXT "he\\"lo" ""',
      ],
      addresses: ['198.51.100.7'],
    });
  });

  it('whose pointers form a loop, or whose records are cut, has the answers before it', async () => {
    const good = { type: A, data: Buffer.of(192, 0, 2, 2) };
    const seen = await answered((_question, asked) => {
      const at = asked.length + 16;
      return encodeResponse(asked, [good, { ...good, name: numbers(0xc000 | at) }, good]);
    });
    expect(seen).toMatchObject({ answerCount: 3, addresses: ['192.0.2.2'], malformed: false });
  });

  it('that nobody asked for has no latency', async () => {
    const server = socket().bind(53, V4);
    await once(server, 'listening');
    const mine = socket().bind(0, '127.0.0.1');
    await once(mine, 'listening');
    const dns = await startTracker('dns', { pids: [process.pid] });
    mine.send(encodeQuery(1, 'asked.test'), 53, V4);
    await once(server, 'message');
    const forged = encodeResponse(encodeQuery(2, 'forged.test'), []);
    server.send(forged, mine.address().port, '127.0.0.1');
    expect(await dns.next(response())).toMatchObject({
      name: 'forged.test',
      latencyNs: null,
      process: { pid: process.pid },
    });
  });

  it('of 4 KiB and more has the answers of its beginning', async () => {
    const records = Array.from({ length: 400 }, (_, i) => ({ type: A, data: Buffer.of(10, 0, i >> 8, i & 255) }));
    const seen = await answered((_question, asked) => encodeResponse(asked, records));
    expect(seen).toMatchObject({ answerCount: 400, messageBytes: 12 + 18 + 400 * 16 });
    expect(seen['addresses']).toEqual(records.slice(0, (4096 - 30) >> 4).map(({ data }) => data.join('.')));
  });
});

describe('a stream', () => {
  async function written(...pieces: readonly Buffer[]): Promise<readonly Seen[]> {
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid] });
    const stream = connect({ port: 53, host: V4, noDelay: true });
    await once(stream, 'connect');
    // Without Nagle's algorithm, each is a segment of its own.
    for (const piece of pieces) await new Promise<void>((resolve) => stream.write(piece, () => resolve()));
    await until('the last response', () => dns.events.some((e) => response('last.test')(e)));
    stream.destroy();
    return dns.stop();
  }
  const framed = (message: Buffer) => Buffer.concat([numbers(message.length), message]);

  it('has several messages in a segment', async () => {
    const names = Array.from({ length: 200 }, (_, i) => `name-${i}.test`);
    const seen = await written(
      Buffer.concat([...names.map((name, i) => framed(encodeQuery(i, name))), framed(encodeQuery(999, 'last.test'))]),
    );
    expect(seen.filter(query()).map(({ name }) => name)).toEqual([...names, 'last.test']);
    expect(seen.filter(response()).map(({ name }) => name)).toEqual([...names, 'last.test']);
    for (const each of seen.filter(response())) expect(each['latencyNs']).not.toBeNull();
  });

  it('has messages whose length comes before them, in one piece or two', async () => {
    const first = framed(encodeQuery(1, 'first.test'));
    const last = framed(encodeQuery(2, 'last.test'));
    const seen = await written(
      first.subarray(0, 2),
      first.subarray(2),
      last.subarray(0, 1),
      last.subarray(1, 2),
      last.subarray(2),
    );
    expect(seen.filter(query()).map(({ name, malformed }) => [name, malformed])).toEqual([
      ['first.test', false],
      ['last.test', false],
    ]);
  });

  it('tells that a message’s beginning is in several segments, and goes on with the next message', async () => {
    const first = framed(encodeQuery(1, 'split.test'));
    const seen = await written(first.subarray(0, 20), first.subarray(20), framed(encodeQuery(2, 'last.test')));
    expect(seen.filter(query()).map(({ name, messageId, malformed }) => [name, messageId, malformed])).toEqual([
      [null, 1, true],
      ['last.test', 2, false],
    ]);
  });
});

describe('a filter', () => {
  it('is evaluated in the kernel: of names, types, codes, servers and latencies', async () => {
    await serve();
    const filters: readonly (readonly [where: string, expected: readonly string[]])[] = [
      ['name == "two.test"', ['QUERY two.test', 'RESPONSE two.test']],
      ['name.startsWith("t") && operation == "QUERY"', ['QUERY two.test']],
      ['queryType == "AAAA"', ['QUERY six.test', 'RESPONSE six.test']],
      ['rcode == "NXDOMAIN"', ['RESPONSE gone.none']],
      ['rcode != "NOERROR"', ['RESPONSE gone.none']],
      ['latencyNs > 0 && name == "one.test"', ['RESPONSE one.test']],
      ['serverAddress == "192.0.2.9"', []],
      [
        `cidr("127.0.0.0/8").containsIP(serverAddress) && serverPort == 53 && name == "one.test"`,
        ['QUERY one.test', 'RESPONSE one.test'],
      ],
    ];
    const sessions = await Promise.all(
      filters.map(async ([where]) => startTracker('dns', { pids: [process.pid], where, capture: 'DEMANDED' })),
    );
    const all = await startTracker('dns', { pids: [process.pid] });
    const mine = socket();
    for (const [id, name, type] of [
      [1, 'one.test', A],
      [2, 'two.test', A],
      [3, 'six.test', AAAA],
      [4, 'gone.none', A],
    ] as const) {
      mine.send(encodeQuery(id, name, type), 53, V4);
      await all.next(response(name));
    }
    for (const [i, [where, expected]] of filters.entries()) {
      const session = sessions[i];
      if (!session) continue;
      const seen = await session.stop();
      expect([where, seen.map((e) => `${String(e['operation'])} ${String(e['name'])}`)]).toEqual([where, expected]);
      const { produced, discarded } = await session.stats();
      expect([where, produced, discarded]).toEqual([where, expected.length, 0]);
      for (const each of seen) expect(each['answers']).toBeNull();
    }
  });

  it('by operations leaves the latency of responses as it is', async () => {
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid], options: { operations: ['RESPONSE'] } });
    socket().send(encodeQuery(1, 'only.test'), 53, V4);
    expect((await dns.next(response('only.test')))['latencyNs']).not.toBeNull();
    expect(dns.events).toHaveLength(1);
  });

  it('by target takes the asking process, whoever answers', async () => {
    await serve();
    const script = `const s = require('dgram').createSocket('udp4'); process.stdin.on('data', () => s.send(Buffer.from('${encodeQuery(
      5,
      'child.test',
    ).toString('hex')}', 'hex'), 53, '${V4}')); s.on('message', () => process.exit()); console.log('ready')`;
    const [child, stranger] = [0, 1].map(() => start(process.execPath, ['-e', script]));
    if (!child || !stranger) throw new Error('not started');
    await Promise.all([firstLine(child), firstLine(stranger)]);
    const dns = await startTracker('dns', { pids: [child.pid ?? 0] });
    const ends = [child, stranger].map((one) => once(one, 'exit'));
    stranger.stdin?.write('\n');
    child.stdin?.write('\n');
    await Promise.all(ends);
    const seen = await dns.stop();
    expect(seen.map(({ operation, process: { pid } }) => [operation, pid])).toEqual([
      ['QUERY', child.pid],
      ['RESPONSE', child.pid],
    ]);
  });
});

it('sees what tcpdump sees, over UDP and TCP', async () => {
  await serve();
  await serve('::1');
  const witness = start('tcpdump', ['-i', 'lo', '-n', '-l', '--immediate-mode', 'port', '53'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  witness.stdout?.on('data', (data: Buffer) => (said += data.toString()));
  let ready = '';
  witness.stderr?.on('data', (data: Buffer) => (ready += data.toString()));
  await until('tcpdump listens', () => ready.includes('listening on'));
  const dns = await startTracker('dns', { comms: ['getent', 'busybox'] });
  for (const [configuration, name] of [
    [resolver(), 'one.test'],
    [resolver('::1'), 'two.test'],
    [resolver(V4, 'options use-vc\n'), 'three.test'],
    [resolver('::1', 'options use-vc\n'), 'four.none'],
  ] as const)
    // Of two queries in one segment, as glibc has them for both families over TCP, tcpdump prints the first.
    await resolving(configuration, 'getent', 'ahostsv4', name);
  await run('busybox', ['nslookup', 'five.none', V4], { stdio: ['ignore', 'pipe', 'ignore'] });
  const seen = await dns.stop();
  // "… > 127.0.53.1.53: 4711+ A? one.test. (26)", "…: 4711 1/0/0 A 192.0.2.1 (42)", "…: 4711 NXDomain* 0/0/0 (27)"
  const dumped = () => [
    ...[...said.matchAll(/[.]53: .*?(?<![\d,])(\d+)\+ (\w+)\? (\S+)[.] \((\d+)\)$/gm)].map(
      ([, id, type, name, bytes]) => `QUERY ${id} ${type} ${name} ${bytes}`,
    ),
    ...[...said.matchAll(/[.]53 > .*?(?<![\d,])(\d+) (NXDomain)?\*?-? ?(\d+)\/0\/0 ?(?:\w+ (\S+) )?\((\d+)\)$/gm)].map(
      ([, id, none, count, address, bytes]) => `RESPONSE ${id} ${none ?? 'NoError'} ${count} ${address ?? ''} ${bytes}`,
    ),
  ];
  const expected = seen.map((e) =>
    e['operation'] === 'QUERY'
      ? `QUERY ${String(e['messageId'])} ${String(e['queryType'])} ${String(e['name'])} ${String(e['messageBytes'])}`
      : `RESPONSE ${String(e['messageId'])} ${e['rcode'] === 'NXDOMAIN' ? 'NXDomain' : 'NoError'} ${String(e['answerCount'])} ` +
        `${(e['addresses'] as string[]).join()} ${String(e['messageBytes'])}`,
  );
  expect(expected.length).toBeGreaterThanOrEqual(12);
  await untilHolds('tcpdump has printed all', dumped, ({ length }) => length >= expected.length);
  expect(dumped().sort()).toEqual(expected.sort());
  const ended = once(witness, 'exit');
  witness.kill('SIGTERM');
  await ended;
});

it('counts exactly what a small ring has no room for', async () => {
  const server = socket().bind(53, V4);
  await once(server, 'listening');
  // Each name takes a kilobyte.
  const burst = await compileC(
    'burst',
    `
    #include <arpa/inet.h>
    #include <string.h>
    #include <sys/socket.h>
    int main(void)
    {
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
      unsigned char query[12 + 255 + 4] = { 0, 1, 1, 0, 0, 1 };
      int fd = socket(AF_INET, SOCK_DGRAM, 0);
      for (int at = 12; at < 12 + 254; at += 64) query[at] = at == 12 + 192 ? 61 : 63;
      query[268] = query[270] = 1;
      inet_pton(AF_INET, "${V4}", &to.sin_addr);
      for (int i = 0; i < 5000; i++)
        if (sendto(fd, query, sizeof(query), 0, (void *)&to, sizeof(to)) != sizeof(query)) return 1;
      return 0;
    }`,
  );
  await expectExactLoss('dns', { comms: ['burst'] }, 5000, async () => {
    expect((await run(burst)).code).toBe(0);
  });
});
