// `npm run new-tracker NAME`: the three files of a tracker and its kernel test, from templates that compile, load and pass. Then builds.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from './format.mjs';
import { setUpOrExit } from './setup.mjs';
import { root } from './setup/project.mjs';

const [name = '', ...others] = process.argv.slice(2);
if (others.length > 0 || !/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name))
  refuse('usage: npm run new-tracker NAME, with lower-case letters, digits and single underscores, as in net_flow');
const camel = name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const pascal = camel.charAt(0).toUpperCase() + camel.slice(1);

const files = {
  [`bpf/trackers/${name}.bpf.c`]: `/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ${name}: one event for each program that is executed. TODO: say what it watches. */
#include "eunomia.bpf.h"

struct ${name}_event {
	struct eu_header header;
	__s32 old_tid;                /* of the thread that called exec, before the process was left with this one */
	__u8 reserved[4];
};
EU_EVENT(${name});

const volatile bool threads_only = false; /* option: only where another thread than the first one executes */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t old_pid)
{
	struct ${name}_event *event;

	if (threads_only && old_pid == task->pid)
		return 0;
	if (!eu_wanted())
		return 0;
	event = eu_reserve(struct ${name}_event);
	if (!event)
		return 0;
	eu_fill(&event->header);
	event->old_tid = old_pid;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
`,
  [`src/trackers/${name}.ts`]: `import { defineTracker } from '../tracker/define.js';

export default defineTracker({
  name: '${camel}',
  minimumKernel: '5.12',
  watches: 'programs that are executed: the thread that called exec', // TODO: in README.md
  blindSpots: ['A process that is forked and executes no program has no event.'],
  details: 'executed by thread {oldTid}',
  columns: ['oldTid'],
  trigger: '/bin/true',
  // TODO: if its events belong in a section of a behaviour report, say so with \`report\` (see src/trackers/exec.ts).
});
`,
  [`src/trackers/${name}.graphql`]: `"""Programs that are executed."""
input ${pascal}Options {
  """Reports only executions by a thread other than the main thread of the process."""
  threadsOnly: Boolean = false
}

"""A program was executed."""
type ${pascal}Event implements TraceEvent {
  """Id of the thread that called exec. Equals the process id if the main thread called it."""
  oldTid: Int!
}
`,
  [`test/kernel/${name.replaceAll('_', '-')}.test.ts`]: `import { expect, it } from 'vitest';
import { startTracker, type Seen } from '../support/session.js';
import { run } from '../support/workload.js';

const of = (pid: number) => (e: Seen) => e.process.pid === pid;

it('reports a program that is executed', async () => {
  const ${camel}Events = await startTracker('${camel}', { pids: [process.pid] });
  const { pid } = await run('true', []);
  expect(await ${camel}Events.next(of(pid))).toMatchObject({ tracker: '${camel}', oldTid: pid, process: { comm: 'true' } });
});
`,
};

const there = Object.keys(files).filter((file) => existsSync(join(root, file)));
if (there.length > 0) refuse(`new-tracker: ${there.join(', ')} is there already; choose another name, or remove it`);
await setUpOrExit({ quiet: true }); // what is assembled is up to date before it changes
for (const [file, text] of Object.entries(files)) {
  writeFileSync(join(root, file), text);
  process.stdout.write(`${file}\n`);
}
await setUpOrExit();
await format(true);
process.stdout.write('when its `trigger` makes an event: npm run samples\n');

function refuse(why) {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
