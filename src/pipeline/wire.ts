import type { Container, MutableContainer } from '../containers/container.js';
import { EunomiaError } from '../errors.js';
import type { TraceEvent } from '../event.js';
import { loadTrackers } from '../trackers/load.js';
import {
  cgroupIdAt,
  headerOffsets,
  RecordBatch,
  type BatchContext,
  type BatchPlace,
  type EventBatch,
} from './batch.js';
import { RowBatch } from './row.js';
import { createRuntime } from './runtime.js';

/**
 * Batches between threads. Records go as a copy of their bytes with the facts of their containers, as those are at this moment;
 * at the other end the events are the same views, as lazy as here.
 */

/** Plain data that `postMessage` takes. */
export type BatchMessage = RecordMessage | RowMessage;

interface RecordMessage {
  readonly kind: 'records';
  readonly place: BatchPlace;
  readonly places: Uint32Array | null;
  readonly data: ArrayBuffer;
  readonly offsets: Uint32Array;
  readonly containers: readonly Container[];
  /** Whose records are whose: cgroup id, mount namespace, index in `containers`, for each pair that is there and has a container. */
  readonly owners: Float64Array;
}

interface RowMessage {
  readonly kind: 'rows';
  readonly place: BatchPlace;
  readonly places: Uint32Array | null;
  readonly events: readonly TraceEvent[];
}

/** `transfer` is `postMessage`'s second argument: what it names moves instead of being copied once more. */
export function packBatch(batch: EventBatch): { readonly message: BatchMessage; readonly transfer: ArrayBuffer[] } {
  const { clock, seq, lost, lostFrom, lostTo, places } = batch;
  const place = { clock, seq, lost, lostFrom, lostTo };
  if (batch instanceof RowBatch)
    return { message: { kind: 'rows', place, places, events: batch.events }, transfer: [] };
  if (!(batch instanceof RecordBatch)) throw new TypeError('a batch of an unknown kind');
  const data = batch.bytes.slice().buffer;
  const offsets = batch.offsets.slice();
  const { containers, owners } = ownersOf(batch);
  return {
    message: { kind: 'records', place, places, data, offsets, containers, owners },
    transfer: [data, offsets.buffer as ArrayBuffer, owners.buffer as ArrayBuffer],
  };
}

function ownersOf(batch: RecordBatch): { containers: Container[]; owners: Float64Array } {
  const containers = new Map<object, number>();
  const owners: number[] = [];
  const seen = new Map<number, Set<number>>();
  let lastCgroup = -1;
  let lastMountNs = -1;
  for (const at of batch.offsets) {
    const cgroup = cgroupIdAt(batch.view, at);
    const mountNs = batch.view.getUint32(at + headerOffsets.mountNs, true);
    if (cgroup === lastCgroup && mountNs === lastMountNs) continue;
    lastCgroup = cgroup;
    lastMountNs = mountNs;
    const known = seen.get(cgroup);
    if (known?.has(mountNs)) continue;
    seen.set(cgroup, (known ?? new Set()).add(mountNs));
    const container = batch.containerAt(at);
    if (!container) continue;
    const index = containers.get(container) ?? containers.size;
    containers.set(container, index);
    owners.push(cgroup, mountNs, index);
  }
  return { containers: [...containers.keys()] as Container[], owners: Float64Array.from(owners) };
}

/** The other end of `packBatch`. One a session, for its trackers by name and in their order. */
export class BatchReader {
  readonly #views: BatchContext['views'];
  /** One object a container, as everywhere: what was said of it last. */
  readonly #containers = new Map<string, MutableContainer>();

  private constructor(views: BatchContext['views']) {
    this.#views = views;
  }

  /** Rejects with UNKNOWN_TRACKER, or BAD_OBJECT when a tracker was not compiled. */
  static async create(trackers: readonly string[]): Promise<BatchReader> {
    const definitions = await loadTrackers();
    const runtimes = trackers.map((name) => {
      const definition = definitions.find((one) => one.name === name);
      if (!definition) throw new EunomiaError('UNKNOWN_TRACKER', `there is no tracker "${name}"`);
      return createRuntime(definition);
    });
    return new BatchReader((await Promise.all(runtimes)).map(({ view }) => view));
  }

  read(message: BatchMessage): EventBatch {
    if (message.kind === 'rows') return new RowBatch(message.events, message.place, message.places);
    const { data, offsets, place, places } = message;
    return new RecordBatch(data, offsets, { views: this.#views, containerAt: this.#finder(message) }, place, places);
  }

  #finder({ containers, owners }: RecordMessage): BatchContext['containerAt'] {
    const here = containers.map((container) => this.#know(container));
    const byCgroup = new Map<number, Map<number, Container>>();
    for (let i = 0; i < owners.length; i += 3) {
      const [cgroup = 0, mountNs = 0, index = 0] = owners.subarray(i, i + 3);
      const container = here[index];
      const mounts = byCgroup.get(cgroup) ?? new Map<number, Container>();
      if (container) byCgroup.set(cgroup, mounts.set(mountNs, container));
    }
    return (view, at) =>
      byCgroup.get(cgroupIdAt(view, at))?.get(view.getUint32(at + headerOffsets.mountNs, true)) ?? null;
  }

  #know(container: Container): Container {
    const known = this.#containers.get(container.id);
    if (known) return Object.assign(known, container);
    this.#containers.set(container.id, container);
    return container;
  }
}
