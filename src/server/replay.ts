import type { Log } from '../base/log.js';
import type { GraphQLSchema } from 'graphql';
import { loadTrackers } from '../catalog/load.js';
import { Recording } from '../formats/index.js';
import { ContainerRegistry } from '../inventory/registry.js';
import { Peers } from '../access/peers.js';
import { ownerOf } from '../kernel/socket-diag.js';
import { createReplay, recordedTracker } from '../session/replay.js';
import type { Ground } from './ground.js';
import { kernelless, unavailable } from './kernelless.js';

/** How much of a recording is held, as RowBatch weighs it: a million events. */
const REPLAY_BYTES = 512 << 20;

/** A recording instead of a kernel: needs neither BPF nor root. Rejects with BAD_RECORDING. */
export async function openRecording(
  { file, speed }: { readonly file: string; readonly speed: number },
  schema: GraphQLSchema,
  log: Log,
): Promise<Ground> {
  const definitions = await loadTrackers();
  const recording = await Recording.open(file, schema, definitions);
  const { session } = recording;
  const trackers = new Map(definitions.map((definition) => [definition.name, recordedTracker(definition)]));
  const registry = new ContainerRegistry({ log, sources: [], cgroups: null });
  const replays = `this server replays ${file}`;
  return {
    kernel: null,
    registry,
    trackers,
    peers: new Peers(ownerOf),
    problem: `${replays}, and starts no sessions of its own`,
    engineless: replays,
    start: async () => kernelless(() => unavailable(replays)),
    async begin(manager) {
      await manager.replay(
        {
          trackers: session.trackers.map((name) => ({ name, options: { ...session.options[name] } })),
          target: null,
          where: null,
          persist: null,
          capture: 'ALL',
          fields: [],
          forMs: null,
          name: session.name,
          labels: session.labels,
          ttlMs: null,
          bufferBytes: REPLAY_BYTES,
          ringBytes: 0,
          limit: null,
          asked: session.asked,
          exported: session.exported,
        },
        createReplay({
          startedAt: session.startedAt,
          entries: recording.entries(),
          problem: () => recording.problem,
          speed,
        }),
      );
    },
    async close() {
      await recording.close();
      await registry.close();
    },
  };
}
