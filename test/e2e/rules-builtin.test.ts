import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { nanosecondsSince1970 } from '../../src/event/clock.js';
import { ACTING_IMAGE, makeActingImage } from '../support/acting-image.js';
import {
  atTerminal,
  ordinary,
  privileged,
  scriptOf,
  startsOf,
  unusual,
  type Behaviour,
} from '../support/behaviours.js';
import type { RuleAlert } from '../../src/rules/alert.js';
import { ABLE_RUNTIME, startDocker, type TestDocker } from '../support/docker.js';
import { watchRules, type RuleWatch } from '../support/rule-watch.js';
import { untilHolds } from '../support/until.js';
import { run, scratch, start } from '../support/workload.js';

/** As `--privileged`, which grants capabilities that this machine may not have. */
const STRONG = [
  ...['SYS_ADMIN', 'NET_ADMIN', 'SYS_PTRACE', 'SYSLOG', 'SYS_RAWIO', 'MKNOD'].flatMap((name) => ['--cap-add', name]),
  ...['seccomp=unconfined', 'systempaths=unconfined'].flatMap((option) => ['--security-opt', option]),
  ...['--device-cgroup-rule', 'b *:* rwm', '--pid', 'host'],
];
const NEW_IMAGE = 'eunomia-test/unusual:1';
const HOUR = 3_600_000;

const folder = join(root, 'rules');
const sources = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml') && !name.endsWith('.test.yaml'))
  .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }));
const shared = join(scratch, 'shared');
/** As somebody writes it who lets operators into one container. */
const own = `
overrides:
  rules:
    terminal-shell-in-container:
      exceptions:
        - { name: operators, condition: container.name == "usual" }
`;

let docker: TestDocker;
let program: string;
let watch: RuleWatch;
let engine: Server;
beforeAll(async () => {
  docker = await startDocker();
  program = await makeActingImage(docker);
  await docker.docker('tag', ACTING_IMAGE, NEW_IMAGE);
  await mkdir(shared);
  await chmod(shared, 0o777);
  engine = createServer((socket) => socket.destroy()).listen(join(shared, 'docker.sock'));
  watch = await watchRules([...sources, { name: 'own.yaml', text: own }], docker.host);
});
afterAll(async () => {
  engine.close();
  await watch.close();
  await docker.stop();
});

interface Told {
  readonly rule: string;
  readonly container: string | null;
  readonly comm: string;
  readonly message: string;
  /** When its process and those above it were started, in clock ticks since boot. */
  readonly starts: readonly number[];
  /** Of the machine: whether a process above is one of this test. */
  readonly isOurs: boolean;
  readonly isRepeated: boolean;
}

const NS_PER_TICK = 10_000_000n;

function toldOf({ rule, key, message, process: about, startNs, container, evidence }: RuleAlert): Told {
  const ancestors = evidence?.ancestors ?? [];
  const offset = nanosecondsSince1970(String(Reflect.get(about, 'startTime'))) - BigInt(startNs);
  const started = ancestors.map(({ startTime }) => nanosecondsSince1970(startTime) - offset);
  return {
    rule,
    container: container && (Reflect.get(container, 'name') as string | null),
    comm: String(Reflect.get(about, 'comm')),
    message,
    starts: [BigInt(startNs), ...started].map((ns) => Number(ns / NS_PER_TICK)),
    isOurs: ancestors.some(({ pid }) => pid === process.pid),
    isRepeated: watch.repeated.some((other) => other.rule === rule && other.key === key),
  };
}

function told(): Told[] {
  return watch.alerts.map(toldOf);
}

/**
 * What is not as it should be: behaviours without their one alert, alerts of another process, and alerts without a behaviour, of other
 * containers and the engine too. `starts`: of what performed each behaviour.
 */
function wrongOf(
  alerts: readonly Told[],
  container: string,
  behaviours: readonly Behaviour[],
  starts: ReadonlyMap<string, number>,
): string[] {
  const own = alerts.filter((alert) => alert.container !== null || alert.isOurs);
  const fits = ({ rule, says, comm, by = rule, isRepeated = false }: Behaviour, alert: Told): boolean =>
    alert.rule === rule &&
    alert.container === container &&
    alert.comm === comm &&
    alert.isRepeated === isRepeated &&
    alert.starts.includes(starts.get(by) ?? -1) &&
    (typeof says === 'string' ? alert.message.includes(says) : says.test(alert.message));
  const missed = behaviours.filter((behaviour) => own.filter((alert) => fits(behaviour, alert)).length !== 1);
  const also = behaviours.flatMap(({ also: rules = [] }) => rules);
  const more = own.filter((alert) => {
    if (behaviours.some((behaviour) => fits(behaviour, alert))) return false;
    const at = also.indexOf(alert.rule);
    if (at >= 0) also.splice(at, 1);
    return at < 0;
  });
  const listed = (rule: string): string => JSON.stringify(own.filter((alert) => alert.rule === rule));
  return [
    ...missed.map(({ rule, by = rule }) => `not once: ${rule}, started at ${starts.get(by)}: ${listed(rule)}`),
    ...more.map((alert) => `unexpected: ${JSON.stringify(alert)}`),
    ...also.map((rule) => `not: ${rule}`),
  ];
}

/** Performs them in a container, and waits until they are told. */
async function perform(
  container: string,
  behaviours: readonly Behaviour[],
  ...flags: readonly string[]
): Promise<string[]> {
  const before = watch.alerts.length;
  const started = join(shared, 'started');
  await writeFile(started, '');
  await writeFile(
    join(shared, 'script.sh'),
    scriptOf(behaviours, '/shared/started', { terminal: flags.includes('-t') }),
  );
  await docker.docker('exec', ...flags, container, 'bash', '/shared/script.sh');
  const starts = startsOf(readFileSync(started, 'utf8'));
  const wrong = (): string[] => wrongOf(told().slice(before), container, behaviours, starts);
  const seen = await untilHolds('each is told', wrong, (found) => found.length === 0).then(
    () => true,
    () => false,
  );
  if (seen) await sleep(1500); // the tracker capability tells each second: nothing more comes
  return wrong();
}

it('tells of each behaviour exactly once, with its process, container and message', async () => {
  const mounts = ['--network', 'none', '-v', `${shared}:/shared`];
  const forever = ['sleep', '600'];
  await docker.run('-d', '--name', 'web', ...mounts, ACTING_IMAGE, ...forever);
  await docker.run('-d', '--name', 'strong', ...STRONG, ...mounts, ACTING_IMAGE, ...forever);
  await docker.run('-d', '--name', 'third', ...mounts, ACTING_IMAGE, ...forever);
  await docker.docker('exec', '-d', 'third', 'behaviour', 'send', '/shared/across');
  const sender = start(program, ['send', join(shared, 'pass')]);
  expect(await perform('web', ordinary)).toEqual([]);
  sender.kill();
  expect(await perform('strong', privileged, '-e', `HOST_PID=${process.pid}`)).toEqual([]);
  expect(await perform('web', atTerminal, '-t')).toEqual([]);
}, 400_000);

it('tells what is new to an image that was watched before', async () => {
  await docker.run('-d', '--name', 'new', '--network', 'none', '-v', `${shared}:/shared`, NEW_IMAGE, 'sleep', '600');
  const subject = JSON.stringify([NEW_IMAGE]);
  const known = ['/bin/busybox', '/bin/bash'].map((executable) => JSON.stringify([executable]));
  const learned = watch.engine.learned();
  for (const { rule } of unusual)
    learned.get(rule)?.book.restore({
      subject,
      since: Date.now() - 2 * HOUR,
      values: rule === 'program-new-to-image' ? known : [],
    });
  expect(await perform('new', unusual)).toEqual([]);
});

it('tells of a container that was created with all privileges, once', async () => {
  const before = watch.alerts.length;
  const flags = ['--privileged', '--runtime', ABLE_RUNTIME, '--network', 'none'];
  await docker.run('-d', '--name', 'able', ...flags, ACTING_IMAGE, 'sleep', '600');
  for (let i = 0; i < 3; i++) await docker.docker('exec', 'able', 'id');
  await untilHolds('it is told', told, (all) => all.slice(before).some(({ container }) => container === 'able'));
  await sleep(1500);
  const own = told().slice(before);
  // Of its first program, where the engine has told of the container by then.
  const message = expect.stringMatching(
    /^privileged container able of eunomia-test\/acting:1 runs \/bin\/busybox as user 0: (sleep 600|id)$/,
  ) as string;
  expect(own.filter(({ container }) => container !== null)).toEqual([
    expect.objectContaining({
      rule: 'privileged-container-used',
      container: 'able',
      comm: expect.stringMatching(/^(sleep|id)$/) as string,
      message,
    }),
  ]);
});

it('tells of a kernel module that a program of the host loads', async () => {
  const before = watch.alerts.length;
  await run(program, ['module']);
  await untilHolds('it is told', told, (all) => all.length > before);
  await sleep(500);
  expect(told().slice(before)).toEqual([
    expect.objectContaining({ rule: 'kernel-module-loaded-on-host', container: null, comm: 'behaviour' }),
  ]);
});

it('is silent beside usual work', async () => {
  const before = watch.alerts.length;
  await writeFile(
    join(shared, 'server.sh'),
    'httpd -f -p 8080 -h /etc & while true; do wget -qO- 127.0.0.1:8080/hostname; sleep 0.02; done',
  );
  await writeFile(
    join(shared, 'work.sh'),
    `for i in $(seq 8); do
      apt-get do spawn /bin/useradd user$i
      dpkg do create /usr/bin/tool$i 755
      dpkg do create /etc/cron.d/job$i 644
      sh -c 'echo job >> /var/log/job.log; cp /etc/hostname /tmp/job; rm /tmp/job'
      sleep 2
    done`,
  );
  await writeFile(join(scratch, 'hello.c'), 'int main(void) { return 0; }');
  await docker.run(
    '-d',
    '--name',
    'usual',
    '--network',
    'none',
    '-v',
    `${shared}:/shared`,
    ACTING_IMAGE,
    'bash',
    '/shared/server.sh',
  );
  const until = Date.now() + 20_000;
  const working = docker.docker('exec', 'usual', 'bash', '/shared/work.sh');
  while (Date.now() < until) {
    await docker.docker('exec', 'usual', 'wget', '-qO-', '127.0.0.1:8080/hostname');
    await docker.docker('exec', '-t', 'usual', 'sh', '-c', 'ls /; cat /etc/hostname');
    await run('gcc', ['-o', join(scratch, 'hello'), join(scratch, 'hello.c')]);
    await run(join(scratch, 'hello'));
    await sleep(1000);
  }
  await working;
  const here = ({ evidence }: RuleAlert) => evidence?.ancestors.some(({ pid }) => pid === process.pid);
  const raised = watch.alerts.slice(before).filter((alert) => alert.container !== null || here(alert));
  expect(raised.map(({ rule, message }) => `${rule}: ${message}`)).toEqual([]);
}, 90_000);

it('has performed what each rule looks for', () => {
  const performed = [...ordinary, ...privileged, ...atTerminal, ...unusual].map(({ rule }) => rule);
  const names = watch.rules.rules.map(({ definition }) => definition.name);
  // These two are above.
  expect(names.filter((name) => !performed.includes(name)).sort()).toEqual([
    'kernel-module-loaded-on-host',
    'privileged-container-used',
  ]);
});

it('has missed nothing meanwhile', async () => {
  const { lost, dropped } = await watch.close();
  expect({ lost, dropped }).toEqual({ lost: 0, dropped: 0 });
});
