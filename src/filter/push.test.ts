import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textOfBytes } from '../base/bytes.js';
import { contractSchema } from '../api/graphql/schema.js';
import type { TraceEvent } from '../event/event.js';
import { compileFilter, EventFilter, FilterFields, parseCel, print, SessionFilter, type Pushdown } from './index.js';
import { errnoName, signalName } from '../linux/linux.js';
import { decode } from '../btf/decode.js';
import { nativeAbi, syscallCode, syscallCodes, syscallName, type SyscallAbi } from '../linux/syscalls.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { openFlags } from '../tracker/open-flags.js';
import { filterText, type Pools } from '../../test/support/filters.js';
import { kernelTakes, type KernelRecord } from '../../test/support/kernel-model.js';
import { holdsFor } from '../../test/support/property.js';
import { eventWith } from '../../test/support/event.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), (_tracker, field) => field === 'path');
const fields = new FilterFields(schema, catalog);
const RUNS = 2000;

const long = `/${'long/'.repeat(20)}`;
const pools: Pools = {
  pids: [1, 2, 100, 4_194_304],
  uids: [0, 1000, 4_294_967_295],
  gids: [0, 1000],
  cgroups: ['1', '4242', '18446744073709551615'],
  comms: [
    'nginx',
    'ng',
    'exactly-15-byte',
    'exactly-16-bytes',
    'ä',
    'a\uFFFDb',
    'a\\xffb',
    'a\\x',
    'a\\',
    'a\\x5cxff',
    'sh',
    '',
  ],
  paths: [
    '/etc',
    '/etc/passwd',
    '/etc/pässwd',
    '/etc/😀',
    '/etc/a\uFFFD',
    '/etc/a\\xc3',
    '/etc/a\\xc',
    '/etc/a\\x5cxc3',
    '\uFEFF/etc',
    long,
    `${long}a`,
    long.slice(0, 63),
    long.slice(0, 64),
    'relative',
    '',
  ],
  addresses: ['10.1.2.3', '127.0.0.1', '::1', '2001:db8::1'],
  networks: ['10.0.0.0/8', '0.0.0.0/0', '::/0', '::/1', '2001:db8::/33', '::ffff:10.0.0.0/104', '127.0.0.1/32'],
  ports: [0, 80, 443, 65535],
};

// Records as the kernel has them, and their events as the decoder makes them

const oneOf = <Item>(items: readonly Item[]): fc.Arbitrary<Item> => fc.constantFrom(...items);
const utf8 = new TextEncoder();
const broken = [
  Uint8Array.of(0x61, 0xff, 0x62),
  Uint8Array.of(0x2f, 0x65, 0x74, 0x63, 0x2f, 0x61, 0xc3),
  Uint8Array.of(0xef, 0xbf, 0xbd),
  Uint8Array.of(0xef, 0xbb, 0xbf, 0x2f, 0x65, 0x74, 0x63),
  Uint8Array.of(0x61, 0x5c, 0xff),
];
const bytesOf = (texts: readonly string[], cap: number): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    oneOf(texts).map((text) => utf8.encode(text).subarray(0, cap)),
    oneOf(broken),
  );
const withNul = (bytes: Uint8Array): Uint8Array => Uint8Array.of(...bytes, 0);
const textOf = (bytes: Uint8Array): string => textOfBytes(bytes);
const ipOf = (text: string): Uint8Array => {
  const pushed = new SessionFilter(
    new EventFilter(parseCel(`tcp.localAddress == "${text}"`, fields, ['tcp']), fields, ['tcp']),
    [catalog.need('tcp')],
    fields,
  ).pushdowns[0]?.prefixes[0]?.bytes;
  if (!pushed) throw new Error(text);
  return pushed;
};
const ips = [...pools.addresses, '192.168.0.1', '2001:db8:8000::1', '2001:db9::', '::ffff:0:1'].map(ipOf);

interface Made {
  readonly record: KernelRecord;
  readonly event: TraceEvent;
}

/** A call as the kernel has it: by number and ABI, and by the code that eu_call_code of callset.bpf.h makes of these. */
const call = fc
  .tuple(oneOf([0, 1, 2, 3, 5, 9, 12, 20, 42, 59, 102, 222, 257, 295, 520, 600, 2000]), fc.boolean())
  .map(([nr, compat]) => {
    const abi: SyscallAbi = compat ? (nativeAbi === 'ARM64' ? 'ARM' : 'I386') : nativeAbi;
    const named = compat
      ? nr < 512
        ? syscallCodes[nr]
        : 0xffff
      : nr < 512
        ? nr
        : nr < 576
          ? syscallCodes[nr]
          : 2 ** 20 + nr;
    return { nr, abi, name: syscallName(nr, abi), code: BigInt(named === 0xffff ? 2 ** 40 + nr : (named ?? nr)) };
  });
const error = oneOf([0, 1, 2, 13, 20, 21, 8, 111, 524]);
const own: Readonly<Record<string, fc.Arbitrary<{ record: KernelRecord; event: object }>>> = {
  open: fc
    .record({
      errno: error,
      fd: oneOf([0, 3, 9]),
      flags: fc.oneof(oneOf([0, 1, 2, 0o101, 0o1102, 0o4010000, 0o10000, 0o20200000, 0x80000000]), fc.nat(2 ** 22)),
      path: bytesOf(pools.paths, 4095),
    })
    .map(({ errno, fd, flags, path }) => ({
      record: {
        errno: BigInt(errno),
        fd: BigInt(errno ? -1 : fd),
        flags: BigInt(flags),
        path: withNul(path),
        resolved: errno ? null : withNul(path),
      },
      event: {
        errno: errnoName(errno),
        fd: errno ? null : fd,
        flags: openFlags(BigInt(flags)),
        path: textOf(path),
        resolved: errno ? null : textOf(path),
        mode: null,
      },
    })),
  exec: fc.record({ errno: error, filename: bytesOf(pools.paths, 4095) }).map(({ errno, filename }) => ({
    record: { errno: BigInt(errno), filename: withNul(filename), executable: errno ? null : withNul(filename) },
    event: {
      errno: errnoName(errno),
      filename: textOf(filename),
      executable: errno ? null : textOf(filename),
      parentComm: 'sh',
      args: ['sh'],
    },
  })),
  exit: fc.record({ code: oneOf([0, 1, 3, 255]), signal: oneOf([0, 0, 9, 11, 34]) }).map(({ code, signal }) => ({
    record: { exit_code: BigInt(signal ? -1 : code), signal: BigInt(signal) },
    event: { exitCode: signal ? null : code, signal: signalName(signal), coreDumped: signal === 11 },
  })),
  tcp: fc
    .record({
      tcpOperation: oneOf([1, 2, 3, 4]),
      errno: error,
      family: oneOf([0, 2, 10]),
      local: oneOf(ips),
      remote: oneOf(ips),
      localPort: oneOf(pools.ports),
      remotePort: oneOf(pools.ports),
    })
    .map((r) => ({
      record: {
        operation: BigInt(r.tcpOperation),
        errno: BigInt(r.errno),
        local_port: BigInt(r.localPort || -1),
        remote_port: BigInt(r.family ? r.remotePort : -1),
        local_address: r.family ? r.local : null,
        remote_address: r.family ? r.remote : null,
      },
      event: {
        tcpOperation: ['CONNECT', 'ACCEPT', 'CLOSE', 'CONNECT_FAILED'][r.tcpOperation - 1],
        errno: errnoName(r.errno),
        localPort: r.localPort || null,
        remotePort: r.family ? r.remotePort : null,
        localAddress: r.family ? decode.ip(r.local, 0) : null,
        remoteAddress: r.family ? decode.ip(r.remote, 0) : null,
        ipVersion: r.family === 2 ? 4 : r.family === 10 ? 6 : null,
      },
    })),
  syscount: fc
    .record({ call, count: oneOf([1, 2, 100]), errors: oneOf([0, 1]) })
    .map(({ call: { nr, abi, name, code }, count, errors }) => ({
      record: { nr: BigInt(nr), call: code },
      event: { nr, abi, name, count: String(count), errors: String(errors) },
    })),
  syscall: fc
    .record({ call, ret: oneOf([-9n, -2n, 0n, 1n, 3n, 100n, 2n ** 32n, 2n ** 62n]) })
    .map(({ call: { nr, abi, name, code }, ret }) => ({
      record: { nr: BigInt(nr), call: code, ret, errno: ret < 0n ? -ret : 0n },
      event: { nr, abi, name, ret: String(ret), errno: errnoName(ret < 0n ? Number(ret) : 0) },
    })),
};
const header = fc.record({
  pid: oneOf(pools.pids),
  tid: oneOf(pools.pids),
  uid: oneOf(pools.uids),
  gid: oneOf(pools.gids),
  cgroup: oneOf(['1', '4242', '77']),
  comm: bytesOf(pools.comms, 15),
  inContainer: fc.boolean(),
});

function made(tracker: string): fc.Arbitrary<Made> {
  return fc.tuple(header, own[tracker] ?? fc.constant({ record: {}, event: {} })).map(([h, { record, event }]) => ({
    record: {
      pid: BigInt(h.pid),
      tid: BigInt(h.tid),
      uid: BigInt(h.uid),
      gid: BigInt(h.gid),
      cgroup_id: BigInt(h.cgroup),
      comm: withNul(h.comm),
      ...record,
    },
    event: eventWith(tracker, {
      cgroupId: h.cgroup,
      container: h.inContainer ? {} : null,
      process: { pid: h.pid, tid: h.tid, ppid: 1, uid: h.uid, gid: h.gid, comm: textOf(h.comm) },
      ...event,
    }),
  }));
}

function plan(text: string, ...trackers: string[]): readonly Pushdown[] {
  return new SessionFilter(
    new EventFilter(parseCel(text, fields, trackers), fields, trackers),
    trackers.map((name) => catalog.need(name)),
    fields,
  ).pushdowns;
}

const shown = (text: string, tracker: string): [string, string] => {
  const [pushdown] = plan(text, tracker);
  return [
    print(pushdown?.inKernel ?? { kind: 'always', value: true }),
    print(pushdown?.rest ?? { kind: 'always', value: true }),
  ];
};

describe('what is pushed down', () => {
  it('gives a name one code in all ABIs', () => {
    for (const name of ['openat', 'getpid', 'execve'])
      expect(plan(`syscall.name == "${name}"`, 'syscall')[0]?.constants).toMatchObject({
        eu_where_call: 1,
        eu_min_call: BigInt(syscallCode(name) ?? -1),
        eu_max_call: BigInt(syscallCode(name) ?? -1),
      });
  });

  it('refuses a null where a code is unequal to a name, and takes it where that is not', () => {
    const numbersOf = (text: string) => plan(text, 'privilege')[0]?.numbers.map(([, value]) => Number(value)) ?? [];
    const code = 2 ** 32 + 16;
    expect(numbersOf('command != "PTRACE_ATTACH"').sort()).toEqual([0, code]);
    expect(numbersOf('!(command != "PTRACE_ATTACH")').sort()).toEqual([0, code]);
    expect(plan('!(command == "PTRACE_ATTACH")', 'privilege')[0]?.constants).toMatchObject({
      eu_where_command: 2,
      eu_min_command: BigInt(code),
      eu_max_command: BigInt(code),
    });
  });

  it.each([
    ['open', 'process.pid == 7', 'process.pid == 7', 'true'],
    ['open', 'process.pid == 7 || process.pid == 8', 'process.pid in [7, 8]', 'true'],
    [
      'open',
      'errno != null && path.startsWith("/etc/")',
      'open.errno != null && open.path.startsWith("/etc/")',
      'true',
    ],
    ['open', 'path.glob("/etc/*.conf")', 'open.path.startsWith("/etc/")', 'open.path.glob("/etc/*.conf")'],
    [
      'open',
      'path.matches("^/usr/libx?/[a-z]+")',
      'open.path.startsWith("/usr/lib")',
      'open.path.matches("^/usr/libx?/[a-z]+")',
    ],
    ['open', 'process.uid == 0 || container.name == "web"', 'true', 'process.uid == 0 || container.name == "web"'],
    [
      'open',
      '(process.uid == 0 && path.endsWith("x")) || (process.uid == 5 && fd == 3)',
      'process.uid in [0, 5]',
      null,
    ],
    [
      'open',
      '"O_CREAT" in flags && "O_WRONLY" in flags',
      '"O_CREAT" in open.flags && "O_WRONLY" in open.flags',
      'true',
    ],
    ['open', '"O_CREAT" in flags || "O_TRUNC" in flags', '"O_CREAT" in open.flags || "O_TRUNC" in open.flags', 'true'],
    ['open', '!(path == "/etc/passwd")', null, 'true'],
    ['exit', 'process.comm == "sh" && signal.startsWith("SIG")', null, 'process.comm == "sh"'],
    ['syscall', 'name in ["openat", "read"] && ret > 0', null, 'true'],
    ['syscall', 'name != "openat" && !(name in ["read", "write"])', null, 'true'],
    ['syscall', 'name == "syscall_2000"', 'name == "syscall_2000"', 'true'],
    ['syscall', 'name in ["syscall_0", "open at"]', 'false', 'false'],
    ['syscall', 'name.startsWith("open")', 'name.startsWith("open")', 'name.startsWith("open")'],
    ['syscount', 'name == "openat" || name == "close"', null, 'true'],
    ['syscount', 'name == "openat" || nr == 3', 'true', null], // a number alone does not say which call it is
    ['syscount', 'name == "openat" && errors > 5', 'name == "openat"', 'errors > 5'],
    ['syscount', 'process.comm == "sh" && process.pid == 7', 'process.pid == 7', 'process.comm == "sh"'],
    ['tcp', 'cidr("10.0.0.0/8").containsIP(remoteAddress) && remotePort < 1024', null, 'true'],
    ['tcp', '!cidr("::/0").containsIP(remoteAddress)', 'true', null],
    ['privilege', 'command == "PTRACE_ATTACH"', 'command == "PTRACE_ATTACH"', 'true'],
    ['privilege', 'command.startsWith("PTRACE_")', 'command.startsWith("PTRACE_")', 'command.startsWith("PTRACE_")'],
  ] as const)('%s: %s', (tracker, text, inKernel, rest) => {
    const [kernel, server] = shown(text, tracker);
    if (inKernel !== null) expect(kernel).toBe(inKernel.replaceAll('open.', ''));
    if (rest !== null) expect(server).toBe(rest.replaceAll(/(open|syscall|syscount|privilege)\./g, ''));
  });

  it('is nothing at all for a tracker of which no event can match', () => {
    const [exec, open] = plan('open.errno == "ENOENT"', 'exec', 'open');
    expect(exec?.constants).toEqual({ eu_where: true, eu_where_none: true });
    expect(open?.constants).toMatchObject({ eu_where_errno: 1, eu_min_errno: 2n, eu_max_errno: 2n });
  });

  it('keeps what is longer than the kernel looks at for user space', () => {
    const [kernel, server] = shown(`path == "${long}"`, 'open');
    expect(kernel).toBe(`path.startsWith("${long.slice(0, 64)}")`);
    expect(server).toBe(`path == "${long}"`);
    expect(shown(`!(path != "${long}")`, 'open')[0]).toBe(`path == null || ${kernel}`);
  });
});

describe(`${RUNS} random filters`, () => {
  it.each(fields.trackers.filter((name) => name in own))(
    'of %s: the kernel refuses no event that the filter takes, and what it lets through is taken as the rest says',
    async (tracker) => {
      let pushed = 0;
      let refused = 0;
      let taken = 0;
      await holdsFor(
        fc.property(
          filterText([tracker], pools),
          fc.array(made(tracker), { minLength: 6, maxLength: 6 }),
          (text, events) => {
            const filter = (() => {
              try {
                return parseCel(text, fields, [tracker]);
              } catch (problem) {
                expect(String(problem)).toMatch(/no value is in the range|is empty|repetition|whole number/);
                return null;
              }
            })();
            fc.pre(filter !== null);
            const session = new SessionFilter(
              new EventFilter(filter, fields, [tracker]),
              [catalog.need(tracker)],
              fields,
            );
            const [pushdown] = session.pushdowns;
            if (!pushdown) throw new Error('no pushdown');
            const matches = compileFilter(filter, fields, [tracker]);
            const says = compileFilter(pushdown.inKernel, fields, [tracker]);
            if (session.isPushed) pushed++;
            for (const { record, event } of events) {
              const passes = kernelTakes(pushdown, record);
              const expected = matches(event);
              if (expected) expect(passes, `${text} over ${JSON.stringify(event)}`).toBe(true);
              if (expected) expect(says(event), `${text}: what is shown`).toBe(true);
              if (passes)
                expect(session.rest.matches?.(event) ?? true, `the rest of ${text} over ${JSON.stringify(event)}`).toBe(
                  expected,
                );
              if (!passes) refused++;
              else if (expected) taken++;
            }
          },
        ),
        { numRuns: RUNS / 5 },
      );
      // Else the test would say little.
      expect(pushed).toBeGreaterThan(RUNS / 20);
      expect(refused).toBeGreaterThan(RUNS / 10);
      expect(taken).toBeGreaterThan(RUNS / 10);
    },
  );
});
