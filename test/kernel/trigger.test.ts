import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { expect, it } from 'vitest';
import { loadTrackers } from '../../src/catalog/load.js';
import { startTracker } from '../support/session.js';

it.each(await loadTrackers())('what triggers $name makes an event of it', async ({ name, trigger = 'false' }) => {
  const shell = spawn('sh', ['-c', `read start && ${trigger}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
  });
  const events = await startTracker(name, { pids: [shell.pid ?? 0] });
  shell.stdin?.end('\n');
  await once(shell, 'exit');
  expect(await events.stop()).toContainEqual(expect.objectContaining({ tracker: name }));
});
