import { workNames, type PluginWork as Work, type WorkCounts } from '../event/work.js';
import type { Attachment, AttachmentState } from './attachment.js';

export type AttachedWork = Work<AttachmentState>;

const none = Object.fromEntries(workNames.map((name) => [name, 0])) as WorkCounts;
/** Names whose sums are kept; those that have not been at work for the longest go. */
const MAX_NAMES = 256;

/** Sums over all sessions of a plugin, those that are gone included. */
export class WorkBook {
  readonly #gone = new Map<string, WorkCounts>();

  /** The attachment is forgotten: what it counted stays. */
  retire(plugin: string, attachment: Attachment): void {
    const sum = added(this.#gone.get(plugin) ?? none, attachment);
    this.#gone.delete(plugin);
    this.#gone.set(plugin, sum);
    for (const oldest of this.#gone.keys()) {
      if (this.#gone.size <= MAX_NAMES) break;
      this.#gone.delete(oldest);
    }
  }

  /** One for each name: those that were at work once, and those that are loaded. */
  sums(loaded: readonly string[], attachments: readonly (readonly [string, Attachment])[]): AttachedWork[] {
    const all = new Set([...loaded, ...attachments.map(([name]) => name), ...this.#gone.keys()]);
    return [...all].map((plugin) => {
      const its = attachments.flatMap(([name, attachment]) => (name === plugin ? [attachment] : []));
      const states = { STARTING: 0, RUNNING: 0, BACKOFF: 0, STOPPED: 0, FAILED: 0 };
      for (const { state } of its) states[state]++;
      const atWork = its.filter(({ state }) => state === 'RUNNING' || state === 'STARTING');
      return {
        plugin,
        counts: its.reduce(added, this.#gone.get(plugin) ?? none),
        queued: its.reduce((sum, { queued }) => sum + queued, 0),
        memoryBytes: atWork.reduce((sum, { counts }) => sum + counts.memoryBytes, 0),
        states,
      };
    });
  }
}

function added(sum: WorkCounts, { counts, dropped }: Attachment): WorkCounts {
  const its = { ...counts, dropped };
  return Object.fromEntries(workNames.map((name) => [name, sum[name] + its[name]])) as WorkCounts;
}
