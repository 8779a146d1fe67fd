import type { Caller } from '../../access/caller.js';
import { Refusals } from '../../analysis/advice/refusal.js';
import type { Refusal } from '../../event/advice.js';
import type { TraceEvent } from '../../event/event.js';
import type { TrackerInput } from '../../generated/schema.js';
import type { Parts } from '../parts.js';
import type { Sessions } from '../sessions.js';
import type { SessionHandle } from '../session/handle.js';

/** What shows refusals, and the programs that were refused. */
export const refusalTrackers: readonly TrackerInput[] = [
  { seccomp: {} },
  { capability: { deniedOnly: true, every: 500 } },
  { open: { failedOnly: true } },
  { fsop: { failedOnly: true } },
  { exec: { failed: false } },
  // For their stacks: of a capability, and of a path that is not opened, nobody else has one.
  { syscall: { failedOnly: true } },
];

/** Their filter. Of calls that fail, only those that were refused: programs fail in many others, as a matter of course. */
export const refusalFilter = 'tracker != "syscall" || errno in ["EPERM", "EACCES", "EROFS"]';

/** A session of one or more copies, which is in no list of a client's and is removed with the watch. */
export class Watch {
  readonly #sessions: Sessions;
  readonly #parts: Pick<Parts, 'catalog'>;
  readonly #caller: Caller;
  readonly #handle: SessionHandle;

  private constructor(sessions: Sessions, parts: Pick<Parts, 'catalog'>, caller: Caller, handle: SessionHandle) {
    this.#sessions = sessions;
    this.#parts = parts;
    this.#caller = caller;
    this.#handle = handle;
  }

  /** Before the copies start: of those that have not begun, the first call is seen. Rejects as `Sessions.start` does. */
  static async begin(
    sessions: Sessions,
    parts: Pick<Parts, 'catalog'>,
    caller: Caller,
    {
      ids,
      trackers,
      where = null,
      stacks = false,
    }: {
      readonly ids: readonly string[];
      readonly trackers: readonly TrackerInput[];
      readonly where?: string | null;
      readonly stacks?: boolean;
    },
  ): Promise<Watch> {
    const handle = await sessions.start(caller, {
      trackers: [...trackers],
      target: { containers: ids.map((id) => ({ id })), waitForContainers: true },
      capture: stacks ? 'ALL' : 'DEFAULT',
      where: where === null ? null : { expr: where },
      name: 'advice: copies of a container',
    });
    return new Watch(sessions, parts, caller, handle);
  }

  /** All events so far, in their order. */
  async *events(): AsyncGenerator<TraceEvent, void> {
    const handle = await this.#sessions.need(this.#caller, this.#handle.id);
    const origin = await handle.events();
    for await (const { events } of origin.parts({})) yield* events;
  }

  async refusals(): Promise<readonly Refusal[]> {
    const feeds = new Map(this.#parts.catalog.trackers.map(({ name, report }) => [name, report]));
    const refusals = new Refusals();
    for await (const event of this.events()) {
      const feed = feeds.get(event.tracker);
      if (feed) refusals.add(event, feed);
    }
    return refusals.all;
  }

  /** Reads what the kernel still holds. */
  async stop(): Promise<void> {
    await this.#sessions.stop(this.#caller, this.#handle.id);
  }

  async remove(): Promise<void> {
    await this.#sessions.remove(this.#caller, this.#handle.id);
  }
}
