import { spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { root } from '../../src/base/paths.js';
import { allSettings } from '../../src/options/table.js';
import { cert, key } from '../support/certificate.js';
import { firstLine, start } from '../support/workload.js';

const main = join(root, 'dist/main.js');
const folder = mkdtempSync(join(tmpdir(), 'eunomia-configuration-'));
const file = join(folder, 'eunomia.yaml');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Values that hold here, where those of the examples do not. Paths are relative to the file. */
const own: Readonly<Record<string, unknown>> = {
  port: 0,
  tokens: ['viewer:look-at-containers', 'admin:own-the-whole-server'],
  engines: ['none'],
  // Nobody listens there: a database and a collector that are away.
  'influx.url': 'https://127.0.0.1:9',
  'otlp.url': 'https://127.0.0.1:9',
};
/** They exclude tokens, and the documents of this test. */
const excluded = ['insecureNoAuth', 'trustedDocuments.only'];

/** A file with each setting. */
function wholeFile(): string {
  const tree: Record<string, unknown> = {};
  for (const { key: path, example } of allSettings) {
    if (path === null || excluded.includes(path)) continue;
    const [first = '', second] = path.split('.');
    const value = own[path] ?? example;
    tree[first] = second === undefined ? value : { ...Object(tree[first]), [second]: value };
  }
  return stringify(tree);
}

interface Answer {
  readonly data?: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
  readonly errors?: readonly { readonly extensions: Readonly<Record<string, unknown>> }[];
}

describe('eunomia serve --config with each setting', () => {
  let server: ChildProcess;
  let told = '';
  let url: string;

  beforeAll(async () => {
    mkdirSync(join(folder, 'tls'));
    for (const name of ['tls/cert.pem', 'influx-ca.pem', 'otlp-ca.pem'])
      writeFileSync(join(folder, name), cert, { mode: 0o600 });
    writeFileSync(join(folder, 'tls/key.pem'), key, { mode: 0o600 });
    writeFileSync(join(folder, 'tokens'), 'operator:from-a-file-of-ours\n', { mode: 0o600 });
    writeFileSync(join(folder, 'otlp-headers'), 'X-Tenant: a\n', { mode: 0o600 });
    writeFileSync(join(folder, 'documents.json'), '{ "version": "{ server { version } }" }', { mode: 0o600 });
    mkdirSync(join(folder, 'plugins'), { mode: 0o700 });
    copyFileSync(join(root, 'plugins/port-scan.ts'), join(folder, 'plugins/port-scan.ts'));
    writeFileSync(
      join(folder, 'metrics.yaml'),
      'sessions:\n  - name: host\n    trackers: [{ exec: {} }]\nmetrics:\n  - { name: execs_total, help: ' +
        'Programs., type: counter, session: host }\n',
      { mode: 0o600 },
    );
    writeFileSync(join(folder, 'webhooks.yaml'), "webhooks: [{ name: a, url: 'http://127.0.0.1:9' }]\n", {
      mode: 0o600,
    });
    writeFileSync(file, wholeFile(), { mode: 0o600 });
    server = start(process.execPath, [main, 'serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    server.stderr?.on('data', (chunk) => (told += String(chunk)));
    const line = await firstLine(server);
    const [, found] = /Eunomia listens on (https:\S+)/.exec(line) ?? [];
    if (found === undefined) throw new Error(`the server did not start: ${told}`);
    url = found;
  });
  afterAll(async () => {
    if (server.exitCode !== null) return;
    server.kill('SIGKILL');
    await once(server, 'exit');
  });

  const send = async (path: string, method: string, token: string, body: string): Promise<string> => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const sent = request(new URL(path, url), { ca: cert, method, headers }).end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return text(response);
  };
  const query = async (document: string, token = 'from-a-file-of-ours'): Promise<Answer> =>
    JSON.parse(await send('/graphql', 'POST', token, JSON.stringify({ query: document }))) as Answer;
  const refusal = async (document: string, token?: string): Promise<unknown> =>
    (await query(document, token)).errors?.[0]?.extensions;

  it('listens with the certificate, and knows the tokens of both settings', async () => {
    const mutation = 'mutation { removeSession(id: "none") }';
    expect(await refusal(mutation, 'look-at-containers')).toMatchObject({ code: 'FORBIDDEN' });
    expect(await refusal(mutation, 'own-the-whole-server')).toMatchObject({ code: 'UNKNOWN_SESSION' });
    expect(await refusal(mutation)).toMatchObject({ code: 'UNKNOWN_SESSION' });
    expect(await refusal(mutation, 'start')).toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  it('has its stores, its plugins, its configured session and those of its rules', async () => {
    const { data } = await query('{ stores { kind } plugins { name } sessions { nodes { name } } }');
    expect(data).toMatchObject({
      stores: [{ kind: 'EMBEDDED' }, { kind: 'INFLUX' }],
      plugins: [{ name: 'port-scan' }],
      // Of events, and of what is aggregated in the kernel.
      sessions: { nodes: [{ name: 'host' }, { name: 'rules' }, { name: 'rules' }] },
    });
  });

  it('keeps the limits', async () => {
    expect(await refusal('{ a: __typename b: __typename c: __typename }')).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      limit: 'aliases',
      maximum: 2,
    });
    expect(await refusal(`{ ${'server { version } '.repeat(1100)} }`)).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      limit: 'tokens',
      maximum: 4000,
    });
    const batch = JSON.stringify(Array.from({ length: 3 }, () => ({ query: '{ __typename }' })));
    expect(JSON.parse(await send('/graphql', 'POST', 'look-at-containers', batch))).toMatchObject({
      errors: [{ extensions: { limit: 'batch', maximum: 2 } }],
    });
  });

  it('shows the configured metric', async () => {
    expect(await send('/metrics', 'GET', 'look-at-containers', '')).toContain('# HELP execs_total Programs.');
  });

  it('ends in order', async () => {
    server.kill('SIGTERM');
    if (server.exitCode === null) await once(server, 'exit');
    expect(server.exitCode).toBe(0);
  });
});

it('refuses a wrong key, a wrong type and a wrong value with file, line and column', () => {
  for (const [wrong, message] of [
    ['limits:\n  session: 5\n', '2:3: limits.session: there is no such setting; did you mean "sessions"?'],
    ['port: [4000]\n', '1:7: port: [4000] is not a whole number from 0 to 65535'],
    ['limits:\n  drainTime: 3 seconds\n', '2:14: limits.drainTime: "3 seconds" is not a time'],
  ] as const) {
    writeFileSync(file, wrong, { mode: 0o600 });
    const { status, stderr, stdout } = spawnSync(process.execPath, [main, 'serve', '--config', file], {
      encoding: 'utf8',
    });
    expect(stderr).toContain(`eunomia: ${file}:${message}`);
    expect([status, stdout]).toEqual([2, '']);
  }
});
