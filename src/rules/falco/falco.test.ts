import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { at, engineOf, known, rulesOf } from '../../../test/support/rules.js';
import { callRows } from './call.js';
import { fieldRows } from './field.js';

import { imported, rule } from '../../../test/support/falco.js';

describe('a translated rule', () => {
  const raised = (condition: string, ...events: readonly Parameters<typeof at>[]): number => {
    const { engine, alerts } = engineOf(rulesOf(imported(rule(condition)).text));
    for (const event of events) engine.evaluate(at(...event));
    return alerts.length;
  };
  const shell = (args: readonly string[], more: object = {}): Parameters<typeof at> => [
    0,
    'exec',
    { process: { pid: 5, comm: 'sh' }, errno: null, args: [...args], ...more },
  ];

  it('fires where the command line is that of Falco', () => {
    const condition = 'evt.type=execve and proc.cmdline startswith "sh -c whoami"';
    expect(raised(condition, shell(['/bin/sh', '-c', 'whoami']))).toBe(1);
    expect(raised(condition, shell(['sh', '-c', 'whoami > /tmp/x']))).toBe(1);
    expect(raised(condition, shell(['sh', '-x', '-c', 'whoami']))).toBe(0);
    expect(raised(condition, shell(['sh', '-c', 'echo', 'whoami']))).toBe(0);
    expect(raised(condition, shell(['sh', '-c', 'whoami'], { errno: 'ENOENT' }))).toBe(0);
  });

  it('fires for the descendants that Falco means', () => {
    const condition = 'evt.type=execve and proc.name=sh and proc.aname in (nginx, httpd)';
    const of = (parent: string): object => ({ known: known(5, 'sh', known(4, 'php', known(3, parent))) });
    expect(raised(condition, shell(['sh'], of('httpd')))).toBe(1);
    expect(raised(condition, shell(['sh'], of('sshd')))).toBe(0);
  });

  it('fires for a file by its path', () => {
    const condition =
      'evt.type in (open, openat) and evt.is_open_read=true and fd.num>=0 and fd.directory in (/etc/pam.d) ';
    const opened = (resolved: string, flags: readonly string[] = ['O_RDONLY']): Parameters<typeof at> => [
      0,
      'open',
      { errno: null, resolved, flags: [...flags] },
    ];
    expect(raised(condition, opened('/etc/pam.d/login'))).toBe(1);
    expect(raised(condition, opened('/etc/pam.d/x/login'))).toBe(0);
    expect(raised(condition, opened('/etc/pam.d'))).toBe(0);
    expect(raised(condition, opened('/etc/pam.d/login', ['O_WRONLY']))).toBe(0);
  });
});

describe('the documentation', () => {
  const text = readFileSync(fileURLToPath(new URL('../../../docs/rules-falco.md', import.meta.url)), 'utf8');

  it('has each field and each call', () => {
    for (const { names, ours } of fieldRows)
      expect(text).toContain(`| ${names.map((name) => `\`${name}\``).join(', ')} | ${ours} |`);
    for (const { calls, tracker } of callRows)
      for (const call of calls) expect(text).toMatch(new RegExp(`\`${call}\`[^\\n]*\\| ${tracker} \\|`));
  });
});

const PUBLIC =
  process.env['EUNOMIA_FALCO_RULES'] ??
  fileURLToPath(new URL('../../../../shared/data/falco/falco_rules.yaml', import.meta.url));

// Falco's own set is not part of the project: the test is for who has it.
describe.runIf(existsSync(PUBLIC))('the public set', () => {
  it('is translated for the most part, and each failure is told', () => {
    const result = imported(readFileSync(PUBLIC, 'utf8'));
    const done = result.rules.filter(({ names }) => names.length > 0);
    expect(result.problems).toEqual([]);
    expect(done.length / result.rules.length).toBeGreaterThanOrEqual(0.8);
    for (const { names, problems: why } of result.rules) expect(why.length > 0).toBe(names.length === 0);
    expect(rulesOf(result.text).rules.length).toBeGreaterThanOrEqual(done.length);
  });
});
