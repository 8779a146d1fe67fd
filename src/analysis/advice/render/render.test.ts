import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import type { Observation } from '../../../event/advice.js';
import { emptyObservation } from '../observation.js';
import { recommend } from '../recommend.js';
import { renderAdvice } from './index.js';
import { rules as rulesYaml } from './rules.js';
import { eventWith } from '../../../../test/support/event.js';
import { engineOf, rulesOf } from '../../../../test/support/rules.js';

const exec = promisify(execFile);
const seen = { comms: ['we|b'], first: '2026-01-01T00:00:00Z', last: '2026-01-01T00:00:01Z', count: 2 };
const own = { ...seen, runtime: false };
const observation: Observation = {
  ...emptyObservation(),
  containers: [{ id: 'a'.repeat(64), name: "it's web", image: 'registry/web:1', started: null }],
  spans: [{ from: '2026-01-01T00:00:00Z', to: '2026-01-01T00:01:00Z' }],
  calls: [{ ...own, name: 'read', abi: 'X86_64', argument: null, errors: 0 }],
  capabilities: [{ ...own, capability: 'CAP_CHOWN', call: 'fchown', granted: true, level: 0 }],
  paths: [
    { ...own, path: '/tmp/a "b"{c}*', access: 'WRITE' },
    { ...own, path: '/var/lib/web/x', access: 'MAKE' },
    { ...own, path: '/usr/lib/libc.so.6', access: 'READ' },
  ],
  devices: [{ ...own, type: 'CHARACTER', major: 10, minor: 229, name: 'fuse', access: 'READ', denied: false }],
  ports: [{ ...seen, protocol: 'TCP', address: '0.0.0.0', port: 443 }],
  peers: [{ ...seen, address: '192.0.2.1', port: 5432 }],
  names: [{ ...seen, name: 'db.example', address: '192.0.2.1' }],
  programs: [{ ...own, path: '/usr/bin/web', comm: 'we|b' }],
  users: [{ ...seen, uid: 33, gid: 33 }],
  peaks: { memoryBytes: 50 << 20, pids: 3, cpus: 0.1 },
};
const advice = recommend(observation, { current: null, runtimeCalls: ['capset'], action: 'SCMP_ACT_ERRNO' });
const files = new Map(renderAdvice(advice).map(({ name, content }) => [name, content]));
const yamlOf = (name: string): unknown[] =>
  parseAllDocuments(files.get(name) ?? '').map((document) => {
    expect('errors' in document ? document.errors : []).toEqual([]);
    return document.toJS() as unknown;
  });

it('writes a line for a shell that has each right', async () => {
  const line = files.get('docker-run.txt') ?? '';
  // A shell takes it apart as it was put together.
  const { stdout } = await exec('sh', ['-c', `docker() { printf '%s\\n' "$@"; }\n${line}`]);
  expect(stdout.split('\n')).toEqual([
    'run',
    '--read-only',
    '--tmpfs',
    '/tmp:size=67108864',
    '--mount',
    'type=volume,source=it-s-web-69bd1b-1,target=/var/lib/web',
    '--device',
    '/dev/fuse:/dev/fuse:r',
    '--user',
    '33:33',
    '--cap-drop',
    'ALL',
    '--cap-add',
    'CHOWN',
    '--security-opt',
    'seccomp=seccomp.json',
    '--security-opt',
    'no-new-privileges',
    '--memory',
    String(80 << 20),
    '--pids-limit',
    '32',
    '--cpus',
    '0.25',
    'registry/web:1',
    '',
  ]);
});

it('writes an override of compose', () => {
  expect(yamlOf('compose.override.yaml')).toMatchObject([
    {
      services: {
        'it-s-web': {
          cap_drop: ['ALL'],
          cap_add: ['CHOWN'],
          read_only: true,
          tmpfs: ['/tmp:size=67108864'],
          volumes: [{ type: 'volume', source: 'it-s-web-69bd1b-1', target: '/var/lib/web' }],
        },
      },
      volumes: { 'it-s-web-69bd1b-1': {} },
    },
  ]);
});

it('writes a security context and a policy of Kubernetes', () => {
  expect(yamlOf('kubernetes.yaml')).toMatchObject([
    {
      spec: {
        template: {
          spec: {
            containers: [
              {
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ['ALL'], add: ['CHOWN'] },
                  runAsUser: 33,
                  runAsGroup: 33,
                },
              },
            ],
          },
        },
      },
    },
    {
      kind: 'NetworkPolicy',
      metadata: { annotations: { 'eunomia/peers': 'db.example:5432' } },
      spec: { ingress: [{ ports: [{ protocol: 'TCP', port: 443 }] }] },
    },
  ]);
});

it('writes a profile that the parser of AppArmor takes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-advice-'));
  try {
    const file = join(folder, 'profile');
    await writeFile(file, files.get('apparmor.profile') ?? '');
    await exec('apparmor_parser', ['--skip-kernel-load', '--skip-cache', file]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('writes a report in which no text of the container is Markdown', () => {
  expect(files.get('advice.md')).toContain('| read | was seen | RUN | /usr/bin/web |');
  expect(files.get('advice.md')).toContain("# Least privilege for it's web");
});

it('writes rules of which each name is known', () => {
  expect(yamlOf('rules.yaml')).toMatchObject([
    { lists: { it_s_web_69bd1b_capabilities: ['CAP_CHOWN'], it_s_web_69bd1b_ports: [443] }, rules: { length: 4 } },
  ]);
  rulesOf(files.get('rules.yaml') ?? '');
});

it('writes rules that can be loaded where there is no right, and for arguments of calls', () => {
  const call = { ...own, abi: 'X86_64', errors: 0 };
  const calls = [
    { ...call, name: 'syscall_999', argument: null },
    ...[2, 10].map((argument) => ({ ...call, name: 'socket', argument })),
    { ...call, name: 'ioctl', argument: 0x80045430 },
  ];
  const none = { capabilities: [], ports: [], programs: [] };
  const few = { ...observation, ...none, calls };
  const { rights } = recommend(few, { current: null, runtimeCalls: ['capset'], action: 'SCMP_ACT_ERRNO' });
  expect(rights).toMatchObject({ capabilities: [], ports: [] });
  const content = rulesYaml({ ...advice, observation: few, rights });
  const { alerts, engine } = engineOf(rulesOf(content));
  const made = (name: string, argument: number): void =>
    engine.evaluate(
      eventWith('syscount', { name, argument, process: { comm: 'web' }, container: { name: "it's web" } }),
    );
  for (const [name, argument] of [
    ['socket', 2],
    ['socket', 16],
    ['ioctl', 0x80045430],
    ['ioctl', 1],
  ] as const)
    made(name, argument);
  expect(alerts.map(({ message }) => message)).toEqual(['web called socket with 16', 'web called ioctl with 1']);
});

describe('rules for a container that does much', () => {
  const withPrograms = (count: number, ports = 0): string => {
    const programs = Array.from({ length: count }, (_, i) => ({ ...own, path: `/usr/bin/p${i}`, comm: `p${i}` }));
    const rights = {
      ...advice.rights,
      ports: Array.from({ length: ports }, (_, i) => ({ port: i + 1, protocol: 'TCP' as const })),
    };
    return rulesYaml({ ...advice, rights, observation: { ...observation, programs } });
  };
  const executes = (content: string, executable: string): readonly string[] => {
    const { engine, names } = engineOf(rulesOf(content));
    engine.evaluate(
      eventWith('exec', { executable, errno: null, process: { comm: 'p' }, container: { name: "it's web" } }),
    );
    return names();
  };

  it('name all of its programs and ports, in lists that can be loaded', () => {
    const content = withPrograms(2500, 1001);
    const { lists } = parse(content) as { lists: Record<string, readonly unknown[]> };
    const lengths = Object.entries(lists).flatMap(([name, values]) =>
      /_(programs|ports)(_\d)?$/.test(name) ? [values.length] : [],
    );
    expect(lengths).toEqual([1000, 1000, 500, 1000, 1]);
    expect(executes(content, '/usr/bin/p0')).toEqual([]);
    expect(executes(content, '/usr/bin/p2499')).toEqual([]);
    expect(executes(content, '/usr/bin/other')).toEqual([expect.stringMatching(/-other-program$/)]);
  });

  it('leave out the one on programs where a condition cannot name them all, and say so', () => {
    expect(executes(withPrograms(9000), '/usr/bin/other')).toHaveLength(1);
    const content = withPrograms(9001);
    expect(content.split('\n')[0]).toBe(
      '# There are 9001 programs, more than a condition may name: no rule watches for others.',
    );
    expect(executes(content, '/usr/bin/other')).toEqual([]);
  });
});

it('writes rules of containers whose names are alike that can be loaded together', () => {
  const names = ['web-1', 'web.1', 'web_1', 'WEB-1', 'web', '1web', `${'w'.repeat(60)}a`, `${'w'.repeat(60)}b`];
  const files = names.map((name) =>
    rulesYaml({ ...advice, subject: { ...advice.subject, container: { id: 'a'.repeat(64), name } } }),
  );
  const images = ['nginx:1', 'nginx:2', 'example.org/nginx'].map((image) =>
    rulesYaml({ ...advice, subject: { ...advice.subject, container: null, image } }),
  );
  const [first = '', ...others] = [...files, ...images];
  const { rules } = rulesOf(first, ...others);
  expect(rules.filter(({ definition: { name } }) => name.endsWith('-other-call'))).toHaveLength(names.length + 3);
  expect(rules.map(({ definition: { name } }) => name)).toContain('web-1-other-call');
});
