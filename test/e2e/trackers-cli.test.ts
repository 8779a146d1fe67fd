import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { servedBy } from '../support/served.js';

// The commands that list what there is need no server, no BPF and no rights.

const run = promisify(execFile);
const names = (await loadTrackers()).map(({ name }) => name);

interface Told {
  readonly name: string;
  readonly available: boolean;
  readonly problem: string | null;
}
const facts = 'name available problem hooks capabilities blindSpots';

async function eunomia(rights: readonly string[], ...args: readonly string[]): Promise<string> {
  const { EUNOMIA_SERVER: _, ...env } = process.env;
  const [program = '', ...rest] = [...rights, process.execPath, join(root, 'dist/main.js'), ...args];
  return (await run(program, rest, { env: { ...env, EUNOMIA_ENGINE: 'none' }, maxBuffer: 16 << 20 })).stdout;
}

const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
const rightsOf = (caps: string): readonly string[] => ['setpriv', '--bounding-set', caps, '--inh-caps', caps];

it('as a user without rights', async () => {
  const trackers = JSON.parse(await eunomia(asNobody, 'trackers', '-o', 'json')) as readonly Told[];
  expect(trackers.map(({ name }) => name)).toEqual(names);
  for (const { available, problem } of trackers)
    expect([available, problem]).toEqual([false, expect.stringContaining('CAP_BPF') as string]);
  expect(await eunomia(asNobody, 'trackers', 'open')).toMatch(/^open: [^]*\nfailedOnly +Boolean/m);
  expect(await eunomia(asNobody, 'containers')).toMatch(/^id +name +image/);
});

it.each([
  ['of root', []],
  ['without CAP_NET_ADMIN', rightsOf('-all,+bpf,+perfmon,+sys_ptrace')],
])('what they say of trackers with the rights %s is what the kernel says where each is loaded', async (_, rights) => {
  const told = JSON.parse(await eunomia(rights, 'trackers', '-o', 'json')) as readonly Told[];
  const [program = 'env', ...args] = rights;
  const tried = await servedBy([program, ...args], (ask) =>
    ask<{ trackers: readonly Told[] }>(`{ trackers { ${facts} } }`),
  );
  expect(tried.trackers).toHaveLength(names.length);
  expect(told).toMatchObject(tried.trackers as object[]);
});

it('loads no BPF program', async () => {
  const main = [process.execPath, join(root, 'dist/main.js'), 'trackers', '-o', 'json'];
  const { stdout, stderr } = await run('strace', ['-f', '-e', 'trace=bpf,execve', ...main], { maxBuffer: 16 << 20 });
  expect(stdout).toContain('"name": "open"');
  expect(stderr).toContain('execve(');
  expect(stderr).not.toContain('bpf(');
});
