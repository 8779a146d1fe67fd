import { describe, expect, it } from 'vitest';
import { rulesOf } from '../../../test/support/rules.js';
import { imported, problems, rule, translated } from '../../../test/support/falco.js';
import { reportOf } from './import.js';

describe('a file', () => {
  const shells =
    '- list: shells\n  items: [sh, bash]\n- macro: shell\n  condition: (proc.name in (shells) or proc.pname in (shells, x))\n';

  it('keeps lists, and macros that mean the same everywhere', () => {
    const { text } = imported(`${shells}${rule('evt.type=execve and shell')}`);
    expect(rulesOf(text).definition.lists.get('falco_shells')).toEqual(['sh', 'bash']);
    expect(text).toContain('falco_shell:');
    expect(translated('evt.type=execve and shell', shells)).toEqual(['exec: errno == null && falco_shell']);
  });

  it('writes out a macro whose meaning depends on the event', () => {
    const macro = '- macro: temporary\n  condition: (proc.cwd startswith /tmp/ and proc.exepath startswith /tmp/)\n';
    const { text } = imported(`${macro}${rule('evt.type in (execve, openat) and temporary')}`);
    expect(text).not.toContain('macros:');
    expect(text).toContain('process.cwd.startsWith("/tmp/")');
  });

  it('takes what was changed: lists, macros and rules that are appended to, replaced, switched off', () => {
    const { text } = imported(
      `${shells}${rule('evt.type=execve and shell')}
- list: shells
  items: [zsh]
  override: { items: append }
- macro: shell
  append: true
  condition: and user.uid=0
- rule: A rule
  condition: and not proc.name=bash
  tags: [T1059.004, mitre_execution, mine]
  priority: CRITICAL
  override: { condition: append, tags: append, priority: replace }
- rule: A rule
  enabled: false
`,
    );
    const [changed] = rulesOf(text).definition.rules;
    expect(changed).toMatchObject({
      severity: 'CRITICAL',
      enabled: false,
      tags: ['mine'],
      attack: ['T1059.004', 'TA0002'],
      description: 'What it is for.',
    });
    expect(changed?.steps[0]?.condition.first.text).toBe('errno == null && falco_shell && !(process.comm == "bash")');
    expect(rulesOf(text).definition.lists.get('falco_shells')).toEqual(['sh', 'bash', 'zsh']);
    expect(text).toContain('process.uid == 0');
  });

  it('translates exceptions, of tuples and of single values', () => {
    const { text } = imported(
      rule(
        'evt.type=openat and fd.num>=0 and fd.name startswith /etc',
        `exceptions:
    - name: Known writers
      fields: [proc.name, fd.name]
      comps: [=, contains]
      values:
        - [nginx, /etc/nginx]
        - [ap ache, /etc/apache]
    - name: names
      fields: proc.name
      values: [a, b]
    - name: empty
      fields: [proc.name]
`,
      ),
    );
    expect(rulesOf(text).definition.rules[0]?.exceptions.map(({ name, condition }) => [name, condition.text])).toEqual([
      [
        'known-writers',
        '(process.comm == "nginx" && resolved.contains("/etc/nginx")) ||\n(process.comm == "ap ache" && resolved.contains("/etc/apache"))',
      ],
      ['names', 'process.comm in ["a", "b"]'],
    ]);
  });

  it('tells what is wrong with an item, and goes on with the others', () => {
    const { rules, problems: told } = imported(`
- required_engine_version: 0.31.0
- nothing: 1
- just a text
- macro: a
  condition: b
- macro: b
  condition: a
- list: l
  items: [m]
- list: m
  items: [l]
- macro: gone
  append: true
  condition: or c
- rule: circle
  condition: evt.type=execve and a
- rule: lists
  condition: evt.type=execve and proc.name in (l)
- rule: no condition
- rule: error
  condition: evt.type=execve and (proc.name=sh
- rule: other source
  source: k8s_audit
  condition: ka.verb=get
- rule: good
  condition: evt.type=execve and proc.name=sh
- macro:
- rule: exceptions
  condition: evt.type=execve
  exceptions: 5
`);
    expect(told).toEqual([
      'rules.yaml:3: "nothing" is no rule, macro or list',
      'rules.yaml:4: is no rule, macro or list: it is to be a mapping',
      'rules.yaml:13: macro "gone" is changed, and no earlier item defines it',
      'rules.yaml:20: rule "no condition" has no condition',
      'rules.yaml:28: the item has no macro',
      'rules.yaml:29: exceptions is to be a list',
    ]);
    expect(rules.map(({ rule: name, problems: [first = ''] }) => `${name}: ${first.split('\n')[0]}`)).toEqual([
      'circle: rules.yaml:5: macro "a" names itself: a → b → a',
      'lists: list "l": contains itself: l → m → l',
      'error: rules.yaml:21: 1:34: ")" is expected here, but the condition ends',
      'other source: its events are of the source k8s_audit, not system calls',
      'good: ',
    ]);
  });

  it.each([
    ['a mapping', 'rules: []', 'rules.yaml:1: is no file of Falco rules, which is a list'],
    ['no YAML', '- rule: [', 'rules.yaml:1: is no YAML: '],
    ['nested without end', '['.repeat(200_000), 'rules.yaml:1: is no YAML: is nested in more than 200 levels'],
    ['too large', `# ${'x'.repeat(5 << 20)}`, 'bytes; at most 4194304 are read'],
  ])('that is %s is refused', (_, text, message) => {
    expect(() => imported(text)).toThrow(message);
  });

  it.each([
    ['WARNINGS', '"WARNINGS" is no priority of Falco; did you mean "warning"?: the severity is MEDIUM'],
    ["''", 'it has no priority: the severity is MEDIUM'],
  ])('with the priority %s tells that its severity is guessed', (priority, told) => {
    const result = imported(rule('evt.type=execve and proc.name=a').replace('WARNING', priority));
    expect(reportOf(result).split('\n')[0]).toBe(`guessed: A rule (rules.yaml:2): ${told}`);
    expect(result.text).toContain(told);
    expect(reportOf(imported(rule('evt.type=execve and proc.name=a')))).not.toContain('guessed');
  });

  it('with macros that name each other many times over is refused, not written out', () => {
    const macros = Array.from({ length: 40 }, (_, i) =>
      i ? `- macro: m${i}\n  condition: m${i - 1} or m${i - 1}\n` : '- macro: m0\n  condition: proc.name=a\n',
    );
    expect(problems('evt.type=execve and m39', macros.join(''))[0]).toContain('stands for more than 20000 comparisons');
  });

  it('may begin with a byte order mark', () => {
    const { rules, problems: wrong } = imported(`\ufeff${rule('evt.type=execve').trimStart()}`);
    expect([wrong, rules.map(({ problems: why }) => why)]).toEqual([[], [[]]]);
  });

  it('has the output as its message, with the fields that the events have', () => {
    const { text } = imported(
      rule('evt.type=connect and fd.sport=1').replace(
        'output: Something happened',
        'output: "Went out [x] (user=%user.name command=%proc.cmdline %container.id) | to=%fd.name tty=%proc.tty a[4]=%proc.aname[4]"',
      ),
    );
    expect(rulesOf(text).definition.rules[0]?.message).toBe(
      'Went out x ( [command={process.args}] {container.id}) | [to={remoteAddress@remotePort}]',
    );
  });
});
