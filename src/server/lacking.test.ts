import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { EunomiaError, KernelError } from '../base/errors.js';
import { loadTrackers } from '../catalog/load.js';
import type { ObjectSpec, Unloaded } from '../kernel/object-spec.js';
import { createRuntime } from '../record/runtime.js';
import { LackingTrackers } from './lacking.js';
import { TrackerTrials } from './trial.js';

const runtimes = (await loadTrackers()).map(createRuntime);
const refused = new KernelError('loading it', 'EINVAL', '');

class KeptInMemory {
  readonly written = Promise.resolve();
  readonly #kept = new Map<string, unknown>();

  read(name: string, source: Uint8Array): unknown {
    return this.#kept.get(name + Buffer.from(source).toString('base64')) ?? null;
  }

  write(name: string, source: Uint8Array, value: unknown): void {
    this.#kept.set(name + Buffer.from(source).toString('base64'), value);
  }
}

/** A server in whose kernel these trackers fail. */
function server(store: KeptInMemory | null, failures: Readonly<Record<string, Error>>, delayMs = 0) {
  const tried: string[] = [];
  const logged: unknown[] = [];
  const log = pino(
    { base: null, timestamp: false },
    new Writable({
      write: (line: Buffer, _encoding, done) => {
        logged.push(JSON.parse(line.toString()));
        done();
      },
    }),
  );
  const tryLoad = ({ name }: ObjectSpec): Promise<Unloaded> => {
    tried.push(name);
    const failure = failures[name];
    return failure ? Promise.reject(failure) : Promise.resolve({ missing: [], refused: [] });
  };
  const trials = new TrackerTrials({ tryLoad }, runtimes, log, new Set(['CAP_SYS_ADMIN']));
  return { tried, logged, trials, lacking: new LackingTrackers({ runtimes, trials, store, delayMs }) };
}

const line = (tracker: string, reason: string): object => ({
  level: 30,
  tracker,
  reason,
  msg: 'a tracker is not available',
});

it('tells which trackers cannot run and why, and a later server knows it without trying any', async () => {
  const store = new KeptInMemory();
  const first = server(store, { dns: refused });
  await first.lacking.tell(new AbortController().signal);
  expect(first.logged).toEqual([line('dns', 'loading it: EINVAL')]);
  expect(first.tried).toHaveLength(runtimes.length);

  const later = server(store, { dns: refused }, 60_000);
  await later.lacking.tell(new AbortController().signal);
  expect(later.logged).toEqual(first.logged);
  expect(later.tried).toEqual([]);
  // Who asks then is told what the kernel says, and the log has it already.
  expect(await later.trials.status('dns')).toMatchObject({ available: false });
  expect(later.logged).toEqual(first.logged);
});

it('tries again in a later server where a reason may pass', async () => {
  const store = new KeptInMemory();
  const first = server(store, { dns: new EunomiaError('NO_CGROUP_ROOT', 'no cgroup v2 hierarchy is mounted') });
  await first.lacking.tell(new AbortController().signal);
  expect(first.logged).toEqual([line('dns', 'no cgroup v2 hierarchy is mounted')]);
  const later = server(store, {});
  await later.lacking.tell(new AbortController().signal);
  expect(later.tried).toHaveLength(runtimes.length);
  expect(later.logged).toEqual([]);
});

it('says nothing of what fails because the server ends, and keeps nothing', async () => {
  const store = new KeptInMemory();
  const ending = new AbortController();
  const first = server(store, Object.fromEntries(runtimes.map(({ definition: { name } }) => [name, refused])), 60_000);
  const told = first.lacking.tell(ending.signal);
  ending.abort();
  await told;
  expect(first.tried).toEqual([]);
  first.trials.close();
  expect(await first.trials.status('open')).toMatchObject({ available: false });
  expect(first.logged).toEqual([]);
  const later = server(store, {});
  await later.lacking.tell(new AbortController().signal);
  expect(later.tried).toHaveLength(runtimes.length);
});
