import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageFile } from '../base/paths.js';
import { parseMaps } from './capture.js';
import { Modules } from './modules.js';
import { describeStack } from './text.js';
import { registers, unwind, type CapturedStack, type ProcessMapping } from './unwind.js';

const exec = promisify(execFile);
const source = (name: string): string => packageFile('test', 'support', name);
const machine = process.arch === 'arm64' ? 'AARCH64' : 'X86_64';

let folder: string;
let mountNs: number;

/** With the library beside it. */
async function compile(name: string, ...flags: readonly string[]): Promise<string> {
  const program = join(folder, name);
  const library = `lib${name}.so`;
  await exec('gcc', ['-O2', ...flags, '-shared', '-fPIC', '-o', join(folder, library), source('stack-inner.c')]);
  const link = ['-pthread', '-L', folder, `-l${name}`, `-Wl,-rpath,${folder}`];
  await exec('gcc', ['-O2', ...flags, '-o', program, source('stack.c'), ...link]);
  return program;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stack-'));
  ({ ino: mountNs } = await stat('/proc/self/ns/mnt'));
  await compile('bare', '-fomit-frame-pointer', '-fno-dwarf2-cfi-asm');
});
afterAll(() => rm(folder, { recursive: true }));

/** A program's stack where it makes a system call, and the addresses that backtrace(3) says it comes from, the call's first. */
async function stackOf(program: string, how = ''): Promise<{ captured: CapturedStack; callers: number[] }> {
  const { stdout } = await exec(program, [how], { maxBuffer: 1 << 24 });
  const lines = stdout.slice(0, stdout.indexOf('maps\n')).split('\n');
  const of = (kind: string): string[][] => lines.map((line) => line.split(' ')).filter(([first]) => first === kind);
  const numbers = new Float64Array(registers[machine].count).fill(Number.NaN);
  for (const [, number, value = ''] of of('register')) numbers[Number(number)] = Number.parseInt(value, 16);
  return {
    captured: {
      machine,
      address: Number.parseInt(of('pc')[0]?.[1] ?? '', 16),
      registers: numbers,
      memory: Buffer.from(of('stack')[0]?.[1] ?? '', 'hex'),
      mappings: parseMaps(stdout.slice(stdout.indexOf('maps\n') + 5)),
    },
    callers: of('caller').map(([, address = '']) => Number.parseInt(address, 16)),
  };
}

const here = (): { mountNs: number; pids: number[] } => ({ mountNs, pids: [process.pid] });

function unwound(captured: CapturedStack, modules = new Modules()): ReturnType<typeof unwind> {
  const files = modules.of(here());
  try {
    return unwind(captured, (mapping, offset) => files.of(mapping)?.rowAt(offset) ?? null);
  } finally {
    files.close();
  }
}

describe('a stack without frame pointers', () => {
  it.each(['', 'thread', 'signal'])('has the callers that backtrace tells, to the outermost (%s)', async (how) => {
    const { captured, callers } = await stackOf(join(folder, 'bare'), how);
    const { frames, cut } = unwound(captured);
    expect(cut).toBeNull();
    expect(frames.map(({ address }) => address)).toEqual(callers);
    expect(callers.length).toBeGreaterThan(10);
  });

  it('tells functions, their files and offsets', async () => {
    const program = join(folder, 'bare');
    const { captured } = await stackOf(program);
    const texts = describeStack(captured, here(), new Modules());
    const names = texts.map((text) => /^[^+ ]+/.exec(text)?.[0]);
    const [main, inner] = [names.indexOf('main'), names.indexOf('inner_calls')];
    expect(names.slice(names.indexOf('calls_kernel'), main + 1)).toEqual([
      'calls_kernel',
      'plain',
      'saving',
      'sized',
      'aligned',
      'inner_calls',
      'outer_calls',
      'main',
    ]);
    expect(texts[inner]).toMatch(
      new RegExp(`^inner_calls\\+0x[0-9a-f]+ \\(${join(folder, 'libbare.so')}\\+0x[0-9a-f]+\\)$`),
    );
    expect(texts.at(-1)).toMatch(/^_start\+0x[0-9a-f]+ /);
    // What a debugger says of an address in the file.
    const offset = /\+(0x[0-9a-f]+)\)$/.exec(texts[inner] ?? '')?.[1] ?? '';
    const { stdout } = await exec('addr2line', ['-f', '-e', join(folder, 'libbare.so'), offset]);
    expect(stdout.split('\n')[0]).toBe('inner_calls');
  });

  it('is found in a static program, whose frames have no index', async () => {
    const program = join(folder, 'static');
    const sources = [source('stack.c'), source('stack-inner.c')];
    await exec('gcc', ['-O2', '-fomit-frame-pointer', '-static', '-Wl,--no-eh-frame-hdr', '-o', program, ...sources]);
    const { captured } = await stackOf(program);
    const { frames, cut } = unwound(captured);
    expect(cut).toBeNull();
    const texts = describeStack(captured, here(), new Modules());
    const names = texts.map((text) => /^[^+ ]+/.exec(text)?.[0]);
    expect(names.slice(names.indexOf('calls_kernel'), names.indexOf('main') + 1)).toHaveLength(8);
    expect(names.at(-1)).toBe('_start');
    expect(frames).toHaveLength(texts.length);
  });

  it('goes on by frame pointers where code has nothing else', async () => {
    const program = await compile(
      'framed',
      '-fno-omit-frame-pointer',
      '-fno-asynchronous-unwind-tables',
      '-fno-exceptions',
    );
    const { captured } = await stackOf(program);
    const isOwn = ({ path }: ProcessMapping): boolean => path?.startsWith(folder) ?? false;
    const files = new Modules().of(here());
    // As of code that is made at run time: only the libraries of the system say how they are left.
    const { frames } = unwind(captured, (mapping, offset) =>
      isOwn(mapping) ? null : (files.of(mapping)?.rowAt(offset) ?? null),
    );
    const names = frames.map(({ mapping, address }) =>
      mapping ? files.of(mapping)?.nameAt(address - 1 - mapping.start + mapping.offset)?.name : null,
    );
    files.close();
    expect(names).toEqual(expect.arrayContaining(['saving', 'sized', 'inner_calls', 'outer_calls', 'main']));
    const texts = describeStack(captured, here(), new Modules());
    expect(texts[0]).toMatch(/^[^?]/);
    expect(texts).toContainEqual(expect.stringMatching(/^\? outer_calls\+/));
  });

  it('says why it ends where its copy does, and where its files cannot be read', async () => {
    const { captured } = await stackOf(join(folder, 'bare'));
    const short = describeStack({ ...captured, memory: captured.memory.subarray(0, 600) }, here(), new Modules());
    expect(short.at(-1)).toBe('(cut: the frames above are not in the copy of the stack)');
    expect(short.length).toBeGreaterThan(2);
    const gone = captured.mappings.map((one) => ({ ...one, inode: one.inode + 1 }));
    const texts = describeStack(
      { ...captured, registers: new Float64Array(32), mappings: gone },
      here(),
      new Modules(),
    );
    expect(texts).toEqual([expect.stringMatching(/^\(\/.*libc\.so\.6\+0x[0-9a-f]+\)$/)]);
    const unknown = describeStack({ ...captured, mappings: gone }, here(), new Modules());
    expect(unknown.at(-1)).toMatch(/^\(cut: \/.*libc\.so\.6 cannot be read\)$/);
  });

  it('is not told by a file that was written anew, with the same number under the same path', async () => {
    const program = join(folder, 'anew');
    await copyFile(join(folder, 'bare'), program);
    const { captured } = await stackOf(program);
    const modules = new Modules();
    const at = Date.now();
    const told = (when = Date.now()): string => describeStack(captured, { ...here(), at: when }, modules).join('\n');
    expect(told(at)).toContain('main+0x');
    await setTimeout(20);
    await writeFile(program, await readFile(join(folder, 'libbare.so')));
    await setTimeout(20);
    expect(told(at)).toMatch(/\(cut: \S*\/anew cannot be read\)$/);
    expect(told()).not.toContain('main+0x');
  });

  it('is found again, and what is kept has a bound', async () => {
    const { captured, callers } = await stackOf(join(folder, 'bare'));
    const modules = new Modules(100_000);
    for (let i = 0; i < 3; i++) expect(unwound(captured, modules).frames).toHaveLength(callers.length);
    expect(modules.byteLength).toBeLessThanOrEqual(100_000);
    expect(modules.byteLength).toBeGreaterThan(0);
    const open = await exec('sh', ['-c', `ls -l /proc/${process.pid}/fd`]);
    expect(open.stdout).not.toContain(folder);
  });
});

describe('mappings', () => {
  it('are read of /proc, as the executable ones', async () => {
    const mappings = parseMaps(await readFile('/proc/self/maps', 'utf8'));
    expect(mappings.some(({ path, inode }) => path === process.execPath && inode > 0)).toBe(true);
    expect(mappings.every(({ start, end }) => start < end)).toBe(true);
  });
});
