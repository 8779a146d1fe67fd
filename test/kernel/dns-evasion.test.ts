import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { encodeQuery, numbers } from '../support/dns-message.js';
import { framed, query, response, serve, socket, V4 } from '../support/dns-scene.js';
import { startTracker } from '../support/session.js';
import { compileC, run } from '../support/workload.js';

/** What would hide queries of a process, or have them reported otherwise than it sent them. */

describe('a query that NAT takes elsewhere', () => {
  it('has the server that the process addressed, and is hidden by no message that is not sent', async () => {
    const program = await compileC(
      'natted',
      `
      #include <arpa/inet.h>
      #include <string.h>
      #include <sys/socket.h>
      #include <unistd.h>
      static struct sockaddr_in at(const char *address, int port)
      {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
        inet_pton(AF_INET, address, &to.sin_addr);
        return to;
      }
      /* Its length, as over TCP, and a query for the name of 6 characters. */
      static char query[26] = "\\0\\30\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6......\\0\\0\\1\\0\\1";
      static char *named(const char *name) { return (char *)memcpy(query + 15, name, 6) - 13; }
      int main(void)
      {
        struct sockaddr_in same = at("10.53.0.53", 53), moved = at("10.53.0.54", 53), own = at("10.53.0.1", 53);
        struct sockaddr_in other = at("10.53.0.1", 9);
        int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
        if (bind(listener, (void *)&own, sizeof(own)) || listen(listener, 1)) return 1;
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (sendto(fd, named("to----"), 24, 0, (void *)&same, sizeof(same)) != 24) return 2;
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(fd, (void *)&same, sizeof(same)) || send(fd, named("conned"), 24, 0) != 24) return 3;
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(fd, (void *)&moved, sizeof(moved)) || send(fd, named("moved1"), 24, 0) != 24) return 4;
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(fd, (void *)&moved, sizeof(moved))) return 5;
        if (sendto(fd, "", 0, MSG_CONFIRM | 0x10 /* MSG_PROBE */, (void *)&other, sizeof(other))) return 6;
        if (send(fd, named("probed"), 24, 0) != 24) return 7;
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&same, sizeof(same)) || send(fd, named("stream") - 2, 26, 0) != 26) return 8;
        return 0;
      }`,
    );
    const dns = await startTracker('dns', { comms: ['natted'], options: { operations: ['QUERY'] } });
    const rule = (protocol: string, from: string, to: string) =>
      `iptables-nft -t nat -A OUTPUT -p ${protocol} -d ${from} --dport 53 -j DNAT --to-destination ${to}`;
    const script = [
      'ip link set lo up',
      'ip address add 10.53.0.1/24 dev lo',
      rule('udp', '10.53.0.53', '10.53.0.1:53'),
      rule('tcp', '10.53.0.53', '10.53.0.1:53'),
      rule('udp', '10.53.0.54', '10.53.0.1:5353'),
      program,
    ].join(' && ');
    expect((await run('unshare', ['--net', 'sh', '-c', script])).code).toBe(0);
    const seen = await dns.stop();
    expect(seen.map((e) => [e['protocol'], e['name'], e['serverAddress'], e['serverPort']])).toEqual([
      ['UDP', 'to----', '10.53.0.53', 53],
      ['UDP', 'conned', '10.53.0.53', 53],
      ['UDP', 'moved1', '10.53.0.54', 53],
      ['UDP', 'probed', '10.53.0.54', 53],
      ['TCP', 'stream', '10.53.0.53', 53],
    ]);
  });
});

it('tells a server’s messages from those of a client that has a server’s port, too', async () => {
  await serve();
  const dns = await startTracker('dns', { pids: [process.pid] });
  const mine = socket().bind(53, '127.0.53.2');
  await once(mine, 'listening');
  for (const name of ['first.test', 'second.test']) {
    mine.send(encodeQuery(1, name), 53, V4);
    await dns.next(response(name));
  }
  const seen = await dns.stop();
  expect(seen.map((e) => [e['dnsOperation'], e['name'], e['serverAddress'], e['malformed']])).toEqual([
    ['QUERY', 'first.test', V4, false],
    ['RESPONSE', 'first.test', V4, false],
    ['QUERY', 'second.test', V4, false],
    ['RESPONSE', 'second.test', V4, false],
  ]);
});

describe('a stream', () => {
  it('has a lost event where it has more messages in a segment than are looked at', async () => {
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid] });
    const stream = connect({ port: 53, host: V4, noDelay: true });
    await once(stream, 'connect');
    const one = framed(numbers(1, 0x0100, 0, 0, 0, 0));
    await new Promise<void>((resolve) =>
      stream.write(Buffer.concat(Array.from({ length: 1100 }, () => one)), () => resolve()),
    );
    stream.write(framed(encodeQuery(2, 'last.test')));
    await dns.next(response('last.test'));
    stream.destroy();
    const seen = await dns.stop();
    expect(seen.filter(query())).toHaveLength(1025);
    const { produced, lost } = await dns.stats();
    expect([produced, lost]).toEqual([seen.length + 1, 1]);
  });

  it('goes on when somebody else sends it a SYN, which the kernel drops', async () => {
    const syn = await compileC(
      'syn',
      `
      #include <arpa/inet.h>
      #include <netinet/ip.h>
      #include <netinet/tcp.h>
      #include <stdlib.h>
      #include <string.h>
      #include <sys/socket.h>
      struct pseudo { unsigned from, to; unsigned char zero, protocol; unsigned short length; };
      static struct { struct iphdr ip; struct tcphdr tcp; } packet;
      int main(int argc, char **argv)
      {
        struct sockaddr_in to = { .sin_family = AF_INET };
        struct pseudo pseudo = { .protocol = IPPROTO_TCP, .length = htons(sizeof(packet.tcp)) };
        unsigned short words[(sizeof(pseudo) + sizeof(packet.tcp)) / 2];
        unsigned sum = 0;
        inet_pton(AF_INET, "${V4}", &packet.ip.saddr);
        inet_pton(AF_INET, "127.0.0.1", &packet.ip.daddr);
        packet.ip.version = 4, packet.ip.ihl = 5, packet.ip.ttl = 64, packet.ip.protocol = IPPROTO_TCP;
        packet.tcp.source = htons(53), packet.tcp.dest = htons(atoi(argv[1]));
        packet.tcp.seq = htonl(0x12345678), packet.tcp.doff = 5, packet.tcp.syn = 1, packet.tcp.window = htons(1000);
        pseudo.from = packet.ip.saddr, pseudo.to = to.sin_addr.s_addr = packet.ip.daddr;
        memcpy(words, &pseudo, sizeof(pseudo));
        memcpy((char *)words + sizeof(pseudo), &packet.tcp, sizeof(packet.tcp));
        for (unsigned i = 0; i < sizeof(words) / 2; i++) sum += words[i];
        while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
        packet.tcp.check = ~sum;
        return sendto(socket(AF_INET, SOCK_RAW, IPPROTO_RAW), &packet, sizeof(packet), 0, (void *)&to, sizeof(to)) != sizeof(packet);
      }`,
    );
    await serve();
    const dns = await startTracker('dns', { pids: [process.pid] });
    const stream = connect({ port: 53, host: V4, noDelay: true });
    await once(stream, 'connect');
    stream.write(framed(encodeQuery(1, 'first.test')));
    await dns.next(response('first.test'));
    expect((await run(syn, [String(stream.localPort)])).code).toBe(0);
    stream.write(framed(encodeQuery(2, 'last.test')));
    await dns.next(response('last.test'));
    stream.destroy();
    const seen = await dns.stop();
    expect(seen.map(({ dnsOperation: operation, name }) => `${String(operation)} ${String(name)}`)).toEqual([
      'QUERY first.test',
      'RESPONSE first.test',
      'QUERY last.test',
      'RESPONSE last.test',
    ]);
  });
});
