// `npm run samples`: runs what triggers each tracker under a server of its own, and writes an event of each into
// docs/samples.json. Needs root.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setUpOrExit } from './setup.mjs';
import { root } from './setup/project.mjs';
import { example, samplesFile } from './setup/tracker-docs.mjs';

/** A trigger that takes longer waits for what never comes. */
const TRIGGER_MS = 30_000;

await setUpOrExit({ quiet: true });
const { loadTrackers } = await import('../build/catalog/load.js');
const flags = ['--port', '0', '--engine', 'none', '--data-dir', 'none', '--log-level', 'error'];
const server = spawn(process.execPath, [join(root, 'dist/main.js'), 'serve', ...flags], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  const url = await listening();
  const { trackers } = await ask(url, '{ trackers { name eventType columns } }');
  const samples = {};
  for (const definition of await loadTrackers()) {
    const tracker = trackers.find(({ name }) => name === definition.name);
    samples[definition.name] = await sampleOf(url, tracker, definition);
  }
  writeFileSync(join(root, samplesFile), `${JSON.stringify(samples, null, 2)}\n`);
} finally {
  server.kill();
  await once(server, 'exit');
}
await setUpOrExit({ quiet: true }); // writes docs/trackers.md

async function listening() {
  for await (const line of createInterface(server.stdout)) {
    const url = /https?:\S+/.exec(line)?.[0];
    if (url) return url;
  }
  throw new Error('eunomia serve ended before it listened');
}

async function ask(url, query, variables = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/**
 * An event that the example's options and selection give of the trigger's processes: the first one with a text of the trigger, such
 * as a path, or else the first one.
 */
async function sampleOf(url, tracker, definition) {
  const nodes = /nodes \{.*\}(?= \}\n {2}\})/.exec(example(tracker, definition))?.[0];
  const shell = spawn('sh', ['-c', `read start && ${definition.trigger}; true`], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // a process group, which can be ended as a whole
    env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
  });
  const input = `{ trackers: [{ ${definition.name}: ${definition.example ?? '{}'} }], target: { pids: [${shell.pid}] } }`;
  const { startSession: session } = await ask(url, `mutation { startSession(input: ${input}) { id } }`);
  shell.stdin.write('\n');
  const exited = once(shell, 'exit');
  if ((await Promise.race([exited, sleep(TRIGGER_MS, 'late', { ref: false })])) === 'late') {
    process.kill(-shell.pid, 'SIGKILL');
    throw new Error(
      `${definition.name}: its trigger has not ended after ${TRIGGER_MS / 1000} s: ${definition.trigger}`,
    );
  }
  await ask(url, 'mutation Stop($id: ID!) { stopSession(id: $id) { id } }', session);
  const found = await ask(
    url,
    `query Sample($id: ID!) { session(id: $id) { events(first: 1000) { ${nodes} } } }`,
    session,
  );
  const { nodes: events } = found.session.events;
  const isNamed = (value) => typeof value === 'string' && value.length > 3 && definition.trigger.includes(value);
  const sample = events.find((event) => Object.values(event).some(isNamed)) ?? events[0];
  if (!sample) throw new Error(`${definition.name}: its trigger made no event: ${definition.trigger}`);
  return sample;
}
