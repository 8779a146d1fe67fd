import { getHeapStatistics } from 'node:v8';
import { compileFunction } from 'node:vm';
import type { TraceEvent } from '../event/event.js';
import type { PluginAlert } from '../plugin.js';
import type { PluginFacts } from './definition.js';
import { DeadError, errorOf, type Realm } from './realm.js';
import type { Outbox } from './outbox.js';
import type { PluginError, PluginGap, PluginSession, PluginThreadSpec } from './protocol.js';
import { compilePluginView, strictView, type EventViewClass, type ReadPaths } from './view.js';

type Hook = (...args: readonly unknown[]) => unknown;
type Exported = Readonly<Record<string, unknown>>;

/**
 * The plugin in the thread's own JavaScript: events reach it as lazy views. It has the server's rights; its thread
 * keeps it from being in the way.
 */
export class TrustedRealm implements Realm {
  readonly definition: unknown;
  readonly #plugin: Exported;
  readonly #file: string;
  readonly #strict: boolean;
  #views: ReadonlyMap<string, { readonly View: EventViewClass; readonly paths: ReadPaths }> = new Map();
  /** Of strict views, which are proxies: the event behind each. */
  #behind = new WeakMap<object, TraceEvent>();
  #context: { gap: PluginGap } & Readonly<Record<string, unknown>> = { gap: null };

  constructor({ file, code, strict }: Pick<PluginThreadSpec, 'file' | 'code' | 'strict'>) {
    this.#file = file;
    this.#strict = strict;
    const exported: Record<string, unknown> = {};
    try {
      const evaluate = compileFunction(code, ['exports', 'require'], { filename: file }) as Hook;
      evaluate(exported, (name: string) => {
        if (name === 'eunomia/plugin') return { definePlugin: (definition: unknown) => definition };
        throw new Error(`cannot import "${name}": a plugin imports "eunomia/plugin" and nothing else`);
      });
    } catch (error) {
      throw new DeadError(told(error, file));
    }
    const plugin = exported['default'];
    this.#plugin = (typeof plugin === 'object' && plugin !== null ? plugin : {}) as Exported;
    this.definition =
      plugin === undefined
        ? null
        : (JSON.parse(
            JSON.stringify(plugin, (_key, value: unknown) => (typeof value === 'function' ? 'function' : value)) ??
              'null',
          ) as unknown);
  }

  start(
    { name, reads, undeclared }: PluginFacts,
    options: Readonly<Record<string, unknown>>,
    session: PluginSession,
    outbox: Outbox,
  ): PluginError | null {
    this.#views = new Map(
      Object.entries(reads).map(([tracker, declared]) => {
        const paths = { declared, undeclared: undeclared[tracker] ?? [] };
        return [tracker, { View: compilePluginView(tracker, paths), paths }];
      }),
    );
    this.#context = {
      options,
      session,
      gap: null,
      emit: (kind: string, value: object, about?: unknown) =>
        outbox.emit(kind, JSON.stringify(value), this.#aboutOf(about)),
      alert: (alert: PluginAlert) => outbox.alert(alert, this.#eventOf(alert.event)),
      count: (metric: string, labels?: Readonly<Record<string, string>>, by = 1) =>
        outbox.metric('counter', metric, by, labels),
      gauge: (metric: string, value: number, labels?: Readonly<Record<string, string>>) =>
        outbox.metric('gauge', metric, value, labels),
      observe: (metric: string, value: number, labels?: Readonly<Record<string, string>>) =>
        outbox.metric('histogram', metric, value, labels),
      log: (text: string) => outbox.log(text),
      plugin: name,
    };
    return this.#call('onStart', [this.#context]);
  }

  batch(events: readonly TraceEvent[], gap: PluginGap): PluginError | null {
    this.#context.gap = gap;
    const error = this.#call('onBatch', [events.map((event) => this.#viewOf(event)), this.#context]);
    this.#context.gap = null;
    return error;
  }

  #viewOf(event: TraceEvent): object {
    const known = this.#views.get(event.tracker);
    if (!known) return { tracker: event.tracker };
    const view = new known.View(event);
    if (!this.#strict) return view;
    const strict = strictView(view, event.tracker, known.paths);
    this.#behind.set(strict, event);
    return strict;
  }

  /** An alert's process and container are told whole, whichever of their fields the plugin reads. */
  #eventOf(shown: unknown): unknown {
    if (typeof shown !== 'object' || shown === null) return shown;
    const behind = this.#behind.get(shown);
    if (behind) return behind;
    for (const { View } of this.#views.values()) {
      const event = View.eventOf(shown);
      if (event) return event;
    }
    return shown;
  }

  #aboutOf(about: unknown): unknown {
    return typeof about === 'object' && about !== null && 'event' in about
      ? { event: this.#eventOf(about.event) }
      : about;
  }

  interval(): PluginError | null {
    return this.#call('onInterval', [this.#context]);
  }

  stop(): PluginError | null {
    return this.#call('onStop', [this.#context]);
  }

  memoryBytes(): number {
    return getHeapStatistics().used_heap_size;
  }

  #call(name: string, args: readonly unknown[]): PluginError | null {
    const hook = this.#plugin[name];
    if (typeof hook !== 'function') return null;
    try {
      const returned: unknown = Reflect.apply(hook, this.#plugin, args);
      if (returned instanceof Promise) {
        returned.catch(() => undefined);
        throw new TypeError(`${name} must not be async: there is nothing to wait for`);
      }
      return null;
    } catch (error) {
      return told(error, this.#file);
    }
  }
}

function told(error: unknown, file: string): PluginError {
  return error instanceof Error
    ? errorOf(`${error.name}: ${error.message}`, error.stack ?? '', file)
    : errorOf(String(error), '', file);
}
