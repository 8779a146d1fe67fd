import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Advice, Observation } from '../../../event/advice.js';
import { emptyObservation } from '../observation.js';
import { recommend } from '../recommend.js';
import { renderAdvice } from './index.js';

const exec = promisify(execFile);
const seen = { comms: ['x'], first: '2026-01-01T00:00:00Z', last: '2026-01-01T00:00:01Z', count: 2 };
const own = { ...seen, runtime: false };

/** Names that a program of a container can give to files, and to itself. */
const names = [
  'type=bind,source=/etc',
  'x:exec,size=9',
  '"a',
  "it's",
  '$(reboot)`reboot`${HOME}',
  'a\nb',
  'a\\',
  '|[x](y) <b>',
  '{a,b}*?[c]@{d}#^',
  '\u001b[31m',
  'é'.repeat(127),
];

function madeFrom(more: Partial<Observation>): Advice {
  const observation: Observation = {
    ...emptyObservation(),
    containers: [{ id: 'a'.repeat(64), name: 'web', image: 'web:1', started: null }],
    calls: [{ ...own, name: 'read', abi: 'X86_64', argument: null, errors: 0 }],
    ...more,
  };
  return recommend(observation, { current: null, runtimeCalls: ['capset'], action: 'SCMP_ACT_ERRNO' });
}

const hostile = madeFrom({
  paths: names.flatMap((name) =>
    [`/var/lib/${name}/f`, `/${name}/${name}/f`, `/tmp/${name}`, `/var/log/${name}/f`].map((path) => ({
      ...own,
      path,
      access: 'WRITE' as const,
    })),
  ),
  programs: [...names.map((name) => `/bin/${name}`), 'memfd:x', '/memfd:x (deleted)'].map((path) => ({
    ...own,
    path,
    comm: path.slice(-15),
  })),
});

const fileOf = (advice: Advice, name: string): string =>
  renderAdvice(advice).find((file) => file.name === name)?.content ?? '';

/** The arguments that a shell makes of the line, and nothing else that it does. */
async function argumentsOf(advice: Advice): Promise<string[]> {
  const script = `docker() { printf '%s\\0' "$@"; }\n${fileOf(advice, 'docker-run.txt')}`;
  const { stdout, stderr } = await exec('sh', ['-c', script]);
  expect(stderr).toBe('');
  return stdout.split('\0').slice(0, -1);
}

/** A record of CSV, as Docker reads the value of --mount. */
const fieldsOf = (record: string): string[] =>
  [...record.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
  );

describe('files of advice for a hostile container', () => {
  it('have a command line of which each word is one of ours', async () => {
    const words = await argumentsOf(hostile);
    expect(words.filter((word) => word.startsWith('--')).every((word) => /^--[a-z-]+$/.test(word))).toBe(true);
    const mounts = words.filter((_, i) => words[i - 1] === '--mount').map(fieldsOf);
    expect(mounts.length).toBeGreaterThan(0);
    for (const fields of mounts) {
      expect(fields.map((field) => field.split('=')[0])).toEqual(['type', 'source', 'target']);
      expect(fields[0]).toBe('type=volume');
    }
    for (const tmpfs of words.filter((_, i) => words[i - 1] === '--tmpfs')) expect(tmpfs.split(':')).toHaveLength(2);
    expect(words.at(-1)).toBe('web:1');
  });

  it('quote what a client sends as rights too', async () => {
    const { rights } = hostile;
    const words = await argumentsOf({
      ...hostile,
      subject: { ...hostile.subject, image: '--privileged' },
      rights: {
        ...rights,
        user: '1;id>&2',
        capabilities: ['CAP_X;id>&2'],
        tmpfs: [],
        volumes: [{ path: '/a,type=bind,source=/', writable: false }],
      },
    });
    expect(words).toContain('1;id>&2');
    expect(words).toContain('X;id>&2');
    expect(words).not.toContain('--privileged');
    expect(fieldsOf(words[words.indexOf('--mount') + 1] ?? '')).toEqual([
      'type=volume',
      'source=web-1',
      'target=/a,type=bind,source=/',
      'readonly',
    ]);
  });

  it('have a user for Kubernetes where it has a number', () => {
    const userOf = (user: string): object => {
      const [patch = ''] = fileOf({ ...hostile, rights: { ...hostile.rights, user } }, 'kubernetes.yaml').split(
        '---\n',
      );
      const { spec } = parse(patch) as { spec: { template: { spec: { containers: [{ securityContext: object }] } } } };
      const entries = Object.entries(spec.template.spec.containers[0].securityContext);
      return Object.fromEntries(entries.filter(([name]) => name.startsWith('runAs')));
    };
    expect(userOf('www-data')).toEqual({});
    expect(userOf('7')).toEqual({ runAsUser: 7, runAsNonRoot: true });
    expect(userOf('0:5')).toEqual({ runAsUser: 0, runAsGroup: 5, runAsNonRoot: false });
  });

  it('have no variable that Compose would replace', () => {
    const advice = madeFrom({ paths: [{ ...own, path: '/var/lib/${HOME}$x/f', access: 'WRITE' }] });
    expect(advice.rights.volumes).toEqual([{ path: '/var/lib/${HOME}$x', writable: true }]);
    const { services } = parse(fileOf(advice, 'compose.override.yaml')) as {
      services: { web: { volumes: { target: string }[] } };
    };
    expect(services.web.volumes.map(({ target }) => target)).toEqual(['/var/lib/$${HOME}$$x']);
  });

  it('have a profile that the parser of AppArmor takes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'eunomia-advice-'));
    try {
      const file = join(folder, 'profile');
      const profile = fileOf(hostile, 'apparmor.profile');
      await writeFile(file, profile);
      await exec('apparmor_parser', ['--skip-kernel-load', '--skip-cache', file]);
      expect(profile).not.toContain('\u001b');
      for (const line of profile.split('\n').slice(3)) expect(line).toMatch(/^$|^ {2}[#"@/a-z]|^[p}]/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('have a profile in which no name of a file is a pattern', () => {
    const paths = ['/data/*', '/data/a\u0085'].map((path) => ({ ...own, path, access: 'READ' as const }));
    const lines = fileOf(madeFrom({ paths }), 'apparmor.profile').split('\n');
    expect(lines.filter((line) => line.startsWith('  "/'))).toEqual([
      '  "/data/\\*{,/}" r,',
      '  "/data/a\\302\\205{,/}" r,',
    ]);
  });

  it('have a profile that lets a directory of libraries be mapped, also where it is written to', () => {
    const paths = (['MAKE', 'READ', 'WRITE'] as const).flatMap((access) => [
      ...['/app/names/', '/app/one.so'].map((path) => ({ ...own, path, access })),
      ...Array.from({ length: 21 }, (_, i) => ({ ...own, path: `/app/lib/${i}.so`, access })),
    ]);
    for (const order of [paths, paths.toReversed()]) {
      const lines = fileOf(madeFrom({ paths: order }), 'apparmor.profile').split('\n');
      expect(lines.filter((line) => line.startsWith('  "/app/') && line.includes('m'))).toEqual(
        ['/app/lib/*', '/app/names/*', '/app/one.so'].map((path) => `  "${path}{,/}" mrwkl,`),
      );
    }
  });

  it('have a report in which nothing of it is Markdown or acts on a terminal', () => {
    const { coverage } = hostile;
    const report = fileOf({ ...hostile, coverage: { ...coverage, reasons: ['a\n# b \u001b[31m <i>'] } }, 'advice.md');
    expect(report).not.toContain('\u001b');
    expect(report).not.toMatch(/^# b|[^\\]<[bi]>|[^\\]\[x\]/m);
    for (const row of report.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| ---')))
      expect(row.split(/(?<!\\)\|/)).toHaveLength(9);
  });
});
