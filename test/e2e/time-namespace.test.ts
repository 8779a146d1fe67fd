import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { firstLine, run, start } from '../support/workload.js';

const DAY = 86_400;

it.each([DAY, -60])(
  'a server in a time namespace whose boot clock is %i s ahead dates events and processes by the wall clock',
  async (seconds) => {
    const child = start('unshare', [
      '--time',
      `--boottime=${seconds}`,
      '--fork',
      '--kill-child=SIGTERM',
      process.execPath,
      join(root, 'dist/main.js'),
      'serve',
      '--port',
      '0',
      '--engine',
      'none',
      '--data-dir',
      'none',
      '--log-level',
      'error',
    ]);
    const exited = once(child, 'exit');
    try {
      const url = /(http:\S+)/.exec(await firstLine(child))?.[1];
      if (url === undefined) throw new Error('the server did not start');
      const query = async <Data>(document: string): Promise<Data> => {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ query: document }),
        });
        const { data, errors } = (await response.json()) as { data?: Data; errors?: unknown };
        if (!data || errors !== undefined) throw new Error(JSON.stringify(errors));
        return data;
      };
      const { startSession } = await query<{ startSession: { id: string } }>(
        'mutation { startSession(input: { trackers: [{ exec: {} }], target: { comms: ["true"] } }) { id } }',
      );
      const before = Date.now();
      const { pid } = await run('true');
      const after = Date.now();
      const document =
        `mutation { stopSession(id: "${startSession.id}") { events(first: 1000) { nodes { time process { pid ` +
        'startTime } } } } }';
      const { stopSession } = await query<{
        stopSession: { events: { nodes: readonly { time: string; process: { pid: number; startTime: string } }[] } };
      }>(document);
      const event = stopSession.events.nodes.find(({ process: { pid: its } }) => its === pid);
      if (!event) throw new Error('the program was not seen');
      for (const time of [event.time, event.process.startTime]) {
        expect(Date.parse(time)).toBeGreaterThan(before - 1000);
        expect(Date.parse(time)).toBeLessThan(after + 1000);
      }
      const own = await query<{ process: { startTime: string } }>(`{ process(pid: ${process.pid}) { startTime } }`);
      const started = Date.now() - process.uptime() * 1000;
      expect(Math.abs(Date.parse(own.process.startTime) - started)).toBeLessThan(5000);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  },
);
