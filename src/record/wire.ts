import type { Container, MutableContainer } from '../inventory/container.js';
import { EunomiaError } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import { loadTrackers } from '../catalog/load.js';
import {
  cgroupIdAt,
  headerOffsets,
  initAt,
  RecordBatch,
  type BatchContext,
  type BatchPlace,
  type EventBatch,
} from './batch.js';
import { placeAt } from './place.js';
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
  /** Whose records are whose: cgroup id, mount namespace, pid namespace, index in `containers`, for each of these that has a container. */
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
  const seen = new OwnerMap<true>();
  let [lastCgroup, lastMountNs, lastInit] = [-1, -1, -1];
  const add = (at: number): void => {
    const cgroup = cgroupIdAt(batch.view, at);
    const mountNs = batch.view.getUint32(at + headerOffsets.mountNs, true);
    const init = initAt(batch.view, at);
    if (cgroup === lastCgroup && mountNs === lastMountNs && init === lastInit) return;
    [lastCgroup, lastMountNs, lastInit] = [cgroup, mountNs, init];
    if (seen.get(cgroup, mountNs, init)) return;
    seen.set(cgroup, mountNs, init, true);
    const container = batch.containerAt(at);
    if (!container) return;
    const index = containers.get(container) ?? containers.size;
    containers.set(container, index);
    owners.push(cgroup, mountNs, init, index);
  };
  for (const at of batch.offsets) {
    add(at);
    const second = batch.secondAt(at);
    if (second !== null) add(second);
  }
  return { containers: [...containers.keys()] as Container[], owners: Float64Array.from(owners) };
}

/**
 * The other end of `packBatch`. One a session, for its trackers by name and in their order. Events know their places if it knows the
 * session's id.
 */
export class BatchReader {
  readonly #views: BatchContext['views'];
  readonly #session: string | undefined;
  /** One object a container, as everywhere: what was said of it last. */
  readonly #containers = new Map<string, MutableContainer>();

  private constructor(views: BatchContext['views'], session: string | undefined) {
    this.#views = views;
    this.#session = session;
  }

  /** Rejects with UNKNOWN_TRACKER, or BAD_OBJECT when a tracker was not compiled. */
  static async create(trackers: readonly string[], session?: string): Promise<BatchReader> {
    const definitions = await loadTrackers();
    const runtimes = trackers.map((name) => {
      const definition = definitions.find((one) => one.name === name);
      if (!definition) throw new EunomiaError('UNKNOWN_TRACKER', `there is no tracker "${name}"`);
      return createRuntime(definition);
    });
    return new BatchReader(
      runtimes.map(({ view }) => view),
      session,
    );
  }

  read(message: BatchMessage): EventBatch {
    const session = this.#session;
    if (message.kind === 'rows') {
      const batch = new RowBatch(message.events, message.place, message.places);
      // A symbol does not go between threads.
      if (session !== undefined) batch.events.forEach((event, i) => placeAt(event, { session, seq: batch.placeOf(i) }));
      return batch;
    }
    const { data, offsets, place, places } = message;
    const context = {
      views: this.#views,
      containerAt: this.#finder(message),
      ...(session !== undefined && { session }),
    };
    return new RecordBatch(data, offsets, context, place, places);
  }

  #finder({ containers, owners }: RecordMessage): BatchContext['containerAt'] {
    const here = containers.map((container) => this.#know(container));
    const known = new OwnerMap<Container>();
    for (let i = 0; i < owners.length; i += 4) {
      const [cgroup = 0, mountNs = 0, init = 0, index = 0] = owners.subarray(i, i + 4);
      const container = here[index];
      if (container) known.set(cgroup, mountNs, init, container);
    }
    return (view, at) =>
      known.get(cgroupIdAt(view, at), view.getUint32(at + headerOffsets.mountNs, true), initAt(view, at)) ?? null;
  }

  #know(container: Container): Container {
    const known = this.#containers.get(container.id);
    if (known) return Object.assign(known, container);
    this.#containers.set(container.id, container);
    return container;
  }
}

/** By all that a record is joined to its container by. */
class OwnerMap<T> {
  readonly #byCgroup = new Map<number, Map<number, Map<number, T>>>();

  get(cgroup: number, mountNs: number, init: number): T | undefined {
    return this.#byCgroup.get(cgroup)?.get(mountNs)?.get(init);
  }

  set(cgroup: number, mountNs: number, init: number, value: T): void {
    const byMount = this.#byCgroup.get(cgroup) ?? new Map<number, Map<number, T>>();
    const byInit = byMount.get(mountNs) ?? new Map<number, T>();
    this.#byCgroup.set(cgroup, byMount.set(mountNs, byInit.set(init, value)));
  }
}
