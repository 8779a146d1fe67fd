import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Respond } from '../support/dns.js';
import { A, AAAA, encodeName, encodeQuery, encodeResponse, numbers } from '../support/dns-message.js';
import { framed, query, response, serve, socket, V4 } from '../support/dns-scene.js';
import { startTracker, type Seen } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, run } from '../support/workload.js';

/** What messages say, over UDP and TCP, whole and cut. */

const CNAME = 5;

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
