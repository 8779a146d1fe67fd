import { afterEach, beforeEach, expect, it } from 'vitest';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { compileC, ended, firstLine, start } from '../support/workload.js';

/** Rules that need options of a tracker, beside rules that do not, on what a real process does. */

const TOKEN = 'secret-of-the-admin';
const CALLS = 200_000;
let server: TestServer;

beforeEach(async () => {
  server = await startServer(['--token', `admin:${TOKEN}`], { token: TOKEN });
});
afterEach(() => server.end('SIGTERM'));

const rule = (name: string, message: string): string => `rules:
  - name: ${name}
    description: A test.
    severity: LOW
    trackers: syscount
    condition: process.comm == "asker" && name == "prctl"
    message: '${message}'
    key: [process.pid]
    interval: 0s
    throttle: { alerts: 10000, within: 1h }`;

interface Told {
  readonly message: string;
  readonly evidence: { readonly event: Readonly<Record<string, unknown>> };
}
const alertsOf = async (name: string): Promise<readonly Told[]> => {
  const { alerts } = await server.query<{ alerts: { nodes: readonly Told[] } }>(
    `{ alerts(first: 10000, where: { rules: ["${name}"] }) { nodes { message evidence { event } } } }`,
  );
  return alerts.nodes;
};
const load = (name: string, message: string): Promise<unknown> =>
  server.query('mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name } }', {
    input: { name, source: rule(name, message) },
  });
const sum = (told: readonly Told[]): number => told.reduce((total, { message }) => total + Number(message), 0);

it('have them alone: what others count is neither counted apart, nor lost or counted twice over such a reload', async () => {
  await load('plain', '{count}');
  const program = await compileC(
    'asker',
    `
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char line[8];
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		for (long i = 0; i < ${CALLS / 4}; i++)
			syscall(SYS_prctl, i % 2 ? PR_GET_DUMPABLE : PR_GET_KEEPCAPS, 0, 0, 0, 0);
	return 0;
}`,
  );
  const asker = start(program);
  const done = ended(asker);
  await firstLine(asker);
  const call = (): boolean | undefined => asker.stdin?.write('go\n');
  const { rules: before } = await server.query<{ rules: { sessions: readonly { id: string }[] } }>(
    '{ rules { sessions { id } } }',
  );
  call();
  const loaded = load('apart', '{argument}');
  call();
  await loaded;
  call();
  await until('the other rule has both arguments', async () => {
    const messages = new Set((await alertsOf('apart')).map(({ message }) => message));
    return messages.has('3') && messages.has('7');
  });
  const unloaded = server.query('mutation { unloadRules(name: "apart") }');
  call();
  await unloaded;
  asker.stdin?.end();
  await done;
  await until('all are counted', async () => sum(await alertsOf('plain')) >= CALLS);
  const plain = await alertsOf('plain');
  expect(sum(plain)).toBe(CALLS);
  expect(plain.filter(({ evidence }) => 'argument' in evidence.event)).toEqual([]);
  expect(await server.query('{ rules { missed problem sessions { id } } }')).toEqual({
    rules: { missed: '0', problem: null, ...before },
  });
});
