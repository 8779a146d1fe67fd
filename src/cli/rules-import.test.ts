import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { noRuleTools } from '../../test/support/rule-tools.js';
import { importRules } from '../server/rule-import.js';
import { plainOutput } from './output.js';
import { runProgram } from './program.js';

const folder = await mkdtemp(join(tmpdir(), 'eunomia-import-'));
afterAll(() => rm(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);
await writeFile(
  path('rules.yaml'),
  `- rule: Netcat
  condition: evt.type=execve and proc.name=nc and user.name=alice
  output: Netcat (%proc.cmdline)
  priority: NOTICE
- rule: Session
  condition: evt.type=execve and proc.sid=1
`,
);
await writeFile(path('local.yaml'), '- rule: Netcat\n  append: true\n  condition: and proc.pname=sh\n');
await writeFile(path('none.yaml'), '- rule: Session\n  condition: evt.type=execve and proc.sid=1\n');
await writeFile(path('passwd'), 'alice:x:1000:1000::/home/alice:/bin/sh\n');
await writeFile(path('large.yaml'), '');
await truncate(path('large.yaml'), 10 << 20);

async function run(...argv: readonly string[]): Promise<{ code: number; out: string; told: string }> {
  let out = '';
  let told = '';
  const refuse = () => Promise.reject(new Error('not asked for'));
  const code = await runProgram(['rules', 'import', ...argv], '1.2.3', {
    serve: refuse,
    local: refuse,
    testPlugin: refuse,
    rules: noRuleTools,
    importRules,
    output: plainOutput(async (text) => {
      out += text;
      return true;
    }),
    tell: (line) => (told += `${line}\n`),
    signal: new AbortController().signal,
  });
  return { code, out, told };
}

describe('eunomia rules import', () => {
  it('writes what it could translate, and tells what it could not', async () => {
    const { code, out, told } = await run('falco', path('rules.yaml'), path('local.yaml'), '--passwd', path('passwd'));
    expect(code).toBe(0);
    expect(out).toContain('process.uid == 1000');
    expect(out).toContain('process.parent.comm == "sh"');
    expect(told.split('\n')).toEqual([
      'not translated: Session (rules.yaml:5)',
      '    proc.sid=1: sessions and groups of processes are not in the events',
      '1 of 2 rules translated',
      '',
    ]);
  });

  it('writes a file', async () => {
    const { code, out } = await run('falco', path('rules.yaml'), '--passwd', path('passwd'), '-o', path('out.yaml'));
    expect({ code, out }).toEqual({ code: 0, out: '' });
    expect(await readFile(path('out.yaml'), 'utf8')).toContain('name: falco-netcat');
  });

  it.each<[number, string, readonly string[]]>([
    [1, 'eunomia: no rule could be translated; nothing is written', ['falco', path('none.yaml')]],
    [2, 'is no file of Falco rules, which is a list of rules, macros and lists', ['falco', path('passwd')]],
    [2, 'gone.yaml: cannot be read: ENOENT: no such file or directory', ['falco', path('gone.yaml')]],
    [2, `${path('')}: cannot be read: EISDIR`, ['falco', path('')]],
    [2, 'has 10485760 bytes; at most 4194304 are read', ['falco', path('large.yaml')]],
    [2, `--passwd: ${path('gone')}: cannot be read: ENOENT`, ['falco', path('rules.yaml'), '--passwd', path('gone')]],
    [2, `--hosts: ${folder}: cannot be read: EISDIR`, ['falco', path('rules.yaml'), '--hosts', folder]],
    [2, '--output: there is no directory', ['falco', path('rules.yaml'), '-o', path('gone/out.yaml')]],
    [2, 'Allowed choices are falco', ['sigma', path('rules.yaml')]],
  ])('ends with %i: %s', async (expected, message, argv) => {
    const { code, out, told } = await run(...argv);
    expect({ code, out }).toEqual({ code: expected, out: '' });
    expect(told).toContain(message);
  });
});
