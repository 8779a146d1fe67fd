import { availableParallelism, machine, release } from 'node:os';
import type { TrackerStatus } from '../service/parts.js';
import type { Machine } from './ground.js';

/** What is known of this machine where its kernel is not asked. */
export function kernelless(trackerStatus: Machine['trackerStatus']): Machine {
  return {
    facts: { release: release(), architecture: machine(), cpus: availableParallelism(), libbpf: null, features: [] },
    trackerStatus,
    snapshots: null,
    processes: null,
    process: () => null,
  };
}

/** Of a tracker that cannot run, and of which no more is known. */
export function unavailable(reason: string): TrackerStatus {
  return { available: false, reason, hooks: [], capabilities: [], missingCapabilities: [], blindSpots: [] };
}
