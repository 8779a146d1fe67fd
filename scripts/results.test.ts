import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../src/base/paths.js';

const run = promisify(execFile);

it('tells of a failed test its causes, and of a file that could not be collected why', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-results-'));
  const results = join(folder, 'results.json');
  const globals = ['it', 'expect', 'describe', 'beforeAll'].join(', ');
  const write = (name: string, code: string): Promise<void> =>
    writeFile(join(folder, name), `const { ${globals} } = globalThis;\n${code}`);
  try {
    await write(
      'a.test.js',
      `it('passes', () => {}); it.skip('left out', () => {});
       describe('that', () => it('fails', () => { throw new Error('outer', { cause: new Error('inner', { cause: 'why' }) }); }));`,
    );
    await write('b.test.js', `throw new Error('not collected', { cause: 'a cause' });`);
    await write(
      'c.test.js',
      `describe('of a hook', () => { beforeAll(() => { throw new Error('hook'); }); it('is not run', () => {}); });`,
    );
    const reporter = join(root, 'scripts/results.mjs');
    const args = ['run', '--globals', '--root', folder, `--reporter=${reporter}`];
    const vitest = run(join(root, 'node_modules/.bin/vitest'), args, {
      cwd: folder,
      env: { ...process.env, EUNOMIA_TEST_RESULTS: results },
    });
    await expect(vitest).rejects.toMatchObject({ code: 1 });
    const told = JSON.parse(await readFile(results, 'utf8')) as {
      passed: number;
      failed: { file: string; name: string; message: string }[];
      skipped: { name: string }[];
    };
    expect(told.passed).toBe(1);
    expect(told.skipped.map(({ name }) => name).sort()).toEqual(['left out', 'of a hook is not run']);
    const failed = told.failed.map(({ file, name, message }) => ({ file: file.slice(-9), name, message }));
    expect(failed.sort((a, b) => a.file.localeCompare(b.file))).toEqual([
      {
        file: 'a.test.js',
        name: 'that fails',
        message: expect.stringMatching(/^Error: outer\n[^]*\nCaused by: Error: inner\n[^]*\nCaused by: why$/) as string,
      },
      {
        file: 'b.test.js',
        name: 'the file itself',
        message: expect.stringMatching(/^Error: not collected\n[^]*\nCaused by: a cause$/) as string,
      },
      { file: 'c.test.js', name: 'the file itself', message: expect.stringContaining('Error: hook') as string },
    ]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
