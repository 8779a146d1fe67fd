import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isInterfaceType, isObjectType } from 'graphql';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { dataFields, isOfGraph } from '../../src/event/data-field.js';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { ipcSource } from '../support/ipc.js';
import { makeLoop } from '../support/loop.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { selectionOf, Typed } from '../support/typed.js';
import { compileC, workloadPath } from '../support/workload.js';

/** Real events of every tracker, by each way that they take to a client: each value is what its type says. */
const schema = contractSchema();
const TraceEvent = schema.getType('TraceEvent');
if (!isInterfaceType(TraceEvent)) throw new Error('no TraceEvent');
const FIRST = 200;

let server: TestServer;
let docker: TestDocker;
let folder: string;
let container: string;
const programs: Record<string, string> = {};

/** Fields that no workload here gives a value, and why. */
const unseen: Readonly<Record<string, string>> = {
  'TcpretransEvent.errno': 'needs Linux 6.17, and a full queue of the machine',
};

/** Beside the tracker's trigger, what gives the other fields a value. The programs, `$ipc` and so on, are those of the kernel tests. */
const more: Readonly<Record<string, string>> = {
  bind: `node -e 'const s = net.createServer().listen(0, "127.0.0.1", 7, () => s.close())'`,
  blockio: 'dd if=$broken of=/dev/null bs=4096 skip=2 count=1 iflag=direct 2>/dev/null',
  drop: `unshare -n bash -c 'ip link set lo up; iptables -A INPUT -p udp --dport 1 -j DROP; echo x > /dev/udp/127.0.0.1/1'`,
  exec: `perl -e 'exec "./no-such"'`,
  exit: `sh -c 'kill -9 $$'`,
  fsop:
    'mkdir d && cd d && touch a && ln a b && ln -s a c && mv b e && rmdir a; mknod n c 1 3; chown 1:2 a; truncate -s 5 a; ' +
    `perl -e 'open(F, ">>", "a"); chmod 0600, *F; chown 3, 4, *F; truncate(F, 1); exec "/bin/true"'; ` +
    `python3 -c 'import os; os.setxattr("a", "user.x", b"1")'`,
  ipc: '$ipc sysv 77; $ipc mq /eunomia-types; $ipc attach 78',
  mount: 'mkdir p q; $mount plain $PWD/p; $mount new $PWD/q',
  open: '$workload openat2 ./no-such 0 0; $workload openat2 / 0 0; setpriv --reuid 65534 --clear-groups cat /etc/shadow || :',
  opencount: '$workload openat2 ./no-such 0 0',
  packet: 'exec 3<>/dev/tcp/127.0.0.1/1',
  privilege: 'mkdir r; $privilege ids; $privilege caps; $privilege root $PWD/r; $privilege trace; $privilege rest',
  syscall: `setpriv --reuid 65534 --clear-groups perl -e 'chroot "/"'`,
  syscount: `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0)'`,
  signal: 'sleep 9 & kill -TERM $!; kill -TERM 4000000',
  tcpretrans:
    `unshare -n bash -c 'ip link set lo up; node -e "const s = net.createServer().listen(0, \\"127.0.0.1\\", () => ` +
    `net.connect(s.address().port).on(\\"connect\\", function () { child_process.execSync(\\"iptables -A INPUT -p tcp -j DROP\\"); ` +
    `this.write(\\"x\\"); setTimeout(process.exit, 1000) }))"'`,
  tcp:
    `node -e 'const s = net.createServer((c) => c.end("x")).listen(0, "127.0.0.1", () => ` +
    `net.connect(s.address().port).on("close", () => s.close()).end("y").resume())'`,
  udp:
    `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "127.0.0.1:1"); ` +
    `for (1..3) { syswrite($s, "x"); select(undef, undef, undef, 0.05) }'`,
  unix: `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => "/no/such")'`,
};

/** Options without which some fields have no value, among the first events at least. */
const optionsOf: Readonly<Record<string, string>> = {
  syscall: 'only: ["connect", "chroot"]',
  syscount: 'arguments: true',
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-types-'));
  docker = await startDocker();
  container = await docker.run('-d', '--name', 'typed', '--label', 'tier=test', TEST_IMAGE, 'sleep', '600');
  server = await startServer(['--engine', docker.socket, '--data-dir', folder], { keep: true });
  const text = (name: string) => readFile(join(root, 'test/support', name), 'utf8');
  const broken = await makeLoop(8 << 20);
  await broken.shrink(4096); // behind the end of its file the disk has nothing to read
  programs['broken'] = broken.path;
  programs['workload'] = await workloadPath();
  programs['ipc'] = await compileC('ipcload', ipcSource, '-lrt');
  programs['mount'] = await compileC('mounts', await text('mount.c'));
  programs['privilege'] = await compileC('privileged', await text('privilege.c'), '-static');
});

afterAll(async () => {
  await server.end('SIGTERM');
  await docker.stop();
  rmSync(folder, { recursive: true });
});

/** Runs what triggers the tracker, in a container's cgroup, in a session that captures all. Returns the session's id. */
async function record(name: string, trigger: string): Promise<string> {
  const shell = spawn('bash', ['-c', `read start; { ${trigger}; }; ${more[name] ?? ''}`], {
    stdio: ['pipe', 'ignore', 'inherit'],
    cwd: mkdtempSync(join(folder, 'work-')),
    env: { ...process.env, ...programs, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
  });
  const cgroup = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  if (!cgroup) throw new Error('this test needs the cgroup v2 hierarchy');
  await writeFile(join(cgroup.point, 'docker', container, 'cgroup.procs'), String(shell.pid));
  // What is dropped at a device is of no process.
  const target = name === 'drop' ? '' : `target: { pids: [${shell.pid}] },`;
  const id = await startSession(
    server,
    `{ trackers: [{ ${name}: { ${optionsOf[name] ?? ''} } }], capture: ALL, ${target} persist: { store: EMBEDDED } }`,
  );
  shell.stdin.end('\n');
  await once(shell, 'exit');
  await stopSession(server, id);
  return id;
}

it.each(await loadTrackers())('of $name', async ({ name, trigger = 'false' }) => {
  const began = Date.now();
  const id = await record(name, trigger);
  const type = `${name.charAt(0).toUpperCase()}${name.slice(1)}Event`;
  const event = schema.getType(type);
  if (!isObjectType(event)) throw new Error(`no ${type}`);
  const data = new Set(dataFields(event).map((field) => field.name));
  const typed = new Typed(schema);
  // What leads on from containers is not of the event, and would cost more than is allowed.
  const all = selectionOf(schema, TraceEvent, {
    event: type,
    takes: (of, field) => of !== 'Container' || !isOfGraph(of, field),
  });
  // What only executed operations have is left out: the events are written as text from their records.
  const plain = selectionOf(schema, TraceEvent, {
    event: type,
    takes: (of, field) => (of === type || of === 'TraceEvent' ? data.has(field) : !isOfGraph(of, field)),
  });
  const found: Record<string, readonly Readonly<Record<string, unknown>>[]> = {};
  const check = (way: string, events: readonly Readonly<Record<string, unknown>>[]): void => {
    found[way] = events;
    events.forEach((one, i) => typed.check(one, TraceEvent, `${way}[${i}]`));
  };

  const { session } = await server.query<{ session: { events: { nodes: never[] } } }>(
    `{ session(id: "${id}") { events(first: ${FIRST}) { nodes ${all} } } }`,
  );
  check('session', session.events.nodes);
  const { history } = await server.query<{ history: { events: { nodes: never[] } } }>(
    `{ history(sessions: ["${id}"]) { events(first: ${FIRST}) { nodes ${all} } } }`,
  );
  check('history', history.events.nodes);
  for (const [way, selection] of Object.entries({ executed: all, text: plain })) {
    const events: never[] = [];
    for await (const { events: batch } of server.subscribe<{ events: { events: never[] } }>(
      `subscription { events(session: "${id}", replay: 1000000) { events ${selection} } }`,
    ))
      events.push(...batch.events);
    check(way, events.slice(0, FIRST));
  }

  expect(found['session']?.length).toBeGreaterThan(0);
  const { session: ended } = await server.query<{ session: { stats: object } }>(
    `{ session(id: "${id}") { stats { produced lost received dropped } } }`,
  );
  expect(
    [...data].map((field) => `${type}.${field}`).filter((one) => !typed.seen.has(one) && !(one in unseen)),
    `in ${found['session']?.length} events; ${JSON.stringify(ended)}`,
  ).toEqual([]);
  const ids = (events: typeof found.x) => events?.map((one) => one['id']);
  expect(ids(found['executed'])).toEqual(ids(found['session']));
  expect(new Set(ids(found['history']))).toEqual(new Set(ids(found['session'])));
  const times = (found['session'] ?? []).map((one) => Date.parse(String(one['time'])));
  expect(Math.min(...times)).toBeGreaterThan(began - 1000);
  expect(Math.max(...times)).toBeLessThan(Date.now() + 1000);
});
