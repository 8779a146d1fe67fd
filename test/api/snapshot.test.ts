import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { KernelError } from '../../src/base/errors.js';
import { turns } from '../../src/base/turn.js';
import { layoutOf, packed, recordOf, type Values } from '../support/record.js';
import { callerOf, createFixture, type Fixture } from './support.js';

let fixture: Fixture;
beforeEach(async () => void (fixture = await createFixture()));
afterEach(async () => {
  fixture.service.snapshots.end();
  await fixture.services.manager.close();
});

async function query(text: string, variables: Record<string, unknown> = {}) {
  const result = await executeLocally(fixture.service, { query: text, variables }, callerOf('viewer'));
  if (isStream(result)) throw new Error('a stream');
  return result;
}
async function data<Data>(text: string, variables: Record<string, unknown> = {}): Promise<Data> {
  const result = await query(text, variables);
  expect(result.errors).toBeUndefined();
  return result.data as Data;
}
async function error(text: string) {
  const [first] = (await query(text)).errors ?? [];
  return { code: first?.extensions['code'], message: first?.message };
}

const layouts = { process: layoutOfSnapshot('process'), socket: layoutOfSnapshot('socket') };
function layoutOfSnapshot(name: string) {
  return layoutOf(`snapshots/${name}`, name);
}
/** The kernel has these records from now on. */
function tell(name: 'process' | 'socket', records: readonly Values[]): void {
  const least: Values = name === 'process' ? { state: 2 } : {};
  const made = packed(records.map((values) => recordOf(layouts[name], { ...least, ...values })));
  fixture.kernel.records.set(name, () => ({ data: new Uint8Array(made.data.slice(0)), offsets: made.offsets.slice() }));
}
const comm = (text: string) => Buffer.from(text.padEnd(16, '\0'));
const ip = (...last: number[]) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...last);
/** The cgroup of the only container, and one of the host. */
const [WEB, HOST] = [4242, 1];

describe('processes', () => {
  it('come sorted by pid, in pages of the same moment', async () => {
    tell(
      'process',
      Array.from({ length: 1000 }, (_, i) => ({ pid: 1 + ((i * 7) % 1000), cgroupId: HOST, comm: comm('worker') })),
    );
    const page = `query ($after: Cursor) { processes(first: 300, after: $after) {
      totalCount takenAt complete nodes { process { pid comm } state } edges { cursor node { process { pid } } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`;
    const seen: number[] = [];
    let after: string | null = null;
    for (let round = 0; ; round++) {
      const { processes }: { processes: Page } = await data(page, { after });
      expect(processes).toMatchObject({
        totalCount: '1000',
        complete: true,
        takenAt: '1970-01-01T00:00:01.000000000Z',
      });
      expect(processes.pageInfo.hasPreviousPage).toBe(round > 0);
      expect(processes.edges.at(-1)?.cursor).toBe(processes.pageInfo.endCursor);
      seen.push(...processes.nodes.map(({ process }) => process.pid));
      tell('process', []); // what happens meanwhile is of no page
      if (!processes.pageInfo.hasNextPage) break;
      after = processes.pageInfo.endCursor;
    }
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    expect(fixture.kernel.snapshots).toBe(1);
  });

  it('come in pages backwards too', async () => {
    tell(
      'process',
      Array.from({ length: 10 }, (_, i) => ({ pid: i + 1, cgroupId: HOST })),
    );
    const pageOf = async (args: string) => {
      const fields = 'nodes { process { pid } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }';
      const { processes }: { processes: Page } = await data(`{ processes(${args}) { ${fields} } }`);
      const { hasNextPage, hasPreviousPage, startCursor } = processes.pageInfo;
      const pids = processes.nodes.map(({ process }) => process.pid);
      return { pids, hasNextPage, hasPreviousPage, startCursor };
    };
    const newest = await pageOf('last: 3');
    expect(newest).toMatchObject({ pids: [8, 9, 10], hasNextPage: false, hasPreviousPage: true });
    const before = await pageOf(`last: 5, before: "${newest.startCursor}"`);
    expect(before).toMatchObject({ pids: [3, 4, 5, 6, 7], hasNextPage: true, hasPreviousPage: true });
    expect(await pageOf(`before: "${before.startCursor}"`)).toMatchObject({ pids: [1, 2], hasPreviousPage: false });
    expect((await pageOf(`first: 2, after: "${before.startCursor}", before: "${newest.startCursor}"`)).pids).toEqual([
      4, 5,
    ]);
    expect(fixture.kernel.snapshots).toBe(1);
    const other = await pageOf('first: 1');
    expect(
      await error(`{ processes(after: "${other.startCursor}", before: "${newest.startCursor}") { totalCount } }`),
    ).toEqual({
      code: 'BAD_CURSOR',
      message: 'before: the cursor is of another snapshot than `after`',
    });
    expect(await error('{ processes(first: 1, last: 1) { totalCount } }')).toMatchObject({ code: 'BAD_USER_INPUT' });
  });

  it('are filtered by the language of events, typed and as CEL, with their container', async () => {
    tell('process', [
      { pid: 1, cgroupId: HOST, comm: comm('init'), threads: 1, kernelThread: 0 },
      { pid: 2, cgroupId: HOST, comm: comm('kthreadd'), threads: 1, kernelThread: 1 },
      { pid: 7, cgroupId: WEB, comm: comm('nginx'), threads: 9, hasMemory: 1, residentBytes: 2n ** 33n },
    ]);
    const pids = async (where: string) => {
      const { processes } = await data<{ processes: Page }>(
        `{ processes(where: ${where}) { nodes { process { pid } } } }`,
      );
      return processes.nodes.map(({ process }) => process.pid);
    };
    expect(await pids('{}')).toEqual([1, 2, 7]);
    expect(await pids('{ threads: { gt: 4 } }')).toEqual([7]);
    expect(await pids('{ not: { kernelThread: { eq: true } } }')).toEqual([1, 7]);
    expect(await pids('{ container: { name: { glob: "web-*" } } }')).toEqual([7]);
    expect(await pids('{ expr: "container == null && !kernelThread" }')).toEqual([1]);
    expect(await pids('{ expr: "residentBytes > 4294967296 || process.comm.startsWith(\\"in\\")" }')).toEqual([1, 7]);
    expect(await pids('{ residentBytes: { isNull: true } }')).toEqual([1, 2]);
    const { container } = await data<{ container: { processes: Page } }>(
      '{ container(ref: "web-1") { processes { totalCount nodes { process { pid } container { name } ownPid } } } }',
    );
    expect(container.processes).toEqual({
      totalCount: '1',
      nodes: [{ process: { pid: 7 }, container: { name: 'web-1' }, ownPid: 0 }],
    });
  });
});

describe('sockets', () => {
  it('are one each, with all who have it open', async () => {
    const socket = {
      inode: 90,
      cgroupId: HOST,
      family: 2,
      socketType: 1,
      protocol: 6,
      state: 10,
      listening: 1,
      netNs: 5,
    };
    const listening = {
      ...socket,
      localIp: ip(0, 0, 0, 0),
      localPort: 443,
      remotePort: -1,
      srttNs: -1n,
      rttVariationNs: -1n,
    };
    tell('socket', [
      { ...listening, pid: 20, tid: 20, fd: 6, comm: comm('nginx') },
      { ...listening, pid: 10, tid: 10, fd: 9, comm: comm('nginx') },
      { ...listening, pid: 10, tid: 10, fd: 6, cgroupId: WEB, comm: comm('nginx') },
      {
        inode: 8,
        pid: 30,
        fd: 3,
        family: 16,
        socketType: 3,
        netNs: 5,
        localPort: -1,
        remotePort: -1,
        srttNs: -1n,
        rttVariationNs: -1n,
      },
    ]);
    const fields = `inode family socketType protocol state listening localAddress localPort remoteAddress remotePort netNs
      srttNs cwnd backlog backlogLimit process { pid } container { name } owners { process { pid comm } container { name } fds }`;
    const { sockets } = await data<{ sockets: { nodes: unknown[] } }>(`{ sockets { nodes { ${fields} } } }`);
    const none = {
      localAddress: null,
      localPort: null,
      remoteAddress: null,
      remotePort: null,
      srttNs: null,
      cwnd: null,
    };
    expect(sockets.nodes).toEqual([
      {
        ...none,
        ...{ inode: '8', family: 'AF_NETLINK', socketType: 'SOCK_RAW', protocol: null, state: null, listening: false },
        ...{ netNs: '5', backlog: null, backlogLimit: null, process: { pid: 30 }, container: null },
        owners: [{ process: { pid: 30, comm: '' }, container: null, fds: [3] }],
      },
      {
        ...none,
        ...{
          inode: '90',
          family: 'AF_INET',
          socketType: 'SOCK_STREAM',
          protocol: 'TCP',
          state: 'LISTEN',
          listening: true,
        },
        ...{ localAddress: '0.0.0.0', localPort: 443, netNs: '5', backlog: 0, backlogLimit: 0, process: { pid: 10 } },
        container: null,
        owners: [
          { process: { pid: 10, comm: 'nginx' }, container: null, fds: [6, 9] },
          { process: { pid: 20, comm: 'nginx' }, container: null, fds: [6] },
        ],
      },
    ]);
    const inodes = async (where: string) => {
      const found = await data<{ sockets: { nodes: { inode: string }[] } }>(
        `{ sockets(where: ${where}) { nodes { inode } } }`,
      );
      return found.sockets.nodes.map(({ inode }) => inode);
    };
    // By any of its owners, with all of them in the result.
    expect(await inodes('{ process: { pid: { eq: 20 } } }')).toEqual(['90']);
    expect(await inodes('{ container: { name: { eq: "web-1" } } }')).toEqual(['90']);
    expect(await inodes('{ listening: { eq: true }, localAddress: { cidr: ["0.0.0.0/32"] } }')).toEqual(['90']);
    expect(await inodes('{ expr: "family != \\"AF_INET\\"" }')).toEqual(['8']);
    expect(await inodes('{ expr: "state == \\"LISTEN\\" && localPort in [80, 443]" }')).toEqual(['90']);
  });

  it('of several containers and fields of one operation are read from the kernel as seldom as possible', async () => {
    await data(
      '{ a: sockets { totalCount } b: sockets { totalCount } c: sockets { totalCount } d: processes { totalCount } }',
    );
    expect(fixture.kernel.snapshots).toBeLessThan(4);
  });
});

describe('sockets that many processes have open', () => {
  const owners = 'nodes { inode owners { fds process { pid comm } } }';

  it.each([
    ['by graphql-js', ''],
    ['compiled', 'sessions(first: 1) { nodes { events { nodes { bootNs } } } }'],
  ])('are executed in turns, %s: their owners count, not only they', async (how, more) => {
    const [sockets, processes] = [how === 'compiled' ? 40 : 4, how === 'compiled' ? 100 : 1000];
    tell(
      'socket',
      Array.from({ length: sockets * processes }, (_, i) => ({
        inode: 1 + (i % sockets),
        netNs: 5,
        family: 1,
        pid: 1 + Math.floor(i / sockets),
        tid: 1 + Math.floor(i / sockets),
        cgroupId: HOST,
        comm: comm('worker'),
      })),
    );
    const [first] = (await fixture.service.snapshots.page(callerOf('viewer'), 'sockets', {})).rows;
    let turn = 0;
    const inOneTurn = new Map<number, number>();
    vi.spyOn(turns, 'isOpen', 'get').mockReturnValue(false);
    vi.spyOn(turns, 'next').mockImplementation(async () => {
      await new Promise<void>((resolve) => setImmediate(resolve));
      turn++;
    });
    vi.spyOn(Object.getPrototypeOf(first?.process) as { comm: string }, 'comm', 'get').mockImplementation(() => {
      inOneTurn.set(turn, (inOneTurn.get(turn) ?? 0) + 1);
      return 'worker';
    });
    const found = await data<{ sockets: { nodes: { owners: { process: { pid: number } }[] }[] } }>(
      `{ sockets { ${owners} } ${more} }`,
    );
    vi.restoreAllMocks();
    const pids = Array.from({ length: processes }, (_, i) => i + 1);
    expect(found.sockets.nodes).toHaveLength(sockets);
    for (const node of found.sockets.nodes) expect(node.owners.map(({ process }) => process.pid)).toEqual(pids);
    expect([...inOneTurn.values()].reduce((sum, count) => sum + count)).toBe(sockets * processes);
    // A window is over behind the entry that fills it.
    expect(Math.max(...inOneTurn.values())).toBeLessThanOrEqual(256 + 100);
  });
});

describe('what is refused', () => {
  it('says what would be right', async () => {
    tell('process', [{ pid: 1 }, { pid: 2 }, { pid: 3 }]);
    expect(await error('{ processes(first: 0) { totalCount } }')).toEqual({
      code: 'BAD_USER_INPUT',
      message: 'first: 0 is out of range; give 1 to 10,000',
    });
    expect(await error('{ processes(where: { expr: "treads > 1" }) { totalCount } }')).toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringMatching(/no process has the field "treads"; did you mean "threads"\?/) as string,
    });
    expect(await error('{ sockets(where: { expr: "open.path == \\"x\\"" }) { totalCount } }')).toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringMatching(/no socket has the field "open.path"/) as string,
    });
    expect(await error('{ sockets(where: { state: null }) { totalCount } }')).toMatchObject({ code: 'BAD_USER_INPUT' });
    expect(await error('{ processes(after: "bm9uc2Vuc2U") { totalCount } }')).toMatchObject({ code: 'BAD_CURSOR' });
    const { processes } = await data<{ processes: Page }>('{ processes(first: 1) { pageInfo { endCursor } } }');
    const cursor = processes.pageInfo.endCursor ?? '';
    expect(await error(`{ sockets(after: "${cursor}") { totalCount } }`)).toMatchObject({ code: 'BAD_CURSOR' });
    expect(
      await error(`{ processes(after: "${cursor}", where: { threads: { eq: 0 } }) { totalCount } }`),
    ).toMatchObject({
      code: 'BAD_CURSOR',
    });
    // Also of a page that shows all, though nothing comes behind it.
    const { processes: all } = await data<{ processes: Page }>('{ processes { pageInfo { endCursor } } }');
    expect(await data(`{ processes(after: "${all.pageInfo.endCursor}") { nodes { process { pid } } } }`)).toEqual({
      processes: { nodes: [] },
    });
    fixture.service.snapshots.end();
    expect(await error(`{ processes(after: "${cursor}") { totalCount } }`)).toMatchObject({ code: 'SNAPSHOT_GONE' });
  });

  it.each([
    ['process', '{ processes { totalCount } }'],
    ['socket', '{ containers { nodes { listeningPorts { address } } } }'],
  ] as const)('is what nobody waits for any more, which is no defect: %s', async (kind, query) => {
    const gone = new AbortController();
    tell('process', [{ pid: 1 }]);
    tell('socket', [{ inode: 3, netNs: 5, family: 1 }]);
    const read = fixture.kernel.records.get(kind);
    fixture.kernel.records.set(kind, () => {
      gone.abort();
      return read?.() ?? new KernelError('reading', 'EIO', '');
    });
    const result = await executeLocally(fixture.service, { query }, callerOf('viewer', gone.signal));
    if (isStream(result)) throw new Error('a stream');
    expect(result.errors?.map(({ extensions }) => extensions['code'])).toEqual(['CANCELLED']);
  });

  it('is what the kernel cannot, with its errno, and once it can it is read', async () => {
    fixture.kernel.records.set('socket', () => new KernelError('loading socket.bpf.o', 'EPERM', 'needs root'));
    expect(await error('{ sockets { totalCount } }')).toEqual({
      code: 'KERNEL_ERROR',
      message: 'loading socket.bpf.o: EPERM (needs root)',
    });
    tell('socket', [{ inode: 3, netNs: 5, family: 1 }]);
    expect(await data('{ sockets { totalCount } }')).toEqual({ sockets: { totalCount: '1' } });
  });
});

interface Page {
  readonly totalCount: string;
  readonly nodes: readonly { readonly process: { readonly pid: number } }[];
  readonly edges: readonly { readonly cursor: string }[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}
