import { Peers } from '../access/peers.js';
import type { Config } from '../base/config.js';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { loadTrackers } from '../catalog/load.js';
import { ContainerRegistry } from '../inventory/registry.js';
import { heldCapabilities } from '../kernel/environment.js';
import { ownerOf } from '../kernel/socket-diag.js';
import { createRuntime } from '../record/runtime.js';
import type { TrackerStatus } from '../service/parts.js';
import { engineSources } from './engines.js';
import { foretold, machinery } from './foretold.js';
import type { Ground } from './ground.js';
import { kernelless, unavailable } from './kernelless.js';

const WHY = 'this process loads no BPF programs';

/** This machine without its kernel: its containers, and what can be said of trackers without loading one. Needs no rights. */
export async function openUnwatched({ engines }: Config, log: Log): Promise<Ground> {
  const runtimes = new Map((await loadTrackers()).map((definition) => [definition.name, createRuntime(definition)]));
  const registry = new ContainerRegistry({ log, sources: await engineSources(engines, log) });
  const here = machinery(heldCapabilities());
  const status = (name: string): TrackerStatus => {
    const runtime = runtimes.get(name);
    try {
      if (runtime) return foretold(runtime, here);
    } catch (error) {
      return unavailable(messageOf(error));
    }
    return unavailable('there is no such tracker');
  };
  return {
    kernel: null,
    registry,
    trackers: runtimes,
    peers: new Peers(ownerOf),
    problem: `${WHY}, and starts no sessions`,
    engineless: 'it was asked for no engine',
    async start() {
      await registry.start();
      return kernelless(status);
    },
    close: () => registry.close(),
  };
}
