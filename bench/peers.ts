import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { decode } from '#eunomia/btf/decode.js';
import { parseBpfFile, type BtfType } from '#eunomia/btf/btf.js';
import type { TraceEvent } from '#eunomia/event/event.js';
import { capabilityNames } from '#eunomia/linux/capability.js';
import { errnoName, signalName } from '#eunomia/linux/linux.js';
import type { LocalEunomia } from './batch.js';
import { programs } from './build.js';
import { LineProcess } from './child.js';
import { median } from './figure.js';
import { RING_BYTES } from './peer.js';
import { programNs, programRuns, withProgramStats } from './query/program.js';
import type { CallKind, Workload } from './workload.js';

/** C programs on libbpf that report the same as trackers do: bench/peers/NAME.bpf.c, each loaded by bench/consumer.c. */

type Value = string | number | bigint;
/** A record by its members' names; those of a further struct behind that one's name: `target.pid`. */
export type PeerRecord = Readonly<Record<string, Value>>;

interface Peer {
  /** Whose calls are the operation: those of the workload itself, or of its children, which no pid tells beforehand. */
  readonly acts: 'itself' | 'children';
  /** What the tracker's event has, where a record of the peer's says this. */
  same(record: PeerRecord): Readonly<Record<string, unknown>>;
}

const errnoOf = (record: PeerRecord): string | null => errnoName(Number(record['error']));
const textOrNull = (text: Value | undefined): Value | null => text || null;
const unless = (none: number, value: Value | undefined): Value | null => (value === none ? null : (value ?? null));

/** Credentials and namespaces before or after a call of `privilege`. */
function stateOf(record: PeerRecord, when: string, suffix: string): Record<string, unknown> {
  const ids = ['uid', 'euid', 'suid', 'fsuid', 'gid', 'egid', 'sgid', 'fsgid'];
  const spaces = ['user', 'mount', 'pid', 'net', 'uts', 'ipc', 'cgroup', 'time'];
  const sets = ['effective', 'permitted', 'inheritable', 'bounding', 'ambient'];
  return Object.fromEntries([
    ...ids.map((id) => [`${id}${suffix}`, record[`${when}.${id}`]]),
    ...spaces.map((space) => [`${space}Ns${suffix}`, record[`${when}.${space}_ns`]]),
    ...sets.map((set) => [
      `cap${set[0]?.toUpperCase()}${set.slice(1)}${suffix}`,
      capabilityNames(BigInt(record[`${when}.cap_${set}`] ?? 0)),
    ]),
    [`noNewPrivs${suffix}`, record[`${when}.no_new_privs`] !== 0],
  ]);
}

export const peers: Readonly<Record<string, Peer>> = {
  bind: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      bindOperation: record['listens'] ? 'LISTEN' : 'BIND',
      family: record['family'],
      port: unless(-1, record['port']),
      requestedPort: unless(-1, record['requested_port']),
      backlog: unless(0xffffffff, record['backlog']),
      netNs: record['net_ns'],
      localAddress: record['address_known'] ? record['address'] : null,
    }),
  },
  exec: {
    acts: 'children',
    same: (record) => ({
      errno: errnoOf(record),
      parentComm: record['parent_comm'],
      pidNs: record['pid_ns'],
      netNs: record['net_ns'],
      filename: record['filename'],
      executable: textOrNull(record['executable']),
      cwd: record['cwd'],
      directory: textOrNull(record['directory']),
      stdin: [null, 'CLOSED', 'FILE', 'DEVICE', 'TERMINAL', 'PIPE', 'INET_SOCKET', 'UNIX_SOCKET', 'OTHER'][
        Number(record['stdin'])
      ],
      args: String(record['args']).slice(0, Number(record['args_size'])).replace(/\0$/, '').split('\0'),
      argsTruncated: record['args_truncated'] !== 0,
    }),
  },
  exit: {
    acts: 'children',
    same: (record) => ({
      exitCode: unless(-1, record['exit_code']),
      signal: signalName(Number(record['signal'])),
      coreDumped: record['core_dumped'] !== 0,
    }),
  },
  fsop: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      fsopOperation: record['operation'] === 1 ? 'UNLINK' : null,
      path: record['path'],
      newPath: textOrNull(record['new_path']),
      directory: textOrNull(record['directory']),
      newDirectory: textOrNull(record['new_directory']),
      resolved: textOrNull(record['resolved']),
      attribute: textOrNull(record['attribute']),
      owner: unless(0xffffffff, record['owner']),
      group: unless(0xffffffff, record['group']),
    }),
  },
  mount: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      mountOperation: record['operation'] === 8 ? 'UNMOUNT' : null,
      source: textOrNull(record['source']),
      sourceDirectory: textOrNull(record['source_directory']),
      target: record['target'],
      targetDirectory: textOrNull(record['target_directory']),
      fsType: textOrNull(record['fs_type']),
      options: textOrNull(record['options']),
      attributesKnown: record['attributes_known'] !== 0,
    }),
  },
  privilege: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      beforeKnown: record['before_known'] !== 0,
      memoryKnown: record['memory_known'] !== 0,
      result: record['result'],
      targetPid: unless(0, record['target.pid']),
      path: textOrNull(record['text']),
      second: textOrNull(record['second']),
      resolved: textOrNull(record['resolved']),
      ...stateOf(record, 'before', 'Before'),
      ...stateOf(record, 'after', 'After'),
    }),
  },
  signal: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      signal: signalName(Number(record['signal'])),
      code: record['code'] === 0 ? 'SI_USER' : null,
      signalResult: ['DELIVERED', 'IGNORED', 'ALREADY_PENDING', 'QUEUE_FULL', 'INFO_LOST'][Number(record['result'])],
      handler: [null, 'DEFAULT', 'IGNORE', 'FUNCTION'][Number(record['handler'])],
      toThread: record['to_thread'] !== 0,
      senderPid: record['pid'],
      targetPid: record['target.pid'],
      targetTid: record['target.tid'],
      targetUid: record['target.uid'],
      targetComm: record['target.comm'],
      targetCgroupId: record['target.cgroup_id'],
    }),
  },
  syscall: {
    acts: 'itself',
    same: (record) => ({
      nr: record['nr'],
      errno: errnoOf(record),
      ret: record['ret'],
    }),
  },
  tcp: {
    acts: 'itself',
    same: (record) => ({
      tcpOperation: [null, 'CONNECT', 'ACCEPT', 'CLOSE', 'CONNECT_FAILED'][Number(record['operation'])],
      errno: errnoOf(record),
      ipVersion: record['family'] === 2 ? 4 : 6,
      localAddress: record['local'],
      localPort: record['local_port'],
      remoteAddress: record['remote'],
      remotePort: record['remote_port'],
      sentBytes: record['operation'] === 3 ? record['sent_bytes'] : null,
      receivedBytes: record['operation'] === 3 ? record['received_bytes'] : null,
    }),
  },
  udp: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      udpOperation: record['sends'] ? 'SEND' : 'RECEIVE',
      payloadBytes: record['bytes'],
      ipVersion: record['version'],
      localAddress: record['local'],
      localPort: record['local_port'],
      remoteAddress: record['remote_known'] ? record['remote'] : null,
      remotePort: record['remote_known'] ? record['remote_port'] : null,
      netNs: record['net_ns'],
    }),
  },
  unix: {
    acts: 'itself',
    same: (record) => ({
      errno: errnoOf(record),
      unixOperation: record['accepts'] ? 'ACCEPT' : 'CONNECT',
      path: record['path'],
      requestedPath: record['requested_path'],
      abstract: record['abstract'] !== 0,
      socketType: record['type'] === 1 ? 'SOCK_STREAM' : null,
      peerPid: unless(0, record['peer.pid']),
    }),
  },
};

/** A peer that runs. */
export interface RunningPeer {
  readonly pid: number;
  /** Throws where it saw nothing. Resolves to whether it lost nothing. */
  check(): Promise<boolean>;
  close(): Promise<void>;
}

/** Starts the peer of a tracker, for one process or for all of them. `silent`: it is to see nothing. */
export async function startPeer(
  tracker: string,
  pid: number | null,
  { silent, ringBytes }: { readonly silent: boolean; readonly ringBytes: number },
): Promise<RunningPeer> {
  const process = await consume(tracker, pid, 'timed', ringBytes);
  return {
    pid: process.pid,
    check: async () => {
      const [received = 0, lost = 0] = await process.ask('totals');
      if (!silent && received === 0) throw new Error(`the C program beside ${tracker} saw nothing`);
      return lost === 0;
    },
    close: () => process.close(),
  };
}

async function consume(
  tracker: string,
  pid: number | null,
  how: 'timed' | 'keep',
  ringBytes = RING_BYTES,
): Promise<LineProcess> {
  const object = programs.peerObject(tracker);
  const process = new LineProcess(programs.consumer, [object, 'all', String(pid ?? 0), String(ringBytes), how]);
  await process.line();
  return process;
}

/** Beside other programs on the machine, of whose children the peer keeps the last few records too. */
const OPERATIONS = 3;

interface Compared {
  /** How many values were the same. */
  readonly values: number;
  /** Of one operation, of whichever writes less. */
  readonly bytes: number;
}

/**
 * Watches a few operations by the tracker and by its peer at once. Throws unless both tell of as many events, and of the same facts in
 * each: when, who, and what `same` names.
 */
export async function checkPeer(
  eunomia: LocalEunomia,
  workload: Workload,
  tracker: string,
  kind: CallKind,
): Promise<Compared> {
  const peer = peers[tracker];
  if (!peer) throw new Error(`bench/peers.ts has no entry for ${tracker}`);
  await workload.paced(kind, 1000, OPERATIONS); // what a first operation does once is done
  const process = await consume(tracker, targetOf(tracker, workload), 'keep');
  const session = await eunomia.session(tracker, targetOf(tracker, workload), 'DEFAULT');
  try {
    await workload.paced(kind, 1000, OPERATIONS);
    const { retained, retainedBytes } = await session.stats();
    const isOurs = (who: { readonly pid: unknown; readonly ppid: unknown }) =>
      (peer.acts === 'itself' ? who.pid : who.ppid) === workload.pid;
    const events = [...session.events()].filter((event) => isOurs(event.process));
    const all = await recordsOf(process, tracker);
    const records = all.map(({ record }) => record).filter(({ pid, ppid }) => isOurs({ pid, ppid }));
    if (events.length < OPERATIONS || events.length !== records.length)
      throw new Error(`of ${kind}, ${tracker} has ${events.length} events and the C program ${records.length}`);
    const values = events.reduce((sum, event, i) => sum + compare(peer, event, records[i] ?? {}), 0);
    const bytes = Math.min(retainedBytes / retained, all.reduce((sum, record) => sum + record.bytes, 0) / all.length);
    return { values, bytes: (bytes * events.length) / OPERATIONS };
  } finally {
    await eunomia.remove(session);
    await process.close();
  }
}

/** Whom both watch in the comparison. */
export function targetOf(tracker: string, workload: Workload): number | null {
  return peers[tracker]?.acts === 'itself' ? workload.pid : null;
}

/** How long both watch the operation, and how often that is looked at. */
const WATCH_MS = 1_000;
const LOOK_MS = 20;
const TRIES = 3;
/** Of the rate that it can go at untraced: so that whoever reads the rings has a processor too. */
const SHARE = 0.3;

interface Starts {
  readonly ours: () => Promise<{ check?(): Promise<boolean>; close(): Promise<unknown> }>;
  readonly peer: () => Promise<RunningPeer>;
  /** Fills their rings. */
  readonly warmUp: () => Promise<void>;
}

/**
 * Nanoseconds inside the programs of a tracker and of its peer for one operation, by the kernel's own count: both are attached, and see the
 * same calls, without a pause between them, after which an event would have to wake its reader. The median of what is seen every 20 ms,
 * half of the time with the tracker's programs before the peer's, half behind: whichever is second finds in the caches what both read.
 * Null: events were lost each time.
 */
export async function insideBoth(
  workload: Workload,
  kind: CallKind,
  starts: Starts,
): Promise<{ readonly ours: number; readonly peer: number } | null> {
  return withProgramStats(async () => {
    const { calls, ns } = await workload.free(kind, 1);
    const rate = (calls / ns) * SHARE * 1e9;
    const [own = 0] = await watch(workload, kind, rate, ['self']);
    const both: [ours: number, peer: number][] = [];
    for (let tries = 0; tries < 2 * TRIES && both.length < 2; tries++) {
      const first = both.length % 2 === 0 ? await starts.ours() : null;
      const peer = await starts.peer();
      const ours = first ?? (await starts.ours());
      try {
        await starts.warmUp();
        const [inOurs = Number.NaN, inPeer = Number.NaN] = await watch(workload, kind, rate, ['self', peer.pid]);
        const isWhole = [await peer.check(), (await ours.check?.()) ?? true];
        if (!isWhole.includes(false)) both.push([inOurs - own, inPeer]);
      } finally {
        await ours.close();
        await peer.close();
      }
    }
    if (both.length < 2) return null;
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return { ours: mean(both.map(([ours]) => ours)), peer: mean(both.map(([, peer]) => peer)) };
  });
}

/** By process: nanoseconds inside its programs for one operation. */
async function watch(
  workload: Workload,
  kind: CallKind,
  rate: number,
  pids: readonly (number | 'self')[],
): Promise<readonly number[]> {
  const look = () => pids.map((pid) => ({ ns: programNs(pid), runs: programRuns(pid) }));
  const samples = pids.map((): number[] => []);
  const begin = look();
  let [before, ended] = [begin, false];
  const work = workload.paced(kind, rate, WATCH_MS).finally(() => (ended = true));
  for (;;) {
    await sleep(LOOK_MS);
    if (ended) break;
    const now = look();
    now.forEach(({ ns, runs }, i) => {
      const last = before[i];
      if (last && runs > last.runs) samples[i]?.push((ns - last.ns) / (runs - last.runs));
    });
    before = now;
  }
  const { calls } = await work;
  const end = look();
  return samples.map(
    (values, i) => (values.length ? median(values) : 0) * (((end[i]?.runs ?? 0) - (begin[i]?.runs ?? 0)) / calls),
  );
}

/** One hook passes both its programs within so much. */
const AT_ONCE_NS = 5_000_000n;

/** How many fields are the same; throws if one is not. */
function compare(peer: Peer, event: TraceEvent, record: PeerRecord): number {
  const expected: Record<string, unknown> = { cgroupId: record['cgroup_id'], ...peer.same(record) };
  for (const [name, value] of Object.entries(expected)) mustEqual(name, Reflect.get(event, name), value);
  const { process } = event;
  const who = ['pid', 'tid', 'ppid', 'uid', 'gid', 'comm'] as const;
  for (const name of who) mustEqual(name, process[name], record[name]);
  mustEqual('mountNs', Reflect.get(process, 'mountNs'), record['mount_ns']);
  const apart = BigInt(event.bootNs) - BigInt(record['boot_ns'] ?? 0);
  if (apart > AT_ONCE_NS || apart < -AT_ONCE_NS) throw new Error(`${event.tracker}: ${apart} ns between both programs`);
  return Object.keys(expected).length + who.length + 2;
}

function mustEqual(name: string, ours: unknown, theirs: unknown): void {
  if (String(ours) !== String(theirs))
    throw new Error(`${name} is ${String(ours)}, the C program has ${String(theirs)}`);
}

/* ---- Records, by the BTF of the peer's object ---- */

async function recordsOf(
  process: LineProcess,
  tracker: string,
): Promise<readonly { readonly record: PeerRecord; readonly bytes: number }[]> {
  const path = programs.peerObject(tracker);
  const { types } = parseBpfFile(readFileSync(path), path);
  const record = types.find(({ kind, name }) => kind === 'struct' && name === 'record');
  if (!record) throw new Error(`${path} has no struct record`);
  const line = await process.askText('records');
  return line
    .split(' ')
    .filter(Boolean)
    .map((hex) => Buffer.from(hex, 'hex'))
    .map((bytes) => ({
      record: Object.fromEntries(membersOf(types, record, bytes, 0, '')),
      bytes: bytes.length,
    }));
}

function membersOf(
  types: readonly BtfType[],
  struct: BtfType,
  bytes: Buffer,
  at: number,
  prefix: string,
): readonly (readonly [string, Value])[] {
  return struct.members.flatMap(({ name, type, bitOffset }) => {
    const begin = at + bitOffset / 8;
    const resolved = resolve(types, type);
    if (resolved.kind === 'array' || resolved.kind === 'int')
      return [[`${prefix}${name}`, valueOf(types, resolved, bytes, begin)]];
    if (resolved.name === 'address') return [[`${prefix}${name}`, decode.ip(bytes, begin)]];
    if (resolved.name === 'path_text') {
      const start = begin + 8 + bytes.readUInt32LE(begin);
      return [[`${prefix}${name}`, bytes.toString('utf8', start, bytes.indexOf(0, start))]];
    }
    return membersOf(types, resolved, bytes, begin, name === 'facts' ? prefix : `${prefix}${name}.`);
  });
}

/** A list of arguments has a NUL behind each: it is kept whole, any other text up to its NUL. */
function valueOf(types: readonly BtfType[], type: BtfType, bytes: Buffer, at: number): Value {
  if (type.kind === 'array') {
    const text = bytes.toString('utf8', at, at + type.elements * resolve(types, type.type).size);
    return type.elements > 4096 ? text : (text.split('\0')[0] ?? '');
  }
  if (type.size === 8) return type.signed ? bytes.readBigInt64LE(at) : bytes.readBigUInt64LE(at);
  return type.signed ? bytes.readIntLE(at, type.size) : bytes.readUIntLE(at, type.size);
}

/** Behind its typedefs. */
function resolve(types: readonly BtfType[], id: number): BtfType {
  let type = types[id];
  while (type?.kind === 'typedef' || type?.kind === 'const' || type?.kind === 'volatile') type = types[type.type];
  if (!type) throw new Error(`there is no BTF type ${id}`);
  return type;
}
