import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../src/base/paths.js';
import { ended, scratch, start } from './workload.js';
import { until } from './until.js';

const exec = promisify(execFile);

export const prometheusFolder = join(root, 'docker/prometheus');

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** A real Prometheus with the configuration and the rules that are shipped, but for the intervals and the target's port. */
export interface TestPrometheus {
  /** Rejects with what Prometheus says of an expression that it cannot evaluate. */
  query(expression: string): Promise<readonly Series[]>;
  api<Data>(path: string): Promise<Data>;
  stop(): Promise<void>;
}

export async function startPrometheus(target: URL, port: number, token: string): Promise<TestPrometheus> {
  const folder = join(scratch, `prometheus-${port}`);
  await mkdir(folder);
  await cp(join(prometheusFolder, 'rules'), join(folder, 'rules'), { recursive: true });
  const shipped = await readFile(join(prometheusFolder, 'prometheus.yml'), 'utf8');
  await writeFile(join(folder, 'token'), token, { mode: 0o600 });
  const config = shipped
    .replace('/run/secrets/eunomia-token', join(folder, 'token'))
    .replaceAll('15s', '1s')
    .replace('127.0.0.1:4000', target.host)
    .replace('127.0.0.1:9090', `127.0.0.1:${port}`);
  await writeFile(join(folder, 'prometheus.yml'), config);
  await promtool('check', 'config', join(folder, 'prometheus.yml'));
  const child = start('prometheus', [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--log.level=error',
    '--enable-feature=exemplar-storage',
  ]);
  const api = async <Data>(path: string): Promise<Data> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
    const answer = (await response.json()) as { status: string; data: Data; error?: string };
    if (answer.status !== 'success') throw new Error(answer.error);
    return answer.data;
  };
  await until('Prometheus answers', () =>
    api('status/buildinfo').then(
      () => true,
      () => false,
    ),
  );
  return {
    api,
    query: async (expression) =>
      (await api<{ result: readonly Series[] }>(`query?query=${encodeURIComponent(expression)}`)).result,
    stop: async () => {
      const end = ended(child);
      child.kill('SIGTERM');
      await end;
    },
  };
}

/** Rejects with what promtool has against it. */
export async function promtool(...args: readonly string[]): Promise<string> {
  const { stdout } = await exec('promtool', [...args]);
  return stdout;
}

const WORDS = new Set([
  'by',
  'without',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'and',
  'or',
  'unless',
  'bool',
  'offset',
  'inf',
  'nan',
]);

/** The metrics that an expression reads: its names that are neither functions, nor words of PromQL, nor labels. */
export function metricsOf(expression: string): string[] {
  const bare = expression
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/\{[^}]*\}/g, ' ')
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ');
  const names = [...bare.matchAll(/[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\(|[a-zA-Z0-9_:])/g)].map(([name]) => name);
  return [...new Set(names.filter((name) => !WORDS.has(name)))];
}
