import { openSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attachment } from '#eunomia/plugins/index.js';
import { LocalEunomia } from './batch.js';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { bestOf, describe, type Extent as Ladders, type Tracer } from './ladder.js';
import { Workload } from './workload.js';

const SANDBOX_GOAL = 50_000;
const ALERT_GOAL_MS = 100;
const EDIT_GOAL_MS = 2_000;
/** A plugin that is handed nothing new for so long gets no more. */
const STUCK_MS = 500;

interface Extent extends Ladders {
  readonly alerts: number;
  readonly edits: number;
}

const full: Extent = { stepMs: 1_000, ladders: 3, alerts: 1_000, edits: 20 };
const quick: Extent = { stepMs: 300, ladders: 1, alerts: 100, edits: 5 };

const reads = "{ open: ['path', 'errno', 'process.pid', 'process.comm', 'container.name'] }";
const define = (name: string, body: string, more = ''): string =>
  "import { definePlugin } from 'eunomia/plugin';\nconst counts = new Map();\nexport default definePlugin({ " +
  `name: '${name}', version: '1', summary: 'A bench.', reads: ${reads}, ${more} ${body} });\n`;
const count = `onBatch(events) {
  for (const { path, errno, process, container } of events) {
    const key = process.comm + ' ' + (container ? container.name : '') + ' ' + path + ' ' + errno;
    counts.set(key, (counts.get(key) || 0) + 1);
  }
}`;
const alert =
  "onBatch(events, context) { for (const event of events) context.alert({ severity: 'LOW', title: 'opened', " +
  'message: String(event.path), event }); }';
const where = `where: 'open.path.startsWith("/no/bench/")',`;

/** What plugins cost: events through none, an idle one, one that counts, the same in the sandbox; and how soon an alert is there. */
export async function plugins(report: Report, options: { readonly quick: boolean }): Promise<void> {
  const extent = options.quick ? quick : full;
  await buildPrograms();
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  try {
    await writeFile(join(directory, 'idle.ts'), define('idle', 'onBatch() {}'));
    await writeFile(join(directory, 'count.ts'), define('count', count));
    await writeFile(join(directory, 'alert.ts'), define('alert', alert, where));
    const workload = await Workload.start();
    const eunomia = await LocalEunomia.start(directory);
    try {
      await eunomia.plugins.upload('sandboxed-count.ts', define('sandboxed-count', count), false);
      await eunomia.plugins.upload('sandboxed-alert.ts', define('sandboxed-alert', alert, where), false);
      await throughputs(report, eunomia, workload, extent);
      for (const name of ['alert', 'sandboxed-alert']) await alertDelay(report, eunomia, name, extent.alerts);
      await editDelay(report, eunomia, directory, extent.edits);
    } finally {
      await eunomia.close();
      await workload.close();
    }
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function throughputs(report: Report, eunomia: LocalEunomia, workload: Workload, extent: Extent): Promise<void> {
  const { none, idle, counting } = await bestOf(extent, workload, 100_000, {
    none: () => eunomia.trace(workload.pid, ['path']),
    idle: () => withPlugin(eunomia, workload.pid, 'idle'),
    counting: () => withPlugin(eunomia, workload.pid, 'count'),
  });
  const { sandboxed } = await bestOf(extent, workload, 20_000, {
    sandboxed: () => withPlugin(eunomia, workload.pid, 'sandboxed-count'),
  });
  report.add('events/s, lossless, no plugin', none.rate, 'events/s', null, describe(none));
  report.add('events/s, lossless, idle trusted plugin', idle.rate, 'events/s', null, describe(idle));
  report.add(
    'events/s, lossless, trusted plugin that counts by key',
    counting.rate,
    'events/s',
    { goal: none.rate / 2, better: 'higher' },
    describe(counting),
  );
  report.add(
    'events/s, lossless, the same in the sandbox',
    sandboxed.rate,
    'events/s',
    { goal: SANDBOX_GOAL, better: 'higher' },
    describe(sandboxed),
  );
}

/** What a plugin was handed and has worked on; what its queue dropped is lost. */
async function withPlugin(eunomia: LocalEunomia, pid: number, name: string): Promise<Tracer> {
  const session = await eunomia.session('open', pid, 'DEMANDED', ['path']);
  const attachment: Attachment = eunomia.plugins.attach(session, { name, options: null, restart: 'NEVER' }, true);
  while (attachment.state === 'STARTING') await sleep(5);
  return {
    settle: async (expected) => {
      let seen = attachment.counts.events;
      for (let stuckMs = 0; seen < expected && stuckMs < STUCK_MS; stuckMs += 2) {
        await sleep(2);
        if (attachment.counts.events > seen) stuckMs = 0;
        seen = attachment.counts.events;
      }
      const at = performance.now();
      if (attachment.problem !== null) throw new Error(attachment.problem);
      return { received: seen, lost: (await session.stats()).lost + attachment.dropped, at };
    },
    close: () => eunomia.remove(session),
  };
}

/** From just before a system call of this process to the alert in the server's list. */
async function alertDelay(report: Report, eunomia: LocalEunomia, name: string, samples: number): Promise<void> {
  const session = await eunomia.session('open', process.pid, 'DEMANDED', ['path']);
  const attachment: Attachment = eunomia.plugins.attach(session, { name, options: null, restart: 'NEVER' }, true);
  while (attachment.state === 'STARTING') await sleep(5);
  const alerts = eunomia.alerts.follow(() => true);
  const delays: number[] = [];
  for (let i = 0; i < samples; i++) {
    await sleep(10 + Math.random() * 10); // fewer than the 100 alerts a second that a plugin may raise
    const since = performance.now();
    try {
      openSync(`/no/bench/${i}`, 'r');
    } catch {
      // As it should: there is no such file.
    }
    const { value } = await alerts.next();
    if (value?.message !== `/no/bench/${i}`) throw new Error(`an alert of ${value?.message} came for /no/bench/${i}`);
    delays.push(performance.now() - since);
  }
  await alerts.return?.();
  await eunomia.remove(session);
  delays.sort((a, b) => a - b);
  const quantile = (share: number): number =>
    delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? Number.NaN;
  const what = name === 'alert' ? 'trusted' : 'sandboxed';
  report.add(`system call to alert, ${what} plugin, p50`, quantile(0.5), 'ms');
  report.add(
    `system call to alert, ${what} plugin, p99`,
    quantile(0.99),
    'ms',
    { goal: ALERT_GOAL_MS, better: 'lower' },
    `${samples} alerts`,
  );
}

/** From the end of writing a plugin's file to its new code in a session that runs. */
async function editDelay(report: Report, eunomia: LocalEunomia, directory: string, edits: number): Promise<void> {
  const session = await eunomia.session('open', process.pid, 'DEMANDED', ['path']);
  const attachment: Attachment = eunomia.plugins.attach(
    session,
    { name: 'idle', options: null, restart: 'NEVER' },
    true,
  );
  while (attachment.state === 'STARTING') await sleep(5);
  let worst = 0;
  for (let i = 1; i <= edits; i++) {
    await writeFile(join(directory, 'idle.ts'), define('idle', `onBatch() {} /* ${i} */`));
    const since = performance.now();
    while (attachment.counts.reloads < i) await sleep(1);
    worst = Math.max(worst, performance.now() - since);
  }
  await eunomia.remove(session);
  report.add(
    'edited file to its code in force, worst',
    worst,
    'ms',
    { goal: EDIT_GOAL_MS, better: 'lower' },
    `${edits} edits while a session runs`,
  );
}
