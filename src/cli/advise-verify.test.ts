import { expect, it } from 'vitest';
import type { Advice } from '../event/advice.js';
import { verified } from './advise-verify.js';

/** The lines that `eunomia advise --verify` tells of one refusal. */
async function told(stack: readonly string[] | null): Promise<string[]> {
  const refusal = {
    kind: 'PATH',
    what: '/a',
    argument: null,
    call: 'openat',
    errno: 'EACCES',
    comm: 'cat',
    pid: 7,
    stack,
  };
  const result = {
    verified: true,
    rights: {},
    widened: [],
    problems: [],
    outside: [],
    rounds: [{ started: true, check: null, refusals: [refusal] }],
  };
  const replies: unknown[] = [{ verifyAdvice: result }, { adviceWithRights: { files: [] } }];
  const query = async <Data>(): Promise<Data> => replies.shift() as Data;
  const lines: string[] = [];
  const files = await verified({ query }, 'web', { rights: {} } as Advice, {}, { tell: (line) => lines.push(line) });
  // The whole stack is in the files.
  expect(JSON.parse(files.at(-1)?.content ?? '')).toEqual(result);
  const report = files.find(({ name }) => name === 'verification.md')?.content.split('\n') ?? [];
  expect(report).toContain('## Copy 1: started, 1 refusal');
  expect(report).toContain('- path /a: cat (7) openat = EACCES');
  expect(report.filter((line) => line.startsWith('      '))).toHaveLength(stack?.length ?? 0);
  return lines.filter((line) => line.startsWith('    '));
}

it('tells a refusal with its callers, and why there are no more', async () => {
  expect(await told(null)).toEqual([]);
  expect(await told(['main+0x1 (/bin/a+0x2)', '(cut: there are more frames)'])).toEqual([
    '    at main+0x1 (/bin/a+0x2)',
    '    (cut: there are more frames)',
  ]);
});

it('tells the nearest callers of a deep stack, and what a file was called in one line', async () => {
  const stack = Array.from({ length: 128 }, (_, i) => `f${i}+0x1 (/bin/a\n\u001b[31m+0x2)`);
  const lines = await told(stack);
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe('    … 108 more in verification.md');
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  expect(lines.join('')).not.toMatch(/[\u0000-\u001f]/);
});

it.each([
  [[], 'nothing outside of them was attempted'],
  [[true, true], 'what was attempted outside of them was refused'],
  [[true, false], '1 of 2 attempts outside of them was NOT refused'],
  [[false], '1 of 1 attempt outside of them was NOT refused'],
])('says no more of what is outside than was shown: %j', async (attempts, expected) => {
  const outside = attempts.map((refused) => ({ kind: 'CALL', what: 'keyctl', refused }));
  const result = { verified: true, rights: {}, widened: [], problems: [], outside, rounds: [] };
  const replies: unknown[] = [{ verifyAdvice: result }, { adviceWithRights: { files: [] } }];
  const query = async <Data>(): Promise<Data> => replies.shift() as Data;
  const lines: string[] = [];
  const files = await verified({ query }, 'web', { rights: {} } as Advice, {}, { tell: (line) => lines.push(line) });
  expect(lines.at(-1)).toBe(`verified: a copy ran under these rights, its check passed, and ${expected}`);
  expect(files.find(({ name }) => name === 'verification.md')?.content).toContain(`its check passed, and ${expected}.`);
});
