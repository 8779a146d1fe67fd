import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { root } from '../base/paths.js';
import { plainOutput } from './output.js';
import { runProgram } from './program.js';
import type { World } from './world.js';
import type { TraceEvent } from '../event/event.js';
import { createEncoder, eventSheet, RECORDING } from '../formats/index.js';
import { createContainer } from '../inventory/container.js';
import { compileRules } from '../rules/compile.js';
import { RuleEngine } from '../rules/engine.js';
import { readTests, runTest } from '../rules/trial/index.js';
import { checkRules, createRuleContext, explainRulesAt, testRules } from '../server/rule-test.js';
import { blocksIn, blocksRunBy } from '../../test/support/page.js';
import { nobody } from '../../test/support/program.js';
import { at } from '../../test/support/rules.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-rules-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);

/** What the command prints; the folder as "DIR". */
async function eunomia(...argv: readonly string[]): Promise<{ code: number; out: string; told: string }> {
  let [out, told] = ['', ''];
  const world: World = {
    ...nobody,
    rules: { check: checkRules, test: testRules, explain: explainRulesAt },
    output: plainOutput(async (text) => {
      out += String(text);
      return true;
    }),
    tell: (line) => (told += `${line}\n`),
  };
  const code = await runProgram(
    argv.map((word) => word.replace('DIR', folder)),
    '1.2.3',
    world,
  );
  return { code, out: out.replaceAll(folder, 'DIR'), told: told.replaceAll(folder, 'DIR') };
}

const shells = `
lists:
  shells: [sh, bash]
macros:
  in_container: container != null
rules:
  - name: shell-in-container
    description: A shell was started in a container.
    severity: MEDIUM
    trackers: exec
    condition: in_container && process.comm in shells && args != null
    exceptions:
      - { name: health-checks, condition: process.parent.comm == "runc" }
    message: '{process.comm} in {container.name}'
`;
const others = `
rules:
  - name: port-scan
    description: One process connects to many ports.
    severity: LOW
    trackers: tcp
    condition: tcpOperation == "CONNECT" || in_container
    message: '{process.comm}'
    rate: { count: 3, within: 10s, by: [process.pid], distinct: remotePort }
`;
const tests = `
tests:
  - name: a shell in a container
    events:
      - { tracker: exec, process: { comm: sh }, container: { name: web }, args: [sh] }
    alerts:
      - { rule: shell-in-container, message: sh in web }
  - name: a health check
    events:
      - { tracker: exec, process: { comm: sh, ancestors: [{ comm: runc }] }, container: { name: web }, args: [sh] }
    alerts: []
`;

describe('eunomia rules check', () => {
  it('counts what a directory has, which is one set', async () => {
    put('a.yaml', shells);
    put('b.yml', others);
    put('a.test.yaml', 'no tests: [');
    put('.hidden.yaml', 'rules: [');
    put('README.md', '');
    expect(await eunomia('rules', 'check', 'DIR')).toEqual({
      code: 0,
      out: '2 rules, 1 list, 1 macro in 2 files: ok\n',
      told: '',
    });
    expect(await eunomia('rules', 'check', 'DIR/a.yaml', 'DIR', 'DIR/b.yml')).toMatchObject({ code: 0 });
    // Its macro is in the other file.
    expect((await eunomia('rules', 'check', 'DIR/b.yml')).told).toContain('DIR/b.yml:7:16: rules[0].condition: 1:30: ');
  });

  it('checks files beside the rules that come with the package', async () => {
    put('a.yaml', 'overrides: { rules: { no-such-rule: { enabled: false } } }');
    expect((await eunomia('rules', 'check', 'builtin', 'DIR')).told).toContain('there is no rule "no-such-rule"');
    expect((await eunomia('rules', 'check', 'builtin')).out).toMatch(/^\d+ rules, .* files: ok\n$/);
  });

  it('prints all errors, each with its place at the beginning of the line', async () => {
    put('a.yaml', shells.replace('MEDIUM', 'BAD'));
    put('b.yaml', others.replace('CONNECT"', 'CONNECT').replace('LOW', 'BAD'));
    const { code, out, told } = await eunomia('rules', 'check', 'DIR');
    expect([code, out]).toEqual([1, '']);
    expect(told.split('\n').map((line) => line.split(': ')[0])).toEqual([
      'DIR/a.yaml:9:15',
      'DIR/b.yaml:5:15',
      'eunomia',
      '',
    ]);
  });

  it('says what it cannot read, and does not wait for it', async () => {
    put('a.yaml', shells);
    symlinkSync('a.yaml', join(folder, 'link.yaml'));
    execFileSync('mkfifo', [join(folder, 'pipe.yaml')]);
    put('large.yaml', '');
    truncateSync(join(folder, 'large.yaml'), (4 << 20) + 1);
    mkdirSync(join(folder, 'directory.yaml'));
    const { code, told } = await eunomia('rules', 'check', 'DIR');
    expect(code).toBe(1);
    for (const line of [
      'DIR/directory.yaml: is no regular file',
      'DIR/large.yaml: has more than 4 MiB, which is the most',
      'DIR/link.yaml: is a symbolic link; give the file itself',
      'DIR/pipe.yaml: is no regular file',
    ])
      expect(told.split('\n')).toContain(line);
    expect((await eunomia('rules', 'check', 'DIR/none')).told).toContain('DIR/none: cannot be read: ENOENT');
    expect((await eunomia('rules', 'check', 'DIR/directory.yaml')).told).toContain(
      'DIR/directory.yaml: the directory has no rule file: *.yaml or *.yml',
    );
    expect(await eunomia('rules', 'check')).toMatchObject({ code: 2 });
  });
});

describe('eunomia rules test', () => {
  it('prints a line for each test, and fails when one of them does', async () => {
    put('a.yaml', shells);
    put('b.yaml', others);
    put('a.test.yaml', tests);
    const passed = '  DIR/a.test.yaml:3  a shell in a container';
    const second = 'passed  DIR/a.test.yaml:8  a health check';
    expect(await eunomia('rules', 'test', 'DIR')).toEqual({
      code: 0,
      out: `passed${passed}\n${second}\nwithout a test: port-scan\n2 passed, 0 failed\n`,
      told: '',
    });
    put('a.test.yaml', tests.replace('sh in web', 'sh in db'));
    expect(await eunomia('rules', 'test', 'DIR/a.yaml')).toEqual({
      code: 1,
      out:
        `failed${passed}\n` +
        '        DIR/a.test.yaml:7:9: tests[0].alerts[0]: the alert of shell-in-container for events[0] has ' +
        'message "sh in web", not "sh in db"\n' +
        `${second}\n1 passed, 1 failed\n`,
      told: 'eunomia: 1 test failed\n',
    });
    // A file of tests is run on the rules of its directory.
    expect(await eunomia('rules', 'test', 'DIR/a.test.yaml')).toMatchObject({ code: 1 });
    const one = await eunomia('rules', 'test', 'DIR', '--rule', 'shell-in-container', '-o', 'json');
    expect(JSON.parse(one.out)).toMatchObject({
      passed: 0,
      failed: 1,
      untested: [],
      tests: [{ name: 'a shell in a container', line: 3, passed: false, events: 1, alerts: [{ times: 1, event: 0 }] }],
    });
    expect(await eunomia('rules', 'test', 'DIR', '--rule', 'shel-in-container')).toMatchObject({
      code: 2,
      told: 'eunomia: --rule: there is no rule "shel-in-container"; did you mean "shell-in-container"?\n',
    });
    expect(await eunomia('rules', 'test', 'DIR/b.yaml', 'DIR/a.yaml', '--rule', 'port-scan')).toMatchObject({
      code: 1,
      told: 'eunomia: there are no tests: write them into NAME.test.yaml beside NAME.yaml\n',
    });
  });

  it('does not run tests with errors', async () => {
    put('a.yaml', shells);
    put('a.test.yaml', tests.replace('comm: sh', 'com: sh'));
    const { code, out, told } = await eunomia('rules', 'test', 'DIR');
    expect([code, out]).toEqual([1, '']);
    expect(told).toMatch(/^DIR\/a\.test\.yaml:5:37: tests\[0\]\.events\[0\]\.process\.com: there is no such setting/);
  });
});

describe('eunomia rules explain', () => {
  it('tells what a rule costs, and when it raises an alert', async () => {
    put('a.yaml', shells);
    put('b.yaml', others);
    const { code, out } = await eunomia('rules', 'explain', 'DIR', '--rule', 'shell-in-container');
    expect([code, out.split('\n')]).toEqual([
      0,
      [
        'shell-in-container (MEDIUM): A shell was started in a container.',
        '  condition: process.comm in ["bash", "sh"] && container != null && ' +
          '!(process.parent.comm == "runc") && args != null',
        '    reads the table of processes',
        '    exec',
        '      in the kernel: process.comm in ["bash", "sh"]',
        '      in the server: container != null && !(process.parent.comm == "runc") && args != null',
        '      compared with: events whose process.comm is one of 2 values',
        '      captured on demand: filename, args',
        '  alerts:',
        '    those with equal container.id and process.pid are combined with the first one for 5m',
        '    at most 60 are new within 1m; more are counted as suppressed',
        '',
      ],
    ]);
    const json = await eunomia('rules', 'explain', 'DIR', '-o', 'json');
    expect(JSON.parse(json.out)).toMatchObject([
      { name: 'shell-in-container', conditions: [{ role: 'condition', readsProcesses: true }] },
      {
        name: 'port-scan',
        conditions: [{ trackers: [{ tracker: 'tcp', inKernel: null, lookup: null, captured: [] }] }],
        alerts: [
          '3 different values of remotePort with equal process.pid come within 10s',
          'those with equal container.id and process.pid are combined with the first one for 5m',
          'at most 60 are new within 1m; more are counted as suppressed',
        ],
      },
    ]);
  });
});

describe('the documentation', () => {
  it('has rules that compile, and tests that pass', async () => {
    const page = readFileSync(join(root, 'docs/rules.md'), 'utf8');
    const blocks = [...page.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, block = '']) => block);
    blocks.forEach((block, i) => put(block.startsWith('tests:') ? `${i}.test.yaml` : `${i}.yaml`, block));
    const { out } = await eunomia('rules', 'test', 'DIR');
    expect(out).toContain('passed, 0 failed\n');
    expect(out).not.toContain('0 passed');
  });

  it('shows what the commands print', async () => {
    const rules = blocksIn('yaml').filter(({ page, text }) => page === 'docs/rules.md' && /^(rules|lists):/.test(text));
    const one = rules.map(({ text }, i) => (i === 0 ? text : text.replace('rules:\n', ''))).join('');
    const [trials] = blocksIn('yaml').filter(({ text }) => text.startsWith('tests:'));
    const [check, checked, wrong, test, tested, explain, explained] = blocksRunBy('src/cli/rules.test.ts', 7).map(
      ({ text }) => text,
    );
    mkdirSync(join(folder, 'rules'));
    const shown = async (command = '') => {
      const [program, ...argv] = command.trim().split(' ');
      expect(program).toBe('eunomia');
      const { out, told } = await eunomia(...argv.map((word, i) => (i > 1 && word === 'rules' ? 'DIR/rules' : word)));
      return `${out}${told}`.replaceAll('DIR/', '');
    };
    put('rules/containers.yaml', one);
    expect(await shown(check)).toBe(checked);
    expect(await shown(explain)).toBe(explained);
    put('rules/containers.test.yaml', trials?.text.replace('times: 2', 'times: 1') ?? '');
    expect(await shown(test)).toBe(tested);
    let severities = 0;
    put(
      'rules/containers.yaml',
      one.replace(/severity: HIGH/g, (found) => (severities++ === 0 ? 'severity: BAD' : found)),
    );
    expect(await shown(check)).toBe(wrong);
  });
});

describe('a recording', () => {
  const rule = (name: string, more: string): string => `
  - name: ${name}
    description: d
    severity: LOW
    message: '{tracker} {process.comm} {process.pid} {container.name}'
    interval: 0s
    throttle: { alerts: 10000, within: 1s }
    ${more.split('\n').join('\n    ')}`;
  const exec = `{ trackers: exec, condition: 'process.comm == "sh"' }`;
  const exit = `{ trackers: [exit, open], condition: 'errno == null' }`;
  const rules = [
    rule('plain', `trackers: [exec, open]\ncondition: 'process.uid == 0 || path.startsWith("/etc/")'`),
    rule('contained', `trackers: open\ncondition: 'container.name == "web" && errno != null'`),
    rule('often', `trackers: exec\ncondition: 'true'\nrate: { count: 2, within: 2s, by: [process.pid] }`),
    rule('steps', `sequence: { within: 2s, by: process, steps: [${exec}, ${exit}] }`),
    rule('together', `sequence: { within: 2s, by: container, steps: [${exec}, ${exit}] }`),
    rule(
      'alone',
      `trackers: exec\ncondition: 'true'\nabsence: { trackers: exit, condition: 'true', within: 1s, by: process }`,
    ),
    rule(
      'new',
      `trackers: exec\ncondition: 'true'\nfirstSeen: { values: [process.comm], for: [container.id], learn: 2s }`,
    ),
  ];
  const containers = [null, 'web', 'db'].map((name) => name && { ...createContainer(name, 'docker'), name });
  const written = fc.record({
    after: fc.constantFrom(0, 1, 400, 999, 1000, 2000),
    tracker: fc.constantFrom('exec', 'open', 'exit'),
    pid: fc.integer({ min: 1, max: 3 }),
    uid: fc.constantFrom(0, 7),
    comm: fc.constantFrom('sh', 'ls', 'nc'),
    container: fc.constantFrom(...containers),
    path: fc.constantFrom('/etc/passwd', '/tmp/x'),
    errno: fc.constantFrom(null, 'ENOENT'),
  });

  it('raises the alerts that its events do', async () => {
    const context = await createRuleContext();
    const schema = contractSchema();
    const trackers = ['exec', 'open', 'exit'];
    const sheet = eventSheet(schema, trackers, null);
    const facts = {
      recording: RECORDING,
      version: '1',
      fields: null,
      session: { id: 's', name: null, labels: [], trackers, startedAt: null },
    };
    let raisedInAll = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.subarray(rules, { minLength: 1 }),
        fc.array(written, { maxLength: 12 }),
        async (some, plan) => {
          const set = compileRules([{ name: 'r.yaml', text: `rules:${some.join('')}` }], context);
          let ms = 0;
          const events = plan.map(({ after, tracker, pid, uid, comm, container, path, errno }): TraceEvent => {
            ms += after;
            const own = { exec: { errno }, open: { path, errno }, exit: { coreDumped: false, lifetimeNs: '1' } }[
              tracker
            ];
            const event = at(ms, tracker, { container, process: { pid, tid: pid, uid, comm }, ...own });
            return Object.assign(event, { time: event.time.replace('Z', '000000Z') });
          });
          const encoder = createEncoder('ndjson', sheet, facts);
          const ending = { items: events.length, lost: 0, dropped: 0, complete: true, state: 'STOPPED' };
          const parts = [encoder.head(), encoder.items(events, null), encoder.end(ending)];
          put('r.ndjson', parts.map(String).join(''));

          const raised: { rule: string; message: string }[] = [];
          const engine = new RuleEngine(set.rules, context, {
            raise: ({ rule: name, message }) => raised.push({ rule: name, message }),
            repeat: () => expect.unreachable(),
            failed: () => expect.unreachable(),
          });
          const start = 30_000;
          let now = start;
          for (const event of events) {
            // Each millisecond, as a clock would.
            for (; now <= Number(event.bootNs) / 1e6; now++) engine.advance(now);
            engine.evaluate(event);
          }
          for (const end = start + ms + 5000; now <= end; now++) engine.advance(now);
          raisedInAll += raised.length;

          const test = { name: 't', recording: 'r.ndjson', for: '5s', alerts: raised };
          const source = { name: join(folder, 'r.test.yaml'), text: JSON.stringify({ tests: [test] }) };
          const [read] = readTests(source, set, context);
          const outcome = read && (await runTest(read, set, context));
          expect(outcome).toMatchObject({ problems: [], events: events.length });
        },
      ),
      { numRuns: 60 },
    );
    expect(raisedInAll).toBeGreaterThan(0);
  });

  it('that is cut, or none, is an error', async () => {
    put('a.yaml', shells);
    put('r.ndjson', '{}\n');
    put('a.test.yaml', 'tests: [{ name: t, recording: r.ndjson, alerts: [] }]');
    expect(await eunomia('rules', 'test', 'DIR')).toMatchObject({
      code: 1,
      told: expect.stringContaining('DIR/r.ndjson, line 1: this is no recording') as string,
    });
  });
});
