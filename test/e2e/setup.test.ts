import { execFile } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

let checkout: string;

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly told: string;
}

/** With a few BPF programs, each of which is compiled three times here; the documentation needs all of them. */
beforeAll(() => {
  checkout = join(mkdtempSync(join(tmpdir(), 'eunomia-setup-')), 'checkout');
  const left = new Set(['node_modules', 'build', 'dist', '.git', '.cache', 'generated', 'docs']);
  cpSync(root, checkout, {
    recursive: true,
    filter: (path) =>
      path === root ||
      (!left.has(path.split('/').at(-1) ?? '') && !/trackers\/(?!exec|exit|open)\w+\.bpf\.c$/.test(path)),
  });
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
  chmodSync(resolve(checkout, '..'), 0o755); // for the tests without root
});

afterAll(() => rmSync(resolve(checkout, '..'), { recursive: true, force: true }));

/** Never blocks: where compiling takes a minute, vitest gives up a worker that does not talk to it meanwhile. */
async function setUp(options: { env?: Record<string, string>; uid?: number } = {}): Promise<Outcome> {
  const [code, out, told] = await new Promise<[number | null, string, string]>((resolve) => {
    const child = execFile(
      process.execPath,
      ['scripts/setup.mjs'],
      { cwd: checkout, uid: options.uid, gid: options.uid, env: { ...process.env, ...options.env } },
      (_error, stdout, stderr) => resolve([child.exitCode, stdout, stderr]),
    );
  });
  return { code, out, told };
}

/** A PATH with these programs only: the real ones, or scripts. */
function pathWith(name: string, programs: Readonly<Record<string, string>>): string {
  const folder = resolve(checkout, '..', name);
  mkdirSync(folder, { recursive: true });
  for (const [program, content] of Object.entries(programs)) {
    if (content.startsWith('#!')) writeFileSync(join(folder, program), content, { mode: 0o755 });
    else symlinkSync(content, join(folder, program));
  }
  return folder;
}

function objects(): Map<string, number> {
  const folder = join(checkout, 'dist/bpf', process.arch);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.bpf.o'));
  return new Map(files.map((file) => [file, statSync(join(folder, file)).mtimeMs]));
}

function changed(before: ReadonlyMap<string, number>): string[] {
  return [...objects()].filter(([file, time]) => before.get(file) !== time).map(([file]) => file);
}

describe('the set-up of a clean checkout', () => {
  it('generates, compiles, and has nothing to do the second time', async () => {
    const first = await setUp();
    expect(first.told).toMatch(
      /compiling \d+ of \d+ BPF programs[^]*generating types[^]*compiling src[^]*bundling src[^]*done/,
    );
    expect(first).toMatchObject({ code: 0, out: '' });
    const sources = readdirSync(join(checkout, 'bpf'), { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.bpf.c'),
    );
    expect([...objects().keys()].sort()).toEqual(sources.map((file) => file.replace(/c$/, 'o')).sort());
    const second = await setUp();
    expect(second.told).toMatch(/^set-up: nothing to do \(\d+\.\d s\)\n$/);
  });

  it('keeps BTF in the objects', () => {
    const sections = readFileSync(join(checkout, 'dist/bpf', process.arch, 'cgroup.bpf.o')).toString('latin1');
    expect(sections).toContain('.BTF\0');
    expect(sections).toContain('.BTF.ext\0');
  });

  it('compiles just the BPF program that changed, and all of them after a header did', async () => {
    const before = objects();
    appendFileSync(join(checkout, 'bpf/trackers/exit.bpf.c'), '\n/* changed */\n');
    expect((await setUp()).told).toContain(`compiling 1 of ${before.size} BPF programs`);
    expect(changed(before)).toEqual(['trackers/exit.bpf.o']);
    appendFileSync(join(checkout, 'bpf/include/eunomia.bpf.h'), '\n/* changed */\n');
    expect((await setUp()).told).toContain(`compiling ${before.size} of ${before.size} BPF programs`);
  });

  it('removes what was compiled from sources that are gone, and makes again what was deleted', async () => {
    // A server looks for trackers in their folder: one that is left there keeps it from starting.
    const source = join(checkout, 'src/trackers/gone.ts');
    const compiled = () => ['build', 'dist'].map((folder) => existsSync(join(checkout, folder, 'trackers/gone.js')));
    writeFileSync(source, 'export const x = 1;\n');
    expect((await setUp()).code).toBe(0);
    expect(compiled()).toEqual([true, true]);
    rmSync(source);
    // As a set-up leaves it that was killed while clang wrote.
    const half = join(checkout, 'dist/bpf', process.arch, 'cgroup.bpf.o-d5d115c8.new.tmp');
    writeFileSync(half, '');
    expect((await setUp()).code).toBe(0);
    expect(compiled()).toEqual([false, false]);
    expect(existsSync(half)).toBe(false);
    rmSync(join(checkout, 'dist'), { recursive: true });
    expect((await setUp()).code).toBe(0);
    // And makes again what was deleted.
    expect(existsSync(join(checkout, 'dist/main.js'))).toBe(true);
    expect(objects().size).toBeGreaterThan(0);
  });

  it('fails with the message of the compiler, and leaves the last good object', async () => {
    const before = objects();
    const source = join(checkout, 'bpf/trackers/exit.bpf.c');
    const good = readFileSync(source);
    appendFileSync(source, '\nint broken(void) { return nothing; }\n');
    const { code, told } = await setUp();
    expect(code).toBe(1);
    expect(told).toMatch(/exit\.bpf\.c does not compile[^]*use of undeclared identifier 'nothing'/);
    expect(told).not.toMatch(/at .*\.mjs/); // no stack trace
    expect(changed(before)).toEqual([]);
    writeFileSync(source, good);
    expect((await setUp()).code).toBe(0);
  });

  it('waits for another set-up of the same checkout, but not for a dead one', async () => {
    writeFileSync(join(checkout, '.cache/setup.lock'), '4194303');
    expect(await setUp()).toMatchObject({ code: 0 });
  });
});

describe('the set-up where something is missing', () => {
  it('prints the exact command where it is not root', async () => {
    const PATH = pathWith('no-clang', { 'apt-get': '#!/bin/sh\nexit 1\n' });
    const { code, told, out } = await setUp({ env: { PATH }, uid: 65534 });
    expect({ code, out, told }).toEqual({
      code: 1,
      out: '',
      told:
        "set-up: missing: clang 14 or later. Only root may install them; run:\n  sudo sh -c 'apt-get update && " +
        "apt-get install -y --no-install-recommends clang'\n",
    });
  });

  it('says what is missing where there is no apt, with the command of the package manager that there is', async () => {
    const bare = await setUp({ env: { PATH: pathWith('bare', {}) } });
    expect(bare).toMatchObject({
      code: 1,
      told: expect.stringMatching(/missing: clang 14 or later\. There is no apt-get here; install them/),
    });
    const fedora = await setUp({ env: { PATH: pathWith('fedora', { dnf: '#!/bin/sh\nexit 1\n' }) } });
    expect(fedora).toMatchObject({ code: 1, told: expect.stringContaining('dnf install clang libbpf-devel') });
  });

  it('updates the lists, installs without questions, and decides by what is there then', async () => {
    const path = resolve(checkout, '..', 'root');
    const log = join(path, 'log');
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      'readlink -f "$(command -v clang || command -v clang-14 || ls /usr/bin/clang-[0-9]* | tail -1)"',
    ]);
    const clang = stdout.trim();
    // As apt-get does where policy-rc.d forbids a service to start and a maintainer script minds: installed, exit code 100.
    const aptGet =
      `#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >>${log}\n[ "$1" = install ] || exit 0\n/bin/ln -s ${clang} ` +
      `${path}/clang-14\nexit 100\n`;
    const PATH = pathWith('root', { 'apt-get': aptGet });
    const { code, told } = await setUp({ env: { PATH } });
    expect(told).toContain('installing clang with apt-get');
    expect(code).toBe(0);
    expect(readFileSync(log, 'utf8').split('\n')).toEqual([
      expect.stringMatching(/^noninteractive update /),
      expect.stringMatching(/^noninteractive install -y --no-install-recommends .* clang$/),
      '',
    ]);
  });

  it('shows what apt-get said when the install fails', async () => {
    const PATH = pathWith('broken', { 'apt-get': '#!/bin/sh\necho "E: no network: $1"\nexit 100\n' });
    const { code, told } = await setUp({ env: { PATH } });
    expect(code).toBe(1);
    expect(told).toMatch(
      /still missing after "apt-get update && .*": clang 14 or later\nE: no network: update\nE: no network: install/,
    );
  });
});
