import { execFile } from 'node:child_process';
import { mkdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { sharedServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { firstLine, scratch, start } from '../support/workload.js';

const exec = promisify(execFile);
const FIELDS =
  'process { pid } mountNs mountId parentId target source root fsType device readOnly mountFlags fsOptions ' +
  'propagation peerGroup masterGroup';

interface Shown {
  readonly mountNs: string;
  readonly mountId: number;
  readonly parentId: number;
  readonly target: string;
  readonly source: string | null;
  readonly root: string;
  readonly fsType: string | null;
  readonly device: string | null;
  readonly readOnly: boolean;
  readonly mountFlags: readonly string[];
  readonly fsOptions: readonly string[];
  readonly propagation: string;
  readonly peerGroup: number | null;
  readonly masterGroup: number | null;
  readonly process: { readonly pid: number };
}

interface Page {
  readonly nodes: readonly Shown[];
  readonly totalCount: string;
  readonly complete: boolean;
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

async function mountsOf(server: TestServer, where: object, range: object = { first: 10_000 }): Promise<Page> {
  const { mounts } = await server.query<{ mounts: Page }>(
    `query ($where: MountFilter, $first: Int, $after: Cursor) { mounts(where: $where, first: $first, after: $after) {
      nodes { ${FIELDS} } totalCount complete pageInfo { hasNextPage endCursor } } }`,
    { where, ...range },
  );
  return mounts;
}

const namespaceOf = async (pid: number): Promise<string> =>
  /\d+/.exec(await readlink(`/proc/${pid}/ns/mnt`))?.[0] ?? '';

it('lists the mounts of another namespace as findmnt does, with names that are written to mislead', async () => {
  const server = await sharedServer();
  const names = [
    'with space',
    'line\nbreak',
    'back\\slash \\040',
    '# tab\there - ext4',
    'ä€',
    `long${'x'.repeat(240)}`,
  ];
  const folders = [...names, 'bound', 'slave'].map((name) => join(scratch, name));
  for (const folder of folders) await mkdir(folder, { recursive: true });
  const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const mounts = folders
    .slice(0, names.length)
    .map((folder, i) => `mount -t tmpfs -o size=${i + 1}m ${quoted(names[i] ?? '')} ${quoted(folder)}`);
  const script = [
    ...mounts,
    `mount -t tmpfs -o ro,nosuid,nodev none ${quoted(join(scratch, 'bound'))}`,
    `mount --make-shared ${quoted(join(scratch, 'with space'))}`,
    `mount --bind ${quoted(join(scratch, 'with space'))} ${quoted(join(scratch, 'slave'))}`,
    `mount --make-slave ${quoted(join(scratch, 'slave'))}`,
    'echo ready; read end',
  ].join('\n');
  const child = start('unshare', ['--mount', '--propagation', 'private', 'sh', '-ec', script]);
  expect(await firstLine(child)).toBe('ready');
  const pid = child.pid ?? 0;
  const mountNs = await namespaceOf(pid);
  expect(mountNs).not.toBe(await namespaceOf(process.pid));

  const { nodes, complete } = await mountsOf(server, { mountNs: { eq: mountNs } });
  expect(complete).toBe(true);
  const { stdout } = await exec('findmnt', [
    '--task',
    String(pid),
    '--list',
    '--json',
    '--output',
    'ID,PARENT,TARGET,SOURCE,FSROOT,FSTYPE,MAJ:MIN,VFS-OPTIONS,FS-OPTIONS,PROPAGATION',
  ]);
  const { filesystems } = JSON.parse(stdout) as { filesystems: readonly Record<string, string | number>[] };
  const told = (one: Shown) => ({
    id: one.mountId,
    target: one.target,
    fsroot: one.root,
    fstype: one.fsType,
    'maj:min': one.device,
    'vfs-options': one.mountFlags.join(','),
    'fs-options': one.fsOptions.join(','),
    private: one.propagation === 'PRIVATE',
    shared: one.peerGroup !== null,
    slave: one.masterGroup !== null,
  });
  const byId = (a: { id: number }, b: { id: number }): number => a.id - b.id;
  expect(nodes.map(told).sort(byId)).toEqual(
    filesystems
      .map((one) => ({
        id: Number(one['id']),
        target: one['target'],
        fsroot: one['fsroot'],
        fstype: one['fstype'],
        'maj:min': one['maj:min'],
        'vfs-options': one['vfs-options'],
        'fs-options': one['fs-options'],
        private: one['propagation'] === 'private',
        shared: String(one['propagation']).includes('shared'),
        slave: String(one['propagation']).includes('slave'),
      }))
      .sort(byId),
  );
  for (const [i, name] of names.entries())
    expect(nodes.find(({ target }) => target === folders[i])).toMatchObject({ source: name, fsType: 'tmpfs' });
  expect(nodes.find(({ target }) => target.endsWith('/bound'))).toMatchObject({
    readOnly: true,
    mountFlags: expect.arrayContaining(['ro', 'nosuid', 'nodev']) as string[],
    propagation: 'PRIVATE',
    process: { pid },
  });
  const shared = nodes.find(({ target }) => target.endsWith('with space'));
  expect(nodes.find(({ target }) => target.endsWith('/slave'))).toMatchObject({
    propagation: 'SLAVE',
    masterGroup: shared?.peerGroup,
    device: shared?.device,
  });

  // The same by parts, and by what is asked of them.
  const parts: Shown[] = [];
  for (let after: string | null = null; ;) {
    const page: Page = await mountsOf(server, { mountNs: { eq: mountNs } }, { first: 3, after });
    parts.push(...page.nodes);
    expect(page.totalCount).toBe(String(nodes.length));
    if (!page.pageInfo.hasNextPage) break;
    after = page.pageInfo.endCursor;
  }
  expect(parts).toEqual(nodes);
  const ways: readonly (readonly [object, (one: Shown) => boolean])[] = [
    [{ fsType: { eq: 'tmpfs' }, readOnly: { eq: true } }, (one) => one.fsType === 'tmpfs' && one.readOnly],
    [
      { expr: '"nosuid" in mountFlags && propagation == "PRIVATE"' },
      (one) => one.mountFlags.includes('nosuid') && one.propagation === 'PRIVATE',
    ],
    [{ masterGroup: { isNull: false } }, (one) => one.masterGroup !== null],
    [{ process: { pid: { eq: pid } }, target: { prefix: scratch } }, (one) => one.target.startsWith(scratch)],
    [{ process: { parent: { pid: { eq: process.pid } } } }, () => true],
  ];
  for (const [where, naive] of ways) {
    const found = await mountsOf(server, { and: [{ mountNs: { eq: mountNs } }, where] });
    expect([where, found.nodes]).toEqual([where, nodes.filter(naive)]);
    expect(found.nodes.length).toBeGreaterThan(0);
  }
  const cli = ['mounts', '--server', server.url, '--where', `mountNs == ${mountNs} && readOnly`, '-o', 'json'];
  const listed = JSON.parse((await exec(process.execPath, [join(root, 'dist/main.js'), ...cli])).stdout) as Shown[];
  expect(listed.map(({ mountId }) => mountId)).toEqual(
    nodes.filter(({ readOnly }) => readOnly).map(({ mountId }) => mountId),
  );
  child.stdin?.end('\n');
});

it('asks a process of a namespace that has not changed its root, where there is one', async () => {
  const server = await sharedServer();
  // The first process of the namespace is the one below another root.
  const script = [
    `mount -t tmpfs seen-by-all ${scratch}`,
    `mkdir -p ${scratch}/r`,
    `mount --bind / ${scratch}/r`,
    'exec 3<&0',
    'sh -c "read end" <&3 &',
    'echo ready',
    `exec chroot ${scratch}/r sh -c 'read end'`,
  ].join('\n');
  const child = start('unshare', ['--mount', '--propagation', 'private', 'sh', '-ec', script]);
  expect(await firstLine(child)).toBe('ready');
  const pid = child.pid ?? 0;
  await until('it has changed its root', async () => (await readlink(`/proc/${pid}/root`)) !== '/');
  const { nodes } = await mountsOf(server, { mountNs: { eq: await namespaceOf(pid) } });
  expect(nodes[0]?.process.pid).not.toBe(pid);
  expect(nodes.find(({ source }) => source === 'seen-by-all')).toMatchObject({ target: scratch });
  child.stdin?.end('\n');
});

it("lists this machine's own mounts, of a process that has not changed its root", async () => {
  const server = await sharedServer();
  const mountNs = await namespaceOf(process.pid);
  const { nodes } = await mountsOf(server, { mountNs: { eq: mountNs } });
  const ids = (await readFile('/proc/self/mountinfo', 'latin1'))
    .split('\n')
    .flatMap((line) => (line ? [Number(line.split(' ')[0])] : []));
  // Others of this machine mount and unmount meanwhile.
  const own = nodes.map(({ mountId }) => mountId);
  expect(ids.filter((id) => own.includes(id)).length).toBeGreaterThan(ids.length / 2);
  expect(nodes.find(({ target }) => target === '/proc')).toMatchObject({ fsType: 'proc' });
});
