import { spawn } from 'node:child_process';

import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kind, parse, print, type OperationDefinitionNode } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Gate } from '../../src/base/gate.js';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { allBlocks, blocksIn, blocksRunBy, type Block } from '../support/page.js';
import { startServer, type TestServer } from '../support/server.js';
import { until, untilHolds } from '../support/until.js';

// The blocks of code of README.md and docs/, with a real server, a container "web" and a directory to work in.

const folder = mkdtempSync(join(tmpdir(), 'eunomia-pages-'));
const [bin, prepared] = [join(folder, 'bin'), join(folder, 'prepared')];
let docker: TestDocker;
let server: TestServer;
let base: string;
let environment: NodeJS.ProcessEnv;
let alert: string;
let token: string;

/** What the container does all the time. */
const WORK = `
  echo root > /etc/shadow; chmod 600 /etc/shadow
  while :; do cat /etc/shadow > /dev/null; /bin/sh -c 'exec cat /etc/shadow' > /dev/null; sleep 0.3; done`;
const WORK_OF_OTHERS = 'while :; do cat /etc/shadow 2> /dev/null; sleep 0.3; done';

/** With the machine's curl, and a server at an address that only its own network has. */
const SHOP = `
  ip link set lo up; for last in 2 5; do ip addr add 10.0.0.$last/32 dev lo; done
  ip route del local 10.0.0.5 dev lo table local; ip route add local 10.0.0.5 dev lo table local src 10.0.0.2
  echo goods > /tmp/index.html; httpd -p 10.0.0.5:80 -h /tmp
  while :; do curl -s http://10.0.0.5/ > /dev/null; sleep 0.3; done`;

/** A DuckDB that takes the arguments of its command line. */
const DUCKDB = `#!${process.execPath}
const { DuckDBInstance } = require(${JSON.stringify(join(root, 'node_modules/@duckdb/node-api'))});
const [flag, file, sql = file] = process.argv.slice(2);
(flag === '-c' ? DuckDBInstance.create() : DuckDBInstance.create(file, { access_mode: 'READ_ONLY' }))
  .then((instance) => instance.connect())
  .then((connection) => connection.runAndReadAll(sql))
  .then((result) => console.log(JSON.stringify(result.getRowsJson())));
`;

const FALCO = `
- rule: A shell
  desc: A shell was started.
  condition: evt.type = execve and proc.name = sh
  output: A shell
  priority: WARNING
`;

const RULE = `rules:
  - { name: tried, description: d, severity: LOW, trackers: exec, condition: 'process.comm == "x"', message: m }`;
const RULE_TEST = `tests:
  - { name: t, rules: [tried], events: [{ tracker: exec, process: { comm: x } }], alerts: [{ rule: tried }] }`;

beforeAll(async () => {
  for (const path of [bin, join(prepared, 'a'), join(prepared, 'b'), join(folder, 'plugins'), join(folder, 'rules')])
    mkdirSync(path, { recursive: true });
  writeFileSync(join(bin, 'eunomia'), `#!/bin/sh\nexec ${process.execPath} ${join(root, 'dist/main.js')} "$@"\n`);
  writeFileSync(join(bin, 'duckdb'), DUCKDB);
  for (const name of ['eunomia', 'duckdb']) chmodSync(join(bin, name), 0o755);
  writeFileSync(join(prepared, 'tokens'), `admin:${'t'.repeat(16)}\n`, { mode: 0o600 });
  for (const name of ['falco_rules.yaml', 'falco_rules.local.yaml']) writeFileSync(join(prepared, name), FALCO);
  for (const { text } of blocksIn('ts')) writeFileSync(join(folder, 'plugins/shells.ts'), text);
  const rules = blocksIn('yaml').filter(({ page }) => page === 'docs/rules.md');
  for (const { line, text } of rules)
    if (/^(lists|rules):/.test(text) && !text.includes('webhook:'))
      writeFileSync(join(folder, `rules/${line}.yaml`), text);

  const [config] = blocksIn('yaml').filter(({ page }) => page === 'docs/configuration.md');
  writeFileSync(join(prepared, 'eunomia.yaml'), config?.text ?? '');

  docker = await startDocker();
  await docker.docker('tag', TEST_IMAGE, 'busybox');
  await docker.run('--detach', '--name', 'web', '--network', 'none', 'busybox', 'sh', '-c', WORK);
  await docker.docker('exec', '--detach', '--user', '1000', 'web', 'sh', '-c', WORK_OF_OTHERS);
  const ofMachine = ['/usr', '/lib', '/lib64'].flatMap((path) => ['--volume', `${path}:${path}:ro`]);
  const ofShop = ['--network', 'none', '--cap-add', 'NET_ADMIN', '--env', 'PATH=/bin:/usr/bin'];
  await docker.run('--detach', '--name', 'shop', ...ofShop, ...ofMachine, 'busybox', 'sh', '-c', SHOP);
  const data = join(folder, 'data');
  const args = ['--engine', docker.socket, '--data-dir', data, '--plugins', join(folder, 'plugins')];
  server = await startServer([...args, '--rules', join(folder, 'rules')], { keep: true });
  base = new URL(server.url).origin;
  token = readFileSync(join(data, 'access-token'), 'utf8').trim();
  environment = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env['PATH']}`,
    DOCKER_HOST: docker.host,
    EUNOMIA_SERVER: base,
    EUNOMIA_PORT: '0',
  };
  const session = await startSession('target: { containers: [{ name: "*" }] }, persist: {}');
  const made = [
    'eunomia advise web --for 2s --out web-advice && cp web-advice/advice.json a',
    'eunomia advise web --for 1s --out other-advice && cp other-advice/advice.json b',
    `eunomia export ${session} -o trace.ndjson`,
    `eunomia export ${session} -o trace.parquet`,
    'eunomia report --host --for 1s --json > after.json',
    'eunomia backup -o eunomia.duckdb',
  ];
  await untilHolds(
    'there is something to export of what the containers do',
    () =>
      server.query<{ session: { aggregate: { key: { value: string }[] }[] } }>(
        `{ session(id: "${session}") { aggregate(groupBy: ["tracker"]) { key { value } } } }`,
      ),
    ({ session: { aggregate } }) => {
      const seen = aggregate.flatMap(({ key }) => key.map(({ value }) => value));
      return ['exec', 'exit', 'open', 'tcp'].every((tracker) => seen.includes(tracker));
    },
  );
  for (const { line, code, out } of await Promise.all(made.map((each) => ran(each, prepared))))
    if (code !== 0) throw new Error(`${line} ended with ${code}: ${out}`);
  alert = await until('an alert', async () => {
    const { alerts } = await server.query<{ alerts: { nodes: { id: string }[] } }>(
      '{ alerts(first: 1) { nodes { id } } }',
    );
    return alerts.nodes[0]?.id;
  });
});

afterAll(async () => {
  await server?.end('SIGTERM');
  await docker?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A session of the containers, with what the pages ask for. */
async function startSession(input = 'target: { containers: [{ name: "*" }] }'): Promise<string> {
  const trackers = '[{ exec: {} }, { exit: {} }, { open: {} }, { tcp: {} }, { dns: {} }]';
  const { startSession: started } = await server.query<{ startSession: { id: string } }>(
    `mutation { startSession(input: { name: "demo", trackers: ${trackers}, ${input} }) { id } }`,
  );
  return started.id;
}

/** Nobody minds when the page has removed it. */
const removeSession = (session: string): Promise<unknown> =>
  server.query('mutation ($session: ID!) { removeSession(id: $session) }', { session }).catch(() => undefined);

const needsSession = (text: string): boolean => /\bSESSION\b|\bID\b|\$session/.test(text);

/** A page's placeholders filled in; what it waits for is shorter. */
const filled = (text: string, session: string): string =>
  text
    .replaceAll(/(http|ws)s?:\/\/(?:127\.0\.0\.1|host|watch\.example\.com):4000/g, (_all, scheme: string) =>
      base.replace('http', scheme),
    )
    .replaceAll(/\bURL\b/g, base)
    .replaceAll(/\bSESSION\b|(?<!: )\bID\b(?!!)/g, session)
    .replaceAll('Bearer TOKEN', `Bearer ${token}`)
    .replaceAll('[NAME]', '')
    .replaceAll('--port 4000', '--port 0')
    .replaceAll('--until 1h ', '')
    .replaceAll('5eb5c1004861f5db', alert)
    .replaceAll('/etc/eunomia/eunomia.yaml', join(prepared, 'eunomia.yaml'))
    .replaceAll('/etc/eunomia/rules', join(folder, 'rules'))
    .replaceAll(/--for \d+[smh]/g, '--for 1s')
    .replaceAll(/for: \\?"[35]s\\?"/g, (found) => found.replace(/[35]s/, '300ms'));

/** The commands of a block: continued lines and here documents are one. */
const commandsOf = (text: string): readonly string[] =>
  [...text.replaceAll('\\\n', ' ').matchAll(/^.*<<'EOF'[^]*?^EOF$|^.+$/gm)].map(([command]) => command);

interface Ran {
  readonly line: string;
  readonly code: number | null;
  /** On both outputs. */
  readonly out: string;
}

/** What goes on until somebody ends it. */
const ENDLESS =
  /^eunomia (?:serve|top|attach)\b|--follow|curl -sN|^eunomia (?:run|pcap) (?!.*--for|.* -n )|^eunomia replay .*--port/;

/** Runs a command as a shell does, and interrupts one that is endless a while after it has said something. */
async function ran(line: string, cwd: string): Promise<Ran> {
  const child = spawn('bash', ['-c', line], {
    cwd,
    env: { ...environment, EUNOMIA_DATA_DIR: join(cwd, 'data') },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (out += String(data)));
  const signal = (name: NodeJS.Signals): void => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, name);
  };
  const late = setTimeout(() => signal('SIGKILL'), 300_000);
  const isEndless = ENDLESS.test(line.replace(/ # .*/, ''));
  if (isEndless) {
    await Promise.race([ended, until('a first line', () => out !== '')]);
    await Promise.race([ended, sleep(2500)]);
    signal('SIGINT');
  }
  const code = await ended;
  clearTimeout(late);
  return { line, code: isEndless && line.startsWith('curl') ? 0 : code, out };
}

/** So many at once: the machine has other things to do. */
const gate = new Gate(4);
/** A server makes one backup at a time. */
const backups = new Gate(1);

/** The commands of a block in a directory of its own, one after the other. */
async function runAll(block: Block, commands = commandsOf(block.text)): Promise<readonly Ran[]> {
  const leave = await (
    block.text.includes('/backup') || block.text.includes('eunomia backup') ? backups : gate
  ).enter();
  try {
    const session = needsSession(block.text) ? await startSession() : '';
    const cwd = mkdtempSync(join(folder, 'block-'));
    cpSync(prepared, cwd, { recursive: true });
    const outcomes: Ran[] = [];
    for (const command of commands) outcomes.push(await ran(filled(command, session), cwd));
    if (session) await removeSession(session);
    return outcomes;
  } finally {
    leave();
  }
}

/** Times, durations and numbers of a text as one sign each. */
const plain = (text: string): string =>
  text
    .replaceAll(/(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d\.\d+/g, 'TIME')
    .replaceAll(/\b\d+(?:\.\d+)? (?:ns|µs|ms|s)\b/g, 'DURATION')
    .replaceAll(/<?\b\d+\b/g, 'N')
    .replaceAll(/ +/g, ' ')
    .trim();

const isFirstQuery = ({ page, text }: Block): boolean =>
  page === 'README.md' && /waitForContainers|--name hello/.test(text);

describe('a shell', () => {
  const blocks = blocksIn('sh').filter((block) => !isFirstQuery(block));
  // The commands of README.md need nothing of one another.
  const steps = blocks.flatMap((block) =>
    block.page === 'README.md'
      ? commandsOf(block.text).map((command) => ({ block, commands: [command] }))
      : [{ block, commands: commandsOf(block.text) }],
  );
  let outcomes: readonly Promise<readonly Ran[]>[];

  beforeAll(async () => {
    outcomes = steps.map(({ block, commands }) => runAll(block, commands));
    await Promise.allSettled(outcomes);
  });

  it.each(steps.map(({ block, commands }, i) => ({ title: `${block.title}: ${commands[0]?.slice(0, 60)}`, i })))(
    'runs $title',
    async ({ i }) => {
      for (const { line, code, out } of (await outcomes[i]) ?? [])
        expect({ line, code, out }).toEqual({ line, code: 0, out });
    },
  );

  it.each(blocksIn('text'))('prints what is at $title', async ({ text, previous }) => {
    const ofBlock = steps.flatMap(({ block }, i) =>
      block.page === previous?.page && block.line === previous.line ? [i] : [],
    );
    const printed = (await Promise.all(ofBlock.map((i) => outcomes[i] ?? []))).flat().map(({ out }) => plain(out));
    const lines = new Set(printed.flatMap((out) => out.split('\n').map((line) => line.trim())));
    expect([...lines]).toEqual(expect.arrayContaining(text.trim().split('\n').map(plain)));
  });
});

/** Ends the subscription. */
async function firstOf(results: AsyncGenerator<object, void>, source: string): Promise<object> {
  const late = sleep(100_000, null, { ref: false });
  // An alert repeats what it has told of a container for minutes: another container is another one.
  const shell = source.includes('alerts(')
    ? docker.run('--rm', '--network', 'none', 'busybox', 'sh', '-c', 'sleep 2; sh -c "sleep 1"; sleep 1')
    : null;
  const first = await Promise.race([results.next(), late]);
  void results.return();
  await shell;
  if (!first?.value) throw new Error(`nothing came of ${source}`);
  return first.value;
}

describe('GraphQL', () => {
  it.concurrent.each(blocksIn('graphql'))('at $title is executed', async ({ text }) => {
    const leave = await gate.enter();
    try {
      const session = needsSession(text) ? await startSession() : '';
      const document = parse(filled(text, session));
      const operations = document.definitions.filter(
        (one): one is OperationDefinitionNode => one.kind === Kind.OPERATION_DEFINITION,
      );
      for (const operation of operations) {
        const known: Readonly<Record<string, unknown>> = {
          session,
          id: session,
          after: null,
          fields: ['process.comm'],
          rules: RULE,
          tests: RULE_TEST,
        };
        const variables = Object.fromEntries(
          (operation.variableDefinitions ?? []).map(({ variable: { name } }) => [name.value, known[name.value]]),
        );
        const source = print({ ...document, definitions: [operation] });
        if (operation.operation === 'subscription')
          expect(Object.values(await firstOf(server.subscribe<object>(source, variables), source))).not.toContain(null);
        else expect(Object.values(await server.query<object>(source, variables))).not.toContain(null);
      }
      if (session) await removeSession(session);
    } finally {
      leave();
    }
  });
});

/** What the code of a page finds in its program. */
const prelude = (session: string): string => `
import * as library from 'graphql-ws';
import { WebSocket } from 'ws';
const query = 'subscription ($session: ID!) { events(session: $session) { cursor events { time tracker } } }';
const show = (result) => { console.log(JSON.stringify(result)); process.exit(0); };
const parse = (chunk) => { if (chunk.includes('"data"')) show(chunk); };
const createClient = (options) => library.createClient({ webSocketImpl: WebSocket, ...options });
Object.assign(globalThis, { WebSocket, query, show, parse, createClient, session: '${session}', id: '${session}', cursor: null });
Object.assign(globalThis, { token: '${token}', url: '${base.replace('http', 'ws')}/graphql' });
`;

describe('JavaScript', () => {
  it.each(blocksIn('js'))('at $title runs', async ({ text, previous }) => {
    const session = await startSession();
    // A program of its own beside the packages that it imports.
    const file = (name: string): string => join(root, '.cache', `pages-${process.pid}-${name}.mjs`);
    writeFileSync(file('prelude'), prelude(session));
    const before = previous?.language === 'js' && previous.text.startsWith('export') ? previous.text : '';
    const after = text.includes('show(') || text.includes('parse(') ? '' : 'show(await response.json());';
    writeFileSync(file('program'), `${before}\n${filled(text, session)}\n${after}`);
    try {
      const { code, out } = await ran(`${process.execPath} --import ${file('prelude')} ${file('program')}`, root);
      expect({ code, out }).toMatchObject({ code: 0 });
      expect(out).toMatch(/"(?:events|data|nodes)/);
      expect(out).not.toContain('errors');
    } finally {
      for (const name of ['prelude', 'program']) rmSync(file(name));
    }
  });
});

describe('README.md', () => {
  it('has a first query whose response is as shown', async () => {
    const [query, container] = allBlocks.filter(isFirstQuery);
    const [shown] = blocksIn('json').filter(({ page }) => page === 'README.md');
    if (!query || !container || !shown) throw new Error('README.md has no first query');
    /** Without what differs from run to run, and whatever else runs in containers meanwhile. */
    const comparable = (text: string): readonly string[] => {
      const { trace } = (
        JSON.parse(text) as { data: { trace: { events: { nodes: { container: { name: string } }[] } } } }
      ).data;
      return trace.events.nodes
        .filter(({ container: { name } }) => name === 'hello')
        .map((node) => plain(JSON.stringify(node)));
    };
    // It watches for five seconds: on a busy machine, the container may begin after them.
    for (let tries = 0; tries < 4; tries++) {
      const asked = ran(query.text.replace('http://127.0.0.1:4000', base), prepared);
      await until('the trace runs', async () => {
        const { sessions } = await server.query<{ sessions: { nodes: { stopsAt: string | null }[] } }>(
          '{ sessions(state: RUNNING) { nodes { stopsAt } } }',
        );
        return sessions.nodes.some(({ stopsAt }) => stopsAt !== null);
      });
      const started = await ran(container.text, prepared);
      expect(started.out).toContain('Hello, kernel');
      const nodes = comparable((await asked).out);
      if (nodes.length < 2) continue;
      expect(nodes).toEqual(comparable(shown.text));
      return;
    }
    expect.fail('the container has begun too late each time');
  });
});

describe('docs/metrics.md', () => {
  it('shows lines of a scrape', async () => {
    const [shown] = blocksRunBy('test/e2e/pages.test.ts', 1);
    const parts = (line: string) => ({
      name: /^\w+/.exec(line)?.[0],
      labels: Object.fromEntries([...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value]) => [name, value])),
    });
    const session = await startSession('capture: DEMANDED');
    await until('all of them', async () => {
      readFile('/no/such/file').catch(() => undefined);
      await once(spawn('true'), 'exit');
      await fetch(`${base}/healthz`, { headers: { connection: 'close' } });
      await server.query(`mutation { trace(input: { trackers: [{ exec: {} }] }, for: "10ms") { id } }`);
      const response = await fetch(`${base}/metrics`, {
        headers: { accept: 'application/openmetrics-text', authorization: `Bearer ${token}` },
      });
      const lines = (await response.text()).split('\n').map(parts);
      return shown?.text
        .trim()
        .split('\n')
        .map(parts)
        .every(({ name, labels }) =>
          lines.some(
            (line) =>
              line.name === name &&
              Object.entries(labels).every(([label, value]) =>
                /^(le|session_id|cursor)$/.test(label) ? label in line.labels : line.labels[label] === value,
              ),
          ),
        );
    });
    await removeSession(session);
  });
});
