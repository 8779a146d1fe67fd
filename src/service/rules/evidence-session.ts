import type { Alert } from '../../alerts/alert.js';
import { EunomiaError } from '../../base/errors.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Action } from '../../rules/action.js';
import type { RuleAlert } from '../../rules/alert.js';
import type { SessionManager } from '../../session/manager.js';
import type { Session } from '../../session/session.js';
import type { PersistSpec, SessionSpec, TargetSpec } from '../../session/spec.js';

export interface EvidenceOptions {
  readonly manager: Pick<SessionManager, 'start'>;
  readonly catalog: Catalog;
  /** How many may run at once. */
  readonly most: number;
  /** Whether events can be written to the history, so that they outlive the server. */
  readonly isStored: () => Promise<boolean>;
}

const BUFFER_BYTES = 8 << 20;
const RING_BYTES = 4 << 20;
/** How long one that is stored stays in memory when nobody reads it. */
const UNUSED_MS = 300_000;

type Collect = Extract<Action, { readonly kind: 'collect' }>;

/** Sessions that record what a container or a process does after an alert, for whoever looks into it later. */
export class EvidenceSessions {
  readonly #options: EvidenceOptions;
  readonly #started = new Set<Session>();
  #starting = 0;

  constructor(options: EvidenceOptions) {
    this.#options = options;
  }

  get running(): number {
    for (const session of this.#started)
      if (session.state === 'STOPPED' || session.state === 'FAILED') this.#started.delete(session);
    return this.#started.size + this.#starting;
  }

  /** Resolves with the session's id once it runs. Rejects when too many do, and as `SessionManager.start`. */
  async start(action: Collect, raised: RuleAlert, alert: Alert): Promise<string> {
    const { most, manager, isStored } = this.#options;
    if (this.running >= most)
      throw new Error(`${most} sessions collect evidence, which is the most (--max-evidence-sessions)`);
    this.#starting++;
    try {
      const persist: PersistSpec | null = (await isStored()) ? { store: 'EMBEDDED', mode: 'EVENTS' } : null;
      const session = await this.#startOn(targetsOf(raised, alert), (target) =>
        manager.start(this.#specOf(action, alert, target, persist), { isOwn: true }),
      );
      this.#started.add(session);
      return session.id;
    } finally {
      this.#starting--;
    }
  }

  /** The first target that there still is. */
  async #startOn(
    [target, ...others]: readonly TargetSpec[],
    start: (target: TargetSpec) => Promise<Session>,
  ): Promise<Session> {
    if (!target) throw new Error('the process and its parent have ended');
    try {
      return await start(target);
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code !== 'BAD_USER_INPUT') throw error;
      return this.#startOn(others, start);
    }
  }

  #specOf(
    { trackers, forMs, events }: Collect,
    { id, rule }: Alert,
    target: TargetSpec,
    persist: PersistSpec | null,
  ): SessionSpec {
    const { catalog } = this.#options;
    return {
      trackers: trackers.map((name) => ({ name, options: catalog.checkOptions(name, {}) })),
      target,
      where: null,
      capture: 'DEFAULT',
      fields: [],
      forMs,
      name: `evidence of ${rule}`,
      labels: [{ name: 'alert', value: id }],
      ttlMs: persist && UNUSED_MS,
      bufferBytes: BUFFER_BYTES,
      ringBytes: RING_BYTES,
      limit: events,
      persist,
      // No client has asked for it: the alert tells what for.
      asked: null,
    };
  }
}

const NOBODY = { containers: [], waitForContainers: false, cgroups: [], pids: [], uids: [], comms: [] };

/** The container; outside of containers the process with its descendants, or what started it where that has ended. */
function targetsOf({ evidence }: RuleAlert, { container, process }: Alert): readonly TargetSpec[] {
  if (container) return [{ ...NOBODY, containers: [{ id: container.id }], descendants: false }];
  const pids = [process?.pid ?? 0, evidence?.ancestors[0]?.pid ?? 0].filter((pid) => pid > 1);
  return pids.map((pid) => ({ ...NOBODY, pids: [pid], descendants: true }));
}
