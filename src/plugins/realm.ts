import type { TraceEvent } from '../event/event.js';
import type { PluginFacts } from './definition.js';
import type { Outbox } from './outbox.js';
import type { PluginError, PluginGap, PluginSession } from './protocol.js';

/** Runs one plugin's source. Lives in the plugin's thread; a method that throws DeadError has ended it. */
export interface Realm {
  /** Its default export as data, hooks as the text "function"; null when it has none. */
  readonly definition: unknown;
  start(
    facts: PluginFacts,
    options: Readonly<Record<string, unknown>>,
    session: PluginSession,
    outbox: Outbox,
  ): PluginError | null;
  batch(events: readonly TraceEvent[], gap: PluginGap): PluginError | null;
  interval(): PluginError | null;
  stop(): PluginError | null;
  memoryBytes(): number;
}

/** Nothing can be called any more. */
export class DeadError extends Error {
  readonly plugin: PluginError;

  constructor(plugin: PluginError) {
    super(plugin.message);
    this.plugin = plugin;
  }
}

/** The place in the plugin's source that a stack names first; its file as `file` calls it. */
export function errorOf(message: string, stack: string, file: string): PluginError {
  const at = stack.indexOf(`${file}:`);
  const line = at < 0 ? null : /^\d+/.exec(stack.slice(at + file.length + 1));
  return { message: message.slice(0, 1000), at: line ? `${file}:${line[0]}` : null };
}
