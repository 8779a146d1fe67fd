import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copyCheckout } from '../support/checkout.js';
import { installNode } from '../support/debian.js';
import { makeMachine, type Machine } from '../support/machine.js';
import { blocksRunBy } from '../support/page.js';
import { until } from '../support/until.js';

/** docs/operate.md, as an operator follows it on a fresh Debian 12: each of its blocks, in the order of a server's life. */

const run = promisify(execFile);
const blocks = blocksRunBy('test/e2e/operate.test.ts', 7).map(({ text }) => text);
const unused = new Set(blocks);

/** The block that has some text. */
function block(part: string, version = NEXT): string {
  const [text, ...others] = blocks.filter((each) => each.includes(part));
  if (text === undefined || others.length > 0) throw new Error(`not one block has ${part}`);
  unused.delete(text);
  return text.replaceAll(/--for \d+s/g, '--for 2s').replaceAll('eunomia-VERSION.tgz', `eunomia-${version}.tgz`);
}

const NEXT = '99.0.0';
let VERSION: string;
const QUERY = `export EUNOMIA_SERVER=http://127.0.0.1:4000\n`;
let machine: Machine;

/** What a script prints, which has to succeed. */
async function ran(script: string): Promise<string> {
  const { code, out } = await machine.run(script);
  expect({ script, code, out }).toEqual({ script, code: 0, out });
  return out;
}

/** The server's answer to a query of root. */
async function query<Result>(text: string): Promise<Result> {
  const out = await ran(`curl -s http://127.0.0.1:4000/graphql -H 'content-type: application/json' \\
    -H "authorization: Bearer $(cat /var/lib/eunomia/access-token)" -d '${JSON.stringify({ query: text })}'`);
  const { data, errors } = JSON.parse(out) as { data: Result; errors?: unknown };
  expect(errors).toBeUndefined();
  return data;
}

/** Other than that the machine has a part of the hierarchy of cgroups, as a container has. */
const problemsIn = (status: string): readonly string[] =>
  status
    .split('\n')
    .filter((line) => line.startsWith('problem') && !line.includes('is not the root of the cgroup v2 hierarchy'));

const ready = (): Promise<unknown> =>
  until('it is ready', async () => (await machine.run('curl -fs http://127.0.0.1:4000/readyz')).code === 0);

/** As nodejs.org has it: the Node that runs this test, with its npm. */
async function makeNodeArchive(): Promise<void> {
  const unpacked = join(machine.folder, 'node');
  await installNode(join(unpacked, 'node-v24'));
  await run('tar', ['-C', unpacked, '-I', 'gzip -1', '-cf', join(machine.root, 'root/node.tar.gz'), 'node-v24']);
}

/** Makes the package. Returns its path. */
async function pack(): Promise<string> {
  const checkout = join(machine.folder, 'checkout');
  await copyCheckout(checkout);
  await run('npm', ['run', '--silent', 'package', '--', '--pack-destination', machine.folder], {
    cwd: checkout,
    maxBuffer: 64 << 20,
  });
  const [name = ''] = (await readdir(machine.folder)).filter((file) => file.endsWith('.tgz'));
  return join(machine.folder, name);
}

/** A package of the release after this one, for all that tells. */
async function packNext(tarball: string): Promise<string> {
  const unpacked = join(machine.folder, 'next');
  await mkdir(unpacked);
  await run('tar', ['-C', unpacked, '-xf', tarball]);
  const file = join(unpacked, 'package/package.json');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/"version": "[^"]*"/, `"version": "${NEXT}"`));
  const made = join(machine.folder, `eunomia-${NEXT}.tgz`);
  await run('tar', ['-C', unpacked, '-I', 'gzip -1', '-cf', made, 'package']);
  return made;
}

const atHome = (path: string): Promise<void> => copyFile(path, join(machine.root, 'root', basename(path)));

let next: string;
beforeAll(async () => {
  machine = await makeMachine({ archives: ['libbpf1', 'curl', 'ca-certificates'] });
  const [made] = await Promise.all([pack(), makeNodeArchive()]);
  [, VERSION = ''] = /eunomia-([^/]*)\.tgz$/.exec(made) ?? [];
  await atHome(made);
  next = await packNext(made);
  await machine.boot();
});
afterAll(() => machine?.stop());

it('is installed', async () => {
  await ran(block('apt-get update'));
  await ready();
  expect(await ran('systemctl is-active eunomia; systemctl is-enabled eunomia')).toBe('active\nenabled\n');
  expect(await ran('node --version')).toBe(`${process.version}\n`);
  await ran(block('eunomia.env'));
  await ready();
});

it('sees what happens', async () => {
  const out = await ran(`while :; do /bin/true seen; sleep 0.1; done & trap "kill $!" EXIT\n${block('healthz')}`);
  expect(out).toMatch(/^eunomia \d.* on debian, Linux .*: healthy$/m);
  expect(out).toMatch(/\btrue +exec .*seen/);
  expect(problemsIn(out)).toEqual([]);
});

it('tells what it has lost', async () => {
  const { startSession } = await query<{ startSession: { id: string } }>(
    'mutation { startSession(input: { name: "storm", trackers: [{ syscall: {} }], target: { comms: ["dd"] }, ringBytes: 65536 }) { id } }',
  );
  const row = new RegExp(`^${startSession.id} +storm +syscall +\\S+ +\\d+ +(\\d+)`, 'm');
  await until('losses in the status', async () => {
    await ran('dd if=/dev/zero of=/dev/null bs=1 count=500000');
    return Number(row.exec(await ran(`${QUERY}eunomia status`))?.[1]) > 0;
  });
  await query(`mutation { stopSession(id: "${startSession.id}") { id } }`);
  const script = block('grep lost');
  const log = await until('losses in the log', async () => {
    const { out } = await machine.run(script);
    return out.includes(`"session":"${startSession.id}"`) && out;
  });
  expect(log).toMatch(/^Eunomia listens on http:\/\/127\.0\.0\.1:4000/m);
});

it('is backed up while it runs, upgraded, and put back', async () => {
  const { startSession: kept } = await query<{ startSession: { id: string } }>(
    'mutation { startSession(input: { name: "kept", trackers: [{ exec: {} }], persist: {} }) { id } }',
  );
  const stored = async (): Promise<number> => {
    const { history } = await query<{ history: { events: { totalCount: string } } }>(
      `{ history(sessions: ["${kept.id}"]) { events(first: 1) { totalCount } } }`,
    );
    return Number(history.events.totalCount);
  };
  const storesMoreThan = (count: number): Promise<unknown> =>
    until(`more than ${count} events are stored`, async () => (await ran('true'), (await stored()) > count));
  await storesMoreThan(0);
  const saveQuery = (name: string): Promise<unknown> =>
    query(`mutation { saveQuery(name: "${name}", content: { filter: { where: { expr: "errno != null" } } }) { id } }`);
  await saveQuery('failed');
  const before = await stored();
  await ran(block('eunomia backup'));
  const after = await stored();
  await saveQuery('later');
  await storesMoreThan(after);

  await atHome(next);
  const upgraded = await ran(block('daemon-reload'));
  expect(upgraded).toMatch(new RegExp(`^eunomia ${NEXT} on debian`, 'm'));
  expect(problemsIn(upgraded)).toEqual([]);
  expect(await stored()).toBeGreaterThan(after);
  expect(await ran(`${QUERY}eunomia queries`)).toMatch(/^later /m);

  // As if it had written what the older one does not know.
  await ran('systemctl stop eunomia');
  const data = join(machine.root, 'var/lib/private/eunomia');
  const instance = await DuckDBInstance.create(join(data, 'eunomia.duckdb'));
  const connection = await instance.connect();
  await connection.run('UPDATE meta SET version = 2');
  connection.closeSync();
  instance.closeSync();
  const queries = join(data, 'queries.json');
  const text = await readFile(queries, 'utf8');
  expect(text).toContain('"format":1');
  await writeFile(queries, text.replace('"format":1', '"format":2'));
  const older = await ran(block('daemon-reload', VERSION));
  expect(older).toMatch(new RegExp(`^eunomia ${VERSION} on debian`, 'm'));
  expect(older).toMatch(/^problem: store embedded: .*eunomia\.duckdb.*version/m);
  await until('it is in the log', async () =>
    /eunomia\.duckdb.*version/.test(await ran('journalctl -u eunomia -o cat')),
  );
  expect((await machine.run(`${QUERY}eunomia queries`)).out).toMatch(/queries\.json.*version/);

  const restored = await ran(block('--reference'));
  expect(problemsIn(restored)).toEqual([]);
  const count = await stored();
  expect(count).toBeGreaterThanOrEqual(before);
  expect(count).toBeLessThanOrEqual(after);
  expect(await query(`{ session(id: "${kept.id}") { state stopReason } }`)).toEqual({
    session: { state: 'STOPPED', stopReason: 'INTERRUPTED' },
  });
  const list = await ran(`${QUERY}eunomia queries`);
  expect(list).toMatch(/^failed /m);
  expect(list).not.toContain('later');
});

it('has no block of docs/operate.md left', () => expect([...unused]).toEqual([]));
