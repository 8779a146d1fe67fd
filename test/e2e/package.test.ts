import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { copyCheckout } from '../support/checkout.js';
import { firstLine, start } from '../support/workload.js';

const run = promisify(execFile);
let folder: string;
let checkout: string;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-package-'));
  checkout = join(folder, 'checkout');
  await copyCheckout(checkout);
  await run('npm', ['run', '--silent', 'package', '--', '--pack-destination', folder], {
    cwd: checkout,
    maxBuffer: 64 << 20,
  });
  const [tarball = ''] = (await readdir(folder)).filter((file) => file.endsWith('.tgz'));
  await run(
    'npm',
    ['install', '-g', '--prefix', join(folder, 'installed'), '--no-audit', '--no-fund', join(folder, tarball)],
    { cwd: folder, maxBuffer: 64 << 20 },
  );
  // A machine without a compiler: Node and what the programs themselves need.
  await mkdir(join(folder, 'bin'));
  for (const [name, path] of [
    ['node', process.execPath],
    ['env', '/usr/bin/env'],
    ['sh', '/bin/sh'],
    ['true', '/bin/true'],
  ] as const)
    await symlink(path, join(folder, 'bin', name));
  env = { PATH: `${join(folder, 'bin')}:${join(folder, 'installed/bin')}`, HOME: folder };
});
afterAll(() => rm(folder, { recursive: true }));

const installed = (path: string): string => join(folder, 'installed/lib/node_modules/eunomia', path);

it('holds what runs, for both architectures, and nothing else', async () => {
  expect((await readdir(installed('.'))).sort()).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'LICENSES',
    'README.md',
    'SECURITY.md',
    'deploy',
    'dist',
    'docs',
    'node_modules',
    'npm-shrinkwrap.json',
    'package.json',
    'plugins',
    'rules',
    'schema.graphql',
  ]);
  const objects = async (architecture: string) =>
    (await readdir(installed(`dist/bpf/${architecture}`), { recursive: true }))
      .filter((file) => file.endsWith('.bpf.o'))
      .sort();
  expect(await objects('arm64')).toEqual(await objects('x64'));
  expect((await objects('x64')).length).toBeGreaterThan(6);
  const other = (await readdir(installed('dist'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !/\.(js|bpf\.o|1)$/.test(entry.name))
    .map(({ name }) => name);
  expect(other.sort()).toEqual([
    'THIRD-PARTY-LICENSES.txt',
    'page.css',
    'plugin-event.d.ts',
    'plugin.d.ts',
    'schema.json',
  ]);
  const dependencies = await readdir(installed('node_modules'));
  for (const name of ['typescript', 'vitest', 'oxlint']) expect(dependencies).not.toContain(name);
});

it('has what its pages link, and no pages that only developers need', async () => {
  const pages = ['README.md', 'CHANGELOG.md', 'SECURITY.md'].concat(
    (await readdir(installed('docs'))).map((name) => `docs/${name}`),
  );
  expect(pages).toContain('docs/configuration.md');
  for (const other of ['docs/decisions', 'docs/architecture.md', 'docs/benchmarks.md'])
    expect(pages).not.toContain(other);
  const broken: string[] = [];
  for (const page of pages) {
    const text = await readFile(installed(page), 'utf8');
    for (const [, link = ''] of text.replaceAll(/^```.*?^```$/gms, '').matchAll(/\]\((?![a-z]+:)([^)#\s]+)/g))
      if (!existsSync(installed(join(dirname(page), link)))) broken.push(`${page}: ${link}`);
  }
  expect(broken).toEqual([]);
});

it('leaves the pages of the checkout as they were', async () => {
  for (const page of ['README.md', 'docs/rules.md'])
    expect(await readFile(join(checkout, page), 'utf8')).toBe(await readFile(join(root, page), 'utf8'));
  expect(await readFile(installed('docs/rules.md'), 'utf8')).not.toContain('decisions/');
});

it('has a manual page, which man finds', async () => {
  const page = installed('../../../share/man/man1/eunomia.1');
  // Warnings are of style: there is no date.
  const linted = await run('mandoc', ['-Tlint', '-Werror', page]).catch((error: { readonly stdout: string }) => error);
  expect(linted.stdout).toBe('');
  const { stdout } = await run('mandoc', ['-Thtml', page]);
  expect(stdout.replaceAll(/<[^>]*>/g, '')).toMatch(/--where\s+&lt;expression&gt;\s+only events that match/);
});

it('tells its version', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  expect((await run('eunomia', ['--version'], { env })).stdout.trim()).toBe(version);
});

it('serves the first query of the README on a machine without a compiler', async () => {
  const query = /<<'EOF'[^\n]*\n(\{"query".*\})\nEOF/.exec(await readFile(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
  // On this process's children: there is no engine here.
  const body = query.replace(/target: \{.*\}, for:/, `target: { pids: [${process.pid}] } }, for:`);
  expect(body).not.toBe(query);
  const server = start(
    'eunomia',
    ['serve', '--port', '0', '--data-dir', 'none', '--engine', 'none', '--log-level', 'error'],
    { env },
  );
  try {
    const url = /(http:\S+)/.exec(await firstLine(server))?.[1] ?? '';
    const answer = fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    let running = true;
    const working = (async () => {
      while (running) await run('/bin/true', ['of the package']);
    })();
    const { data, errors } = (await (await answer).json()) as {
      data?: { trace: { stats: { lost: string }; events: { nodes: { args: string[] | null }[] } } };
      errors?: unknown;
    };
    running = false;
    await working;
    expect(errors).toBeUndefined();
    expect(data?.trace.stats.lost).toBe('0');
    expect(data?.trace.events.nodes.map(({ args }) => args)).toContainEqual(['/bin/true', 'of the package']);
  } finally {
    server.kill('SIGTERM');
    await new Promise((resolve) => server.once('exit', resolve));
  }
});

it('has a systemd unit that systemd takes', async () => {
  const unit = await readFile(installed('deploy/systemd/eunomia.service'), 'utf8');
  const file = join(folder, 'eunomia.service');
  await writeFile(file, unit);
  const { stdout, stderr } = await run('systemd-analyze', ['verify', file]);
  expect(stdout + stderr).toBe('');
  const { stdout: exposure } = await run('systemd-analyze', ['security', '--offline=yes', '--threshold=30', file]);
  expect(exposure).toMatch(/Overall exposure level/);
});
