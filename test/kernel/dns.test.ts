import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { resolving } from '../support/dns.js';
import { A, AAAA, encodeQuery, encodeResponse } from '../support/dns-message.js';
import { addresses, framed, query, response, serve, socket, V4 } from '../support/dns-scene.js';
import { expectExactLoss } from '../support/loss.js';
import { startTracker } from '../support/session.js';
import { until, untilHolds } from '../support/until.js';
import { compileC, firstLine, run, start } from '../support/workload.js';

const TRUNCATED = 0x0200;

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
    expect(
      seen.map(({ dnsOperation: operation, queryType }) => `${String(operation)} ${String(queryType)}`).sort(),
    ).toEqual(['QUERY A', 'QUERY AAAA', 'RESPONSE A', 'RESPONSE AAAA']);
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
    expect(seen.map(({ dnsOperation: operation, protocol, truncated }) => [operation, protocol, truncated])).toEqual([
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
    stream.write(framed(encodeQuery(8, 'early.tcpx')));
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

describe('a filter', () => {
  it('is evaluated in the kernel: of names, types, codes, servers and latencies', async () => {
    await serve();
    const filters: readonly (readonly [where: string, expected: readonly string[]])[] = [
      ['name == "two.test"', ['QUERY two.test', 'RESPONSE two.test']],
      ['name.startsWith("t") && dnsOperation == "QUERY"', ['QUERY two.test']],
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
      expect([where, seen.map((e) => `${String(e['dnsOperation'])} ${String(e['name'])}`)]).toEqual([where, expected]);
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
    expect(seen.map(({ dnsOperation: operation, process: { pid } }) => [operation, pid])).toEqual([
      ['QUERY', child.pid],
      ['RESPONSE', child.pid],
    ]);
  });

  it('by target takes what is asked over a socket that another process has connected, and no more', async () => {
    await serve();
    const [own, other] = [encodeQuery(5, 'own.test'), encodeQuery(6, 'other.test')].map((one) => one.toString('hex'));
    const script = `use Socket; $| = 1; socket(S, PF_INET, SOCK_DGRAM, 0); pipe(R, W);
      sub ask { send(S, pack('H*', shift), 0); recv(S, my $answer, 512, 0); length $answer or die }
      unless ($child = fork) { sysread(R, my $go, 1); ask('${own}'); exit }
      print "$child\n"; <STDIN>; connect(S, sockaddr_in(53, inet_aton('${V4}'))) or die;
      ask('${other}'); syswrite(W, 'x'); waitpid($child, 0); ask('${other}'); exit $?`;
    const parent = start('perl', ['-e', script]);
    const child = Number(await firstLine(parent));
    const [all, ofChild, ofParent] = [
      await startTracker('dns', { comms: ['perl'] }),
      await startTracker('dns', { pids: [child] }),
      await startTracker('dns', { pids: [parent.pid ?? 0], descendants: false }),
    ];
    parent.stdin?.write('\n');
    expect(await once(parent, 'exit')).toEqual([0, null]);
    const told = async (dns: typeof all) =>
      (await dns.stop()).map((one) => [one['dnsOperation'], one['name'], one.process.pid]);
    const exchange = (name: string, pid = 0) => [
      ['QUERY', name, pid],
      ['RESPONSE', name, pid],
    ];
    expect(await told(ofChild)).toEqual(exchange('own.test', child));
    expect(await told(ofParent)).toEqual([
      ...exchange('other.test', parent.pid),
      ...exchange('other.test', parent.pid),
    ]);
    expect(await told(all)).toHaveLength(6);
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
    e['dnsOperation'] === 'QUERY'
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
