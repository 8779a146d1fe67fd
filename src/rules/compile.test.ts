import { describe, expect, it } from 'vitest';
import { noLineage } from '../event/lineage.js';
import { ruleContext, rulesOf } from '../../test/support/rules.js';
import { compileRules } from './compile.js';
import { readingRules } from './format.js';

const rule = (fields: string): string => `rules:
  - name: a-rule
    description: d
    severity: LOW
    message: '{process.comm}'
    ${fields.split('\n').join('\n    ')}`;
const exec = (condition: string, more = ''): string => rule(`trackers: exec\ncondition: '${condition}'\n${more}`);

const twoSteps = "[{ trackers: exec, condition: 'true' }, { trackers: exec, condition: 'true' }]";

const problemsOf = (...texts: readonly string[]): string => {
  try {
    const [first = '', ...more] = texts;
    rulesOf(first, ...more);
    return '';
  } catch (error) {
    expect(error).toMatchObject({ code: 'BAD_RULES' });
    return (error as Error).message;
  }
};

/** So many things of a name with a number. */
const named = (count: number, name: string, made: (i: number) => string, first: string): string =>
  Array.from({ length: count }, (_, i) => `${name}${i}: ${i === 0 ? first : made(i)}`).join(', ');
/** Macros each of which names the one before ten times. */
const tenfold = (count: number): string =>
  named(count + 1, 'm', (i) => Array.from({ length: 10 }, () => `m${i - 1}`).join(' && '), "'true'");

describe('a rule file that is wrong', () => {
  it.each<[string, string, string]>([
    ['no YAML', 'rules: [', 'rules.yaml:1:9: Flow sequence in block collection'],
    ['an unknown part', 'rule: []', 'rules.yaml:1:1: rule: there is no such setting; did you mean "rules"'],
    [
      'an unknown setting',
      exec('true', 'severty: LOW'),
      'rules[0].severty: there is no such setting; did you mean "severity"',
    ],
    ['no name', 'rules: [{}]', 'rules[0].name: is missing, for example "shell-in-container"'],
    [
      'a bad name',
      exec('true').replace('a-rule', 'A rule'),
      '"A rule" is no name of a rule; give lower-case letters, digits and "-"',
    ],
    [
      'an unknown severity',
      exec('true').replace('LOW', 'WARN'),
      'rules[0].severity: is to be INFO, LOW, MEDIUM, HIGH, CRITICAL',
    ],
    ['no tracker', rule("condition: 'true'"), 'rules[0].trackers: is missing; name one tracker'],
    [
      'an unknown tracker',
      rule("trackers: exex\ncondition: 'true'"),
      'there is no tracker "exex"; did you mean "exec"',
    ],
    ['no condition', rule('trackers: exec'), 'rules[0].condition: is missing, for example'],
    [
      'a condition that is no CEL',
      exec('process.comm = "sh"'),
      'rules.yaml:7:16: rules[0].condition: 1:14: "=" is not expected here; "==" compares',
    ],
    [
      'a field that no tracker of it has',
      exec('path == "/x"'),
      'rules[0].condition: 1:1: no event of exec has the field "path"; ',
    ],
    [
      'an unknown list',
      exec('process.comm in shels').replace('rules:', 'lists: { shells: [sh] }\nrules:'),
      'did you mean "shells"',
    ],
    [
      'a list as a condition',
      exec('shells').replace('rules:', 'lists: { shells: [sh] }\nrules:'),
      '"shells" is a list; write FIELD in shells',
    ],
    [
      'a macro as a value',
      exec('process.comm == m').replace('rules:', "macros: { m: 'true' }\nrules:"),
      '"m" is a macro: a condition by itself',
    ],
    [
      'an error in a macro',
      exec('m').replace('rules:', "macros: { m: 'pat == 1' }\nrules:"),
      'rules[0].condition: macro m (rules.yaml): 1:1: no event of exec has the field "pat"',
    ],
    [
      'a macro of no use that is no CEL',
      "macros: { m: '(' }",
      'rules.yaml:1:14: macros.m: macro m (rules.yaml): 1:2: a field or a value is expected here',
    ],
    [
      'macros in a circle',
      "macros: { a: 'b', b: '!c', c: 'a && true' }",
      'macros.a: macros name each other: a → b → c → a',
    ],
    ['a macro of itself', "macros: { a: 'a' }", 'macros name each other: a → a'],
    ['lists in a circle', 'lists: { a: [{ list: b }], b: [{ list: a }] }', 'lists include each other: a → b → a'],
    [
      'lists that write others out again and again',
      `lists: { ${named(999, 'l', (i) => `[v${i}, { list: l${i - 1} }]`, '[]')} }`,
      'lists take more than 100000 values from each other',
    ],
    [
      'a list of more values than 1000',
      `lists: { a: [{ list: b }, x], b: [${Array.from({ length: 1000 }, (_, i) => i).join(', ')}] }`,
      'rules.yaml:1:13: lists.a: has more than 1000 values, with those of the lists that it includes',
    ],
    [
      'more lists than 1000',
      `lists: { ${Array.from({ length: 1001 }, (_, i) => `l${i}: []`).join(', ')} }`,
      'lists: has 1001 names; at most 1000 are allowed',
    ],
    [
      'macros that write others out again and again',
      `macros: { ${tenfold(12)} }\n${exec('m12')}`,
      'is condition 20001 of the filter, with what its macros and lists are expanded to; at most 20000 are allowed',
    ],
    [
      'exists over lists within each other',
      `lists: { l: [${Array.from({ length: 1000 }, (_, i) => i).join(', ')}] }\n${exec('l.exists(a, l.exists(b, l.exists(c, true)))')}`,
      'is condition 20001 of the filter',
    ],
    [
      'exceptions that are too much together',
      `macros: { ${tenfold(4)} }\n${exec('true', 'exceptions: [{ name: a, condition: m4 }, { name: b, condition: m4 }]')}`,
      'is condition 20001 of the filter',
    ],
    ["a list named as an object's prototype", 'lists: { __proto__: [a] }', '"__proto__" is no name'],
    ["a macro named as an object's prototype", "macros: { __proto__: 'true' }", '"__proto__" is no name'],
    ['a list that is not there', 'lists: { a: [{ list: b }] }', 'rules.yaml:1:14: lists.a[0]: there is no list "b"'],
    [
      'a list of something else',
      'lists: { a: [true] }',
      'lists.a[0]: is to be a text, a whole number, or another list',
    ],
    [
      'a macro with the name of a field',
      "macros: { process: 'true' }",
      '"process" is the name of a field of events; give another one',
    ],
    [
      'a macro with the name of a tracker',
      "macros: { open: 'true' }",
      '"open" is the name of a tracker; give another one',
    ],
    [
      'a message that is no template',
      exec('true').replace("'{process.comm}'", "'{process.comm'"),
      'is no template from character 1 on; write a field in braces',
    ],
    [
      'a message with an unknown field',
      exec('true').replace('{process.comm}', '{process.com}'),
      'rules[0].message: message: no event of exec has the field "process.com"; did you mean "process.comm"',
    ],
    [
      'a key of no value',
      exec('true', 'key: [process]'),
      'rules[0].key[0]: field: "process" is not a single value; name one inside it',
    ],
    [
      'a window of a year',
      exec('true', 'rate: { count: 5, within: 8760h, by: [] }'),
      'rules[0].rate.within: is to be a duration from "1ms" to "1h"',
    ],
    [
      'a rate of one',
      exec('true', 'rate: { count: 1, within: 1s, by: [] }'),
      'rules[0].rate.count: is to be a whole number from 2 to 100000',
    ],
    [
      'two kinds',
      exec('true', 'rate: { count: 5, within: 1s, by: [] }\nfirstSeen: { values: [process.comm], learn: 1s }'),
      'does not go together with `rate`',
    ],
    [
      'a sequence with a condition',
      rule(`condition: 'true'\nsequence: { within: 1s, by: process, steps: ${twoSteps} }`),
      'does not go together with `sequence`',
    ],
    [
      'a sequence of one',
      rule("sequence: { within: 1s, by: process, steps: [{ trackers: exec, condition: 'true' }] }"),
      'is to have 2 to 8 steps',
    ],
    [
      'an unknown bond',
      rule(`sequence: { within: 1s, by: user, steps: ${twoSteps} }`),
      'rules[0].sequence.by: is to be process, tree, container',
    ],
    [
      'a technique that is none',
      exec('true', 'attack: [shell]'),
      '"shell" is no id of ATT&CK; give a technique as T1059.004',
    ],
    [
      'the same name twice',
      `${exec('true')}\n${exec('true').slice(7)}`,
      '"a-rule" is there already; to change it without editing it, write `overrides`',
    ],
    [
      'an override of nothing',
      'overrides: { rules: { nothing: { enabled: false } } }',
      'overrides.rules.nothing: there is no rule "nothing"',
    ],
    [
      'an override of a list of nothing',
      'overrides: { lists: { nothing: { append: [x] } } }',
      'there is no list "nothing"',
    ],
  ])('is refused for %s, with its place', (_what, text, problem) => {
    expect(problemsOf(text)).toContain(problem);
  });

  it('tells all errors of all files at once, in the order of their places', () => {
    const problems = problemsOf(exec('pat == 1').replace('LOW', 'WARN'), exec('x').replace('a-rule', 'b'), 'rules: 7');
    expect(problems.split('\n').filter((line) => line.startsWith('rules'))).toEqual([
      expect.stringContaining('rules.yaml:4:15: rules[0].severity'),
      expect.stringContaining('rules2.yaml:1:8: rules: is to be a list'),
    ]);
  });

  it('refuses a file of more than 4 MiB', () => {
    expect(problemsOf(`# ${'x'.repeat(5 << 20)}`)).toContain('rules.yaml: has more than 4 MiB');
  });
});

describe('a set of rules', () => {
  it('is empty of empty files', () => {
    expect(
      compileRules(
        [
          { name: 'a', text: '' },
          { name: 'b', text: '# nothing' },
        ],
        ruleContext,
      ).rules,
    ).toEqual([]);
  });

  it('reads lists, and macros by name, in all files, whichever comes first', () => {
    const set = rulesOf(
      exec('in_container && dirs.exists(d, process.cwd.startsWith(d))'),
      "macros: { in_container: 'container != null && !trusted', trusted: 'container.name in names' }\n" +
        'lists: { dirs: [/tmp, /dev/shm], names: [a, { list: more }], more: [b] }',
    );
    expect(set.rules[0]?.steps[0]?.filter.text).toBe(
      '!(container.name in ["a", "b"]) && container != null && (process.cwd.startsWith("/dev/shm") || process.cwd.startsWith("/tmp"))',
    );
  });

  it('demands what its rules read of events, and what one line tells of them', () => {
    const [compiled] = rulesOf(
      rule('trackers: [open, exec]\ncondition: \'resolved == "/etc/shadow"\'\nkey: [container.id]'),
    ).rules;
    expect([...(compiled?.demand ?? [])].map(([tracker, fields]) => [tracker, fields.has('resolved')])).toEqual([
      ['open', true],
    ]);
  });
});

describe('a long rule file', () => {
  it('is read in pieces', () => {
    const rules = Array.from(
      { length: 500 },
      (_, i) => `\n  - { name: r${i}, description: d, severity: LOW, trackers: exec, condition: 'true', message: m }`,
    );
    let pieces = 0;
    for (const work = readingRules([{ name: 'a.yaml', text: `rules:${rules.join('')}` }]); !work.next().done;) pieces++;
    expect(pieces).toBeGreaterThan(500);
  });
});

describe('macros in a long chain', () => {
  const chain = (last: string): string =>
    `macros: { m0: '${last}', ${Array.from({ length: 999 }, (_, i) => `m${i + 1}: m${i}`).join(', ')} }`;

  it('are followed once each, whatever names them', () => {
    expect(rulesOf(chain('true')).definition.macros.size).toBe(1000);
    expect(problemsOf(chain('m999'))).toMatch(/macros.m0: macros name each other: m0 → m999 → m998 → .* → m1 → m0$/);
  });
});

describe('where there is no table of processes', () => {
  it('a rule that reads it has a problem, and the others have none', () => {
    const { lineage } = ruleContext.catalog;
    ruleContext.catalog.lineage = noLineage('it is off');
    try {
      const { rules } = rulesOf(
        exec('process.parent.comm == "sh"'),
        exec('true', 'rate: { count: 5, within: 1s, by: [process.parent.comm] }').replace('a-rule', 'b-rule'),
        exec('true').replace('a-rule', 'c-rule').replace('process.comm', 'process.parent.comm'),
      );
      const problem = 'it reads the table of processes, and there is none: it is off';
      expect(rules.map((one) => one.problem)).toEqual([problem, problem, null]);
    } finally {
      ruleContext.catalog.lineage = lineage;
    }
  });
});
