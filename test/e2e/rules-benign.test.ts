import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { DEBIAN_IMAGE, makeDebianImage, PACKAGES } from '../support/debian-image.js';
import { startDocker, type TestDocker } from '../support/docker.js';
import { watchRules, type RuleWatch } from '../support/rule-watch.js';
import { until } from '../support/until.js';
import { scratch } from '../support/workload.js';

/** The built-in rules beside what containers usually do, with the real programs. */

const FOR_MS = 120_000;
const NAME = 'usual';
const folder = join(root, 'rules');
const sources = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml') && !name.endsWith('.test.yaml'))
  .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }));
/** As somebody writes it who lets operators into one container. */
const own = `
overrides:
  rules:
    terminal-shell-in-container:
      exceptions:
        - { name: operators, condition: container.name == "${NAME}" }
`;
const shared = join(scratch, 'shared');

let docker: TestDocker;
let watch: RuleWatch;
beforeAll(async () => {
  docker = await startDocker();
  await makeDebianImage(docker);
  await mkdir(shared);
  await chmod(shared, 0o777);
  // Behind what takes minutes on a busy machine.
  watch = await watchRules([...sources, { name: 'own.yaml', text: own }], docker.host, {
    containers: [{ name: NAME }],
    waitForContainers: true,
  });
}, 1_200_000);
afterAll(async () => {
  await watch?.close();
  await docker?.stop();
});

const INSTALL = `export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q --no-install-recommends --no-download ${PACKAGES.join(' ')}`;

const BUILD = `mkdir -p /root/src && cd /root/src
printf '#include <stdio.h>\\nint main(void) { puts("hello"); return 0; }\\n' > hello.c
printf 'hello: hello.c\\n\\tgcc -O2 -o hello hello.c\\n' > Makefile
rm -f hello; make -s && ./hello`;

const REDIS = `for i in $(seq 20); do redis-cli set key$i value$i; redis-cli get key$i; done
redis-cli bgsave; redis-cli info | head -3`;

const SQL = `create table if not exists t (a int); insert into t select generate_series(1, 100); select sum(a) from t;`;

/** Over a connection of its own: nginx closes idle ones when it reads its configuration again. */
async function statusOf(url: string): Promise<number | undefined> {
  const [response] = (await once(get(url, { agent: false }), 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

function succeeds(act: Promise<unknown>): Promise<boolean> {
  return act.then(
    () => true,
    () => false,
  );
}

it('are silent for two minutes, and then tell what is not usual', async () => {
  const health = [
    '--health-cmd',
    'curl -fsS -o /dev/null http://127.0.0.1/ && redis-cli ping',
    '--health-interval',
    '1s',
  ];
  await docker.run(
    '-d',
    '--name',
    NAME,
    ...health,
    '-v',
    `${shared}:/shared`,
    DEBIAN_IMAGE,
    'bash',
    '-c',
    'while :; do sleep 1; done',
  );
  const inside = (...command: string[]): Promise<string> => docker.docker('exec', NAME, ...command);
  const query = (sql: string): Promise<string> => docker.docker('exec', '-u', 'postgres', NAME, 'psql', '-c', sql);
  await writeFile(join(shared, 'install.sh'), INSTALL);
  await inside('bash', '/shared/install.sh');
  const done = { requests: 0, builds: 0, queries: 0 };
  const address = await docker.docker(
    'inspect',
    '-f',
    '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}',
    NAME,
  );
  // What their packages have started already stays as it is.
  for (const service of ['nginx', 'redis-server', 'postgresql', 'cron']) await inside('service', service, 'start');
  await until('nginx responds', () => succeeds(statusOf(`http://${address}/`)));
  await until('redis responds', () => succeeds(inside('redis-cli', 'ping')));
  await until('PostgreSQL responds', () => succeeds(query('select 1')));
  const begun = Date.now();
  const isOver = (): boolean => Date.now() - begun > FOR_MS;
  const load = async (): Promise<void> => {
    while (!isOver()) {
      const statuses = await Promise.all(Array.from({ length: 8 }, () => statusOf(`http://${address}/`)));
      expect(new Set(statuses)).toEqual(new Set([200]));
      done.requests += statuses.length;
      await sleep(20);
    }
  };
  const work = async (): Promise<void> => {
    while (!isOver()) {
      expect(await inside('bash', '-c', BUILD)).toContain('hello');
      done.builds++;
      await inside('bash', '-c', REDIS);
      const rows = await query(SQL);
      expect(rows).toContain('1 row');
      await query('vacuum t');
      done.queries++;
      await docker.docker(
        'exec',
        '-t',
        NAME,
        'bash',
        '-c',
        'ls -la /; ps 2>/dev/null; tail -3 /var/log/nginx/access.log; nginx -t',
      );
      await inside('service', 'nginx', 'reload');
      await inside('service', 'redis-server', 'restart');
      await inside('apt-get', 'install', '-y', '-q', '--reinstall', '--no-download', 'curl');
    }
  };
  await Promise.all([load(), work()]);
  await until('cron has run its job', () => succeeds(inside('grep', 'done', '/var/log/job.log')), 120_000);
  await until('it is healthy', async () => {
    return (await docker.docker('inspect', '-f', '{{.State.Health.Status}}', NAME)) === 'healthy';
  });
  expect(Math.min(done.requests / 100, done.builds, done.queries)).toBeGreaterThan(0);
  expect(watch.alerts.map(({ rule, message }) => `${rule}: ${message}`)).toEqual([]);
  await inside('cat', '/etc/shadow');
  await until('what is not usual is told', () => watch.alerts.length > 0);
  expect(watch.alerts.map(({ rule, message }) => `${rule}: ${message}`)).toEqual([
    `password-file-read: cat read the password file /etc/shadow as user 0 in container ${NAME}`,
  ]);
}, 1_200_000);
