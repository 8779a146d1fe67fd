import { createServer, connect as connectTcp, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { connect, type ConnectionOptions } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { compileC, ended, run, start } from '../support/workload.js';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** Writes each of them in a connection of its own, in its pieces; a piece is a segment. */
async function send(port: number, ...messages: readonly (readonly Buffer[])[]): Promise<void> {
  for (const pieces of messages) {
    const stream = connectTcp({ port, host: '127.0.0.1', noDelay: true });
    stream.on('error', () => stream.destroy());
    await once(stream, 'connect');
    for (const piece of pieces) await new Promise<void>((resolve) => stream.write(piece, () => resolve()));
    stream.destroy();
  }
}

const sized = (bytes: 1 | 2 | 3, ...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(bytes);
  length.writeUIntBE(body.length, 0, bytes);
  return Buffer.concat([length, body]);
};

const extension = (type: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.of(type >> 8, type & 255), sized(2, body)]);

const serverName = (name: string): Buffer =>
  extension(0, sized(2, Buffer.concat([Buffer.of(0), sized(2, Buffer.from(name))])));

/** A record with a ClientHello of one cipher suite; without `extensions` it has no list of them, as before TLS 1.2. */
function helloOf(extensions: readonly Buffer[] | null): Buffer {
  const body = [Buffer.of(3, 3), Buffer.alloc(32, 7), sized(1), sized(2, Buffer.of(0x13, 1)), sized(1, Buffer.of(0))];
  if (extensions) body.push(sized(2, ...extensions));
  return Buffer.concat([Buffer.of(22, 3, 1), sized(2, Buffer.of(1), sized(3, ...body))]);
}

/** Where the list of extensions begins: behind the session's id, the cipher suites, and the ways of compression. */
function beforeExtensions(hello: Buffer): number {
  let at = 5 + 4 + 2 + 32;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  return at + 1 + hello.readUInt8(at);
}

/** A server that closes each connection when the hello has come, or `keeps` it. Returns its port, and what it received. */
async function listen(
  host = '127.0.0.1',
  keeps = false,
): Promise<{ readonly port: number; readonly received: Buffer[] }> {
  const received: Buffer[] = [];
  const server = createServer((stream) => {
    stream.on('error', () => stream.destroy());
    stream.once('data', (data: Buffer) => {
      received.push(data);
      if (!keeps) stream.destroy();
    });
  }).listen(0, host);
  servers.push(server);
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, received };
}

async function greet(port: number, options: ConnectionOptions = {}, host = '127.0.0.1'): Promise<void> {
  const stream = connect({ port, host, ...options });
  stream.on('error', () => stream.destroy());
  await new Promise((resolve) => stream.once('close', resolve));
}

const named = (name: string | null) => (e: Seen) => e['name'] === name;

describe('a ClientHello', () => {
  it.each([
    ['127.0.0.1', 4],
    ['::1', 6],
  ])('to %s has the name and the protocols that are asked for', async (host, ipVersion) => {
    const { port } = await listen(host);
    const sni = await startTracker('sni', { pids: [process.pid] });
    await greet(port, { servername: 'WWW.Example.test', ALPNProtocols: ['h2', 'http/1.1'] }, host);
    expect(await sni.next(named('www.example.test'))).toMatchObject({
      process: { pid: process.pid, uid: 0 },
      ipVersion,
      localAddress: host,
      remoteAddress: host,
      remotePort: port,
      alpn: ['h2', 'http/1.1'],
      tlsVersion: 'TLS 1.3',
      encrypted: false,
      ja4: expect.stringMatching(/^t13d\d{4}h2_[0-9a-f]{12}_[0-9a-f]{12}$/) as string,
      malformed: false,
    });
  });

  it('of other programs is theirs, with the same fingerprint each time', async () => {
    const { port } = await listen();
    const sni = await startTracker('sni', { comms: ['curl', 'openssl'] });
    const curl = () => run('curl', ['-sk', '--resolve', `curl.test:${port}:127.0.0.1`, `https://curl.test:${port}/`]);
    const first = await curl();
    const second = await curl();
    const openssl = await run('openssl', ['s_client', '-tls1_2', '-noservername', '-connect', `127.0.0.1:${port}`], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    const seen = await sni.stop();
    expect(seen.map(({ name, process: { pid, comm } }) => [name, pid, comm])).toEqual([
      ['curl.test', first.pid, 'curl'],
      ['curl.test', second.pid, 'curl'],
      [null, openssl.pid, 'openssl'],
    ]);
    expect(seen[0]?.['ja4']).toBe(seen[1]?.['ja4']);
    expect(seen[2]).toMatchObject({ tlsVersion: 'TLS 1.2', alpn: [], malformed: false });
    expect(seen[2]?.['ja4']).toMatch(/^t12i/);
  });

  it('is found after other data, as STARTTLS has it, and in nothing else', async () => {
    const { port, received } = await listen();
    await greet(port, { servername: 'later.test' });
    const [hello = Buffer.alloc(0)] = received;
    const { port: kept } = await listen('127.0.0.1', true);
    const sni = await startTracker('sni', { pids: [process.pid] });
    const stream = connectTcp({ port: kept, host: '127.0.0.1', noDelay: true });
    await once(stream, 'connect');
    const write = (data: Buffer) => new Promise<void>((resolve) => stream.write(data, () => resolve()));
    await write(Buffer.from('STARTTLS\r\n'.padEnd(200)));
    await write(Buffer.concat([Buffer.from([0x17]), hello.subarray(1)]));
    await write(hello);
    stream.destroy();
    expect((await sni.stop()).map(({ name }) => name)).toEqual(['later.test']);
  });

  it('whose name does not come with it is told so', async () => {
    const { port, received } = await listen();
    await greet(port, { servername: 'hidden.test' });
    const [hello = Buffer.alloc(0)] = received;
    const end = hello.indexOf('hidden.test') + 4;
    // In two records: what comes after the first has a header of its own.
    const first = Buffer.from(hello.subarray(0, end));
    first.writeUInt16BE(end - 5, 3);
    const rest = hello.subarray(end);
    const split = Buffer.concat([first, Buffer.of(0x16, 3, 1, rest.length >> 8, rest.length & 255), rest]);
    const sni = await startTracker('sni', { pids: [process.pid] });
    const cuts = [end, 60, beforeExtensions(hello)].map((at) => [hello.subarray(0, at), hello.subarray(at)]);
    await send(port, [split], ...cuts);
    const seen = await sni.stop();
    expect(seen.map(({ name, malformed }) => ({ name, malformed }))).toEqual(
      Array.from({ length: 4 }, () => ({ name: null, malformed: true })),
    );
  });

  it('has its name read behind as many extensions as there is room for', async () => {
    const { port } = await listen();
    const many = (count: number) => Array.from({ length: count }, (_, i) => extension(0x1000 + i, Buffer.alloc(0)));
    const sni = await startTracker('sni', { pids: [process.pid] });
    await send(
      port,
      [helloOf([...many(64), serverName('behind.test')])],
      [helloOf([...many(1000), serverName('far.test')])],
      [helloOf([...many(1020), serverName('beyond.test')])], // in the fifth KiB
      [helloOf(many(1000))],
    );
    expect((await sni.stop()).map(({ name, malformed }) => ({ name, malformed }))).toEqual([
      { name: 'behind.test', malformed: false },
      { name: 'far.test', malformed: false },
      { name: null, malformed: true },
      { name: null, malformed: false },
    ]);
  });

  it('without a name is well-formed only if it ends where it says', async () => {
    const { port } = await listen();
    const stray = helloOf([extension(0x1000, Buffer.alloc(200))]);
    // The extension's length leaves bytes at the list's end that are no extension, and goes beyond it.
    const [shorter, longer] = [Buffer.from(stray), Buffer.from(stray)];
    const lengthAt = stray.length - 202;
    shorter.writeUInt16BE(197, lengthAt);
    longer.writeUInt16BE(201, lengthAt);
    const sni = await startTracker('sni', { pids: [process.pid] });
    await send(
      port,
      [helloOf(null)],
      // What comes behind it in the same segment is not part of it.
      [Buffer.concat([helloOf(null), Buffer.of(0, 40), serverName('other.test'), Buffer.alloc(40)])],
      [stray],
      [shorter],
      [longer],
    );
    expect((await sni.stop()).map(({ name, malformed }) => ({ name, malformed }))).toEqual([
      { name: null, malformed: false },
      { name: null, malformed: false },
      { name: null, malformed: false },
      { name: null, malformed: true },
      { name: null, malformed: true },
    ]);
  });

  it('whose name has a byte that no name has is malformed, so that it passes for no other name', async () => {
    const { port, received } = await listen();
    await greet(port, { servername: 'evil.test.x' });
    const [hello = Buffer.alloc(0)] = received;
    hello[hello.indexOf('evil.test.x') + 9] = 0;
    const sni = await startTracker('sni', { pids: [process.pid], where: 'name != "evil.test"' });
    const all = await startTracker('sni', { pids: [process.pid] });
    const stream = connectTcp(port, '127.0.0.1');
    stream.on('error', () => stream.destroy());
    await once(stream, 'connect');
    await new Promise<void>((resolve) => stream.write(hello, () => resolve()));
    stream.destroy();
    expect((await all.stop()).map(({ name, malformed }) => ({ name, malformed }))).toEqual([
      { name: null, malformed: true },
    ]);
    expect(await sni.stop()).toEqual([]);
  });

  it("that a thread of the kernel passes on is not reported as that one's", async () => {
    // What `from` receives, a worker of the kernel sends through `out` (BPF_MAP_TYPE_SOCKMAP).
    const relay = await compileC(
      'relay',
      `
      #include <arpa/inet.h>
      #include <linux/bpf.h>
      #include <stdlib.h>
      #include <sys/socket.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      static int bpf(int command, union bpf_attr *given) { return syscall(SYS_bpf, command, given, sizeof(*given)); }
      static int put(int map, int key, int fd)
      {
        union bpf_attr update = { .map_fd = map, .key = (unsigned long)&key, .value = (unsigned long)&fd };
        return bpf(BPF_MAP_UPDATE_ELEM, &update);
      }
      int main(int argc, char **argv)
      {
        union bpf_attr make = { .map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 2 };
        int map = bpf(BPF_MAP_CREATE, &make);
        struct bpf_insn pass_on[] = { /* bpf_sk_redirect_map(skb, map, 0, 0) */
          { .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map }, {},
          { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3 }, { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4 },
          { .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_sk_redirect_map }, { .code = BPF_JMP | BPF_EXIT },
        };
        union bpf_attr load = {
          .prog_type = BPF_PROG_TYPE_SK_SKB, .expected_attach_type = BPF_SK_SKB_VERDICT,
          .insns = (unsigned long)pass_on, .insn_cnt = 6, .license = (unsigned long)"GPL",
        };
        union bpf_attr attach = { .target_fd = map, .attach_type = BPF_SK_SKB_VERDICT };
        struct sockaddr_in target = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
        struct sockaddr_in own = { .sin_family = AF_INET };
        socklen_t length = sizeof(own);
        char hello[4096];
        long size = read(0, hello, sizeof(hello));
        int listener = socket(AF_INET, SOCK_STREAM, 0), to = socket(AF_INET, SOCK_STREAM, 0);
        int out = socket(AF_INET, SOCK_STREAM, 0);
        target.sin_addr.s_addr = own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (bind(listener, (void *)&own, length) || listen(listener, 1) || getsockname(listener, (void *)&own, &length) ||
            connect(to, (void *)&own, length) || connect(out, (void *)&target, length)) return 1;
        attach.attach_bpf_fd = bpf(BPF_PROG_LOAD, &load);
        if (bpf(BPF_PROG_ATTACH, &attach) || put(map, 0, out) || put(map, 1, accept(listener, NULL, NULL))) return 2;
        if (size <= 0 || write(to, hello, size) != size) return 3;
        read(out, hello, 1); /* until the server closes */
        return 0;
      }`,
    );
    const { port, received } = await listen();
    const hello = helloOf([serverName('relayed.test')]);
    const sni = await startTracker('sni', { where: 'name == "relayed.test"' });
    const child = start(relay, [String(port)]);
    child.stdin?.end(hello);
    expect((await ended(child)).code).toBe(0);
    expect(Buffer.concat(received)).toEqual(hello);
    const seen = await sni.stop();
    expect(seen.map(({ process: { pid, comm } }) => [pid, comm])).toEqual([[child.pid, 'relay']]);
    expect(seen[0]?.['remotePort']).not.toBe(port);
  });

  it('of any bytes is decoded safely', async () => {
    const { port } = await listen();
    const head = Buffer.concat([Buffer.of(0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3), Buffer.alloc(32)]);
    const bodies = [
      Buffer.alloc(473, 0xff),
      Buffer.alloc(473, 0),
      Buffer.concat([Buffer.of(0, 0, 2, 19, 1, 1, 0, 0xff, 0xff), Buffer.alloc(464, 0x0a)]),
      Buffer.concat([Buffer.of(0, 0, 2, 19, 1, 1, 0, 1, 200, 0, 0, 0xff, 0xff, 1, 0, 0, 1, 0), Buffer.alloc(455, 65)]),
    ];
    const sni = await startTracker('sni', { pids: [process.pid] });
    for (const body of bodies) {
      const stream = connectTcp(port, '127.0.0.1');
      stream.on('error', () => stream.destroy());
      await once(stream, 'connect');
      await new Promise<void>((resolve) => stream.write(Buffer.concat([head, body]), () => resolve()));
      stream.destroy();
    }
    const seen = await sni.stop();
    expect(seen).toHaveLength(bodies.length);
    expect(seen.map(({ ja4 }) => ja4).filter((value) => value === null).length).toBeGreaterThan(0);
    expect(seen[0]).toMatchObject({ name: null, malformed: true });
  });
});

it('evaluates filters and its option in the kernel', async () => {
  const { port } = await listen();
  const filters: readonly (readonly [where: string, expected: readonly (string | null)[]])[] = [
    ['name == "one.test"', ['one.test']],
    ['name.startsWith("t")', ['two.test']],
    ['remotePort == 1', []],
    [`cidr("127.0.0.0/8").containsIP(remoteAddress) && remotePort == ${port}`, ['one.test', 'two.test', null]],
  ];
  const sessions = await Promise.all(
    filters.map(async ([where]) => startTracker('sni', { pids: [process.pid], where, capture: 'DEMANDED' })),
  );
  const only = await startTracker('sni', { pids: [process.pid], options: { namedOnly: true } });
  await greet(port, { servername: 'one.test' });
  await greet(port, { servername: 'two.test' });
  await greet(port);
  for (const [i, [where, expected]] of filters.entries()) {
    const seen = (await sessions[i]?.stop()) ?? [];
    expect([where, seen.map(({ name }) => name)]).toEqual([where, expected]);
    const { produced, discarded } = (await sessions[i]?.stats()) ?? {};
    expect([where, produced, discarded]).toEqual([where, expected.length, 0]);
    for (const each of seen) expect(each['ja4']).toBeNull();
  }
  expect((await only.stop()).map(({ name }) => name)).toEqual(['one.test', 'two.test']);
});

it('with namedOnly reports malformed messages, which may have a name that was hidden', async () => {
  const { port } = await listen();
  const hello = helloOf([serverName('split.test')]);
  const sni = await startTracker('sni', { pids: [process.pid], options: { namedOnly: true } });
  await send(port, [helloOf([])], [hello.subarray(0, 60), hello.subarray(60)], [hello]);
  expect((await sni.stop()).map(({ name, malformed }) => ({ name, malformed }))).toEqual([
    { name: null, malformed: true },
    { name: 'split.test', malformed: false },
  ]);
});

it('counts exactly what a small ring has no room for', async () => {
  // Each message takes 4 KiB. Nobody has to accept the connections: the kernel does, up to the listener's backlog.
  const burst = await compileC(
    'burst',
    `
    #include <arpa/inet.h>
    #include <sys/socket.h>
    #include <unistd.h>
    int main(void)
    {
      static unsigned char hello[5 + 4000] = { 22, 3, 1, 4000 >> 8, 4000 & 255, 1, 0, 3996 >> 8, 3996 & 255, 3, 3 };
      struct sockaddr_in to = { .sin_family = AF_INET };
      socklen_t length = sizeof(to);
      int listener = socket(AF_INET, SOCK_STREAM, 0);
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      if (bind(listener, (void *)&to, sizeof(to)) || listen(listener, 4000) || getsockname(listener, (void *)&to, &length))
        return 1;
      for (int i = 0; i < 1500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&to, sizeof(to)) || send(fd, hello, sizeof(hello), 0) != sizeof(hello)) return 2;
        close(fd);
      }
      return 0;
    }`,
  );
  await expectExactLoss('sni', { comms: ['burst'] }, 1500, async () => {
    expect((await run(burst)).code).toBe(0);
  });
});
