import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hosts, users } from '../../../test/support/falco.js';
import { ruleContext, rulesOf } from '../../../test/support/rules.js';
import { root } from '../../base/paths.js';
import { importFalco, reportOf } from './import.js';

/** Files as teams have them: test/fixtures/falco says what each is in the style of. */
function importedFrom(name: string) {
  const text = readFileSync(join(root, 'test/fixtures/falco', `${name}.yaml`), 'utf8');
  const result = importFalco([{ name: `${name}.yaml`, text }], { approximate: false, users, hosts }, ruleContext);
  const rules = new Map(rulesOf(result.text).definition.rules.map((rule) => [rule.name, rule]));
  return { report: reportOf(result).split('\n'), rules };
}

const conditionOf = (rules: ReturnType<typeof importedFrom>['rules'], name: string): string =>
  rules.get(name)?.steps[0]?.condition.first.text.replace(/\s+/g, ' ') ?? 'none';

it('rules with lists in lists, exceptions of all forms, and what later items change', () => {
  const { report, rules } = importedFrom('operations');
  expect(report).toEqual(['4 of 4 rules translated']);
  const writer = rules.get('falco-configuration-written-by-a-stranger');
  expect(writer?.exceptions.map(({ name, condition }) => [name, condition.text.replace(/\s+/g, ' ')])).toEqual([
    [
      'writers',
      '(process.comm == "consul-template" && resolved.startsWith("/etc/ops/consul")) || ' +
        '(process.comm == "conf d" && resolved.startsWith("/etc/ops/conf d")) || ' +
        '(process.comm == "etcd" && resolved.startsWith("/etc/ops/etcd"))',
    ],
    ['editors', 'process.comm in ["vim", "nano", "ed"]'],
    ['by-container', expect.stringContaining('process.comm in ["cp", "mv"]') as string],
    ['to-be-filled', 'process.parent.comm == "cron" && resolved.matches("^/etc/ops/cron/[^/]+$")'],
  ]);
  expect(rules.get('falco-bastion-contacted')).toMatchObject({ severity: 'CRITICAL', attack: ['T1021.004'] });
  expect(conditionOf(rules, 'falco-bastion-contacted')).toContain(
    'remoteAddress in ["10.1.2.3","10.1.2.4"] && remotePort in [22, 2222]',
  );
  expect(rules.get('falco-connection-out-of-the-networks')?.enabled).toBe(true);
});

it('rules of an audit log beside those of system calls, in several documents', () => {
  const { report, rules } = importedFrom('audit');
  expect(report).toEqual([
    'not translated: Secret read by a person (audit.yaml:16)',
    '    its events are of the source k8s_audit, not system calls',
    'not translated: Privileged pod (audit.yaml:24)',
    '    its events are of the source k8s_audit, not system calls',
    'not translated: Pod by its label (audit.yaml:52)',
    '    k8s.pod.label[app] = payments: of pods the name, the namespace and the uid are known',
    'not translated: Cloud trail (audit.yaml:58)',
    '    its events are of the source aws_cloudtrail, not system calls',
    '2 of 6 rules translated',
  ]);
  // /var/run is a link to /run: the kernel has the latter.
  expect(conditionOf(rules, 'falco-token-read-in-a-pod')).toContain(
    'resolved.glob("/run/secrets/kubernetes.io/serviceaccount/*token*")',
  );
});

it('rules of hunters, with operators and fields of all kinds', () => {
  const { report, rules } = importedFrom('hunting');
  expect(report.filter((line) => line.startsWith('    '))).toEqual([
    '    evt.arg.mode contains "S_IXUSR": the value is no whole number',
    '    its condition is never true',
    '    evt.args contains "SIGKILL": it is not in the events',
    '    proc.env icontains LD_PRELOAD: environments are not captured',
    '    proc.env[HTTP_PROXY] exists: environments are not captured',
    '    proc.is_exe_upper_layer = true: the layer of an executable in its image is not known',
    '    len(proc.cmdline) > 1000: there is no counterpart of len()',
    '    does not say which event types it is about (evt.type), so that it concerns every system call',
    expect.stringMatching(/^ {4}proc.nmae = evil: no field of ours has it; did you mean "proc.name"/) as string,
    '    hunting.yaml:96: there is no macro "spawned_process"',
  ]);
  expect(report.at(-1)).toBe('9 of 18 rules translated, as 10 rules');
  expect(conditionOf(rules, 'falco-hunt-other-user')).toContain('"uid=0" in arguments && !(process.uid == 0)');
});
