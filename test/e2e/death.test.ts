import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { WebSocket } from 'ws';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { heldIds, released } from '../support/bpf.js';
import { start } from '../support/workload.js';
import { until } from '../support/until.js';

/** Resolves with the first match of a pattern in what a stream says. */
async function said(stream: Readable | null, pattern: RegExp): Promise<string> {
  if (!stream) throw new Error('the process has no such stream');
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const [, found] = pattern.exec(text) ?? [];
    if (found !== undefined) return found;
  }
  throw new Error(`it ended without ${String(pattern)}: ${text}`);
}

/** Ends the server's worker threads, from its own inspector. */
async function endThreads(inspector: string): Promise<void> {
  const socket = new WebSocket(inspector);
  await once(socket, 'open');
  let next = 1;
  const call = async (method: string, params: object): Promise<{ objectId: string }> => {
    const id = next++;
    const replied = new Promise<{ objectId: string }>((resolve, reject) => {
      const listen = (data: unknown): void => {
        const message = JSON.parse(String(data)) as {
          id?: number;
          error?: object;
          result?: { result?: { objectId: string }; objects?: { objectId: string } };
        };
        if (message.id !== id) return;
        socket.off('message', listen);
        if (message.error) return reject(new Error(JSON.stringify(message.error)));
        resolve(message.result?.objects ?? message.result?.result ?? { objectId: '' });
      };
      socket.on('message', listen);
    });
    socket.send(JSON.stringify({ id, method, params }));
    return replied;
  };
  const prototype = await call('Runtime.evaluate', {
    expression: "process.getBuiltinModule('node:worker_threads').Worker.prototype",
  });
  const workers = await call('Runtime.queryObjects', { prototypeObjectId: prototype.objectId });
  // Prototypes of classes that extend Worker are among them, and throw.
  await call('Runtime.callFunctionOn', {
    objectId: workers.objectId,
    functionDeclaration: 'function () { for (const worker of this) { try { worker.terminate(); } catch {} } }',
  });
  socket.terminate();
}

it('ends with an error, and leaves nothing in the kernel, when the kernel thread dies; its clients are told', async () => {
  const server = start(
    process.execPath,
    [
      '--inspect=127.0.0.1:0',
      join(root, 'dist/main.js'),
      'serve',
      '--port',
      '0',
      '--engine',
      'none',
      '--data-dir',
      'none',
      '--log-level',
      'silent',
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const exited = once(server, 'exit');
  const [inspector, url] = await Promise.all([said(server.stderr, /(ws:\S+)/), said(server.stdout, /(http:\S+)/)]);
  const ask = async (
    query: string,
  ): Promise<{ data: Record<string, { id: string; stats?: { subscribers: object[] } }> }> =>
    (await (
      await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
      })
    ).json()) as { data: Record<string, { id: string }> };
  const { data } = await ask(
    `mutation { startSession(input: { trackers: [{ open: {} }, { exec: {} }], target: { pids: [${process.pid}] } }) { id } }`,
  );
  const id = data['startSession']?.id ?? '';
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: `subscription { events(session: "${id}") { events { tracker } gap { lost } } }` }),
  });
  const told = response.text();
  await until(
    'it is subscribed',
    async () =>
      (await ask(`{ session(id: "${id}") { id stats { subscribers { id } } } }`)).data['session']?.stats?.subscribers
        .length === 1,
  );
  const ids = heldIds(server.pid ?? 0);
  expect(ids.programs.size).toBeGreaterThan(1);
  await endThreads(inspector);
  const [code] = await exited;
  expect(code).toBe(1);
  expect(await told).toContain('KERNEL_THREAD_ENDED');
  await released(ids);
});
