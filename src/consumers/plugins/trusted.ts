import { getHeapStatistics } from 'node:v8';
import { compileFunction } from 'node:vm';
import type { TraceEvent } from '../../event.js';
import type { PluginAlert } from '../../plugin.js';
import type { PluginFacts } from './definition.js';
import { DeadError, errorOf, type Engine } from './engine.js';
import type { Outbox } from './outbox.js';
import type { PluginError, PluginGap, PluginSession, ThreadSpec } from './protocol.js';

type Hook = (...args: readonly unknown[]) => unknown;
type Exported = Readonly<Record<string, unknown>>;

/** The plugin in the thread's own JavaScript: events reach it as lazy views. It has the server's rights; its thread keeps it from being in the way. */
export class TrustedEngine implements Engine {
  readonly definition: unknown;
  readonly #plugin: Exported;
  readonly #file: string;
  #context: { gap: PluginGap } & Readonly<Record<string, unknown>> = { gap: null };

  constructor({ file, code }: Pick<ThreadSpec, 'file' | 'code'>) {
    this.#file = file;
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
    { name }: PluginFacts,
    options: Readonly<Record<string, unknown>>,
    session: PluginSession,
    outbox: Outbox,
  ): PluginError | null {
    this.#context = {
      options,
      session,
      gap: null,
      emit: (kind: string, value: object) => outbox.emit(kind, JSON.stringify(value)),
      alert: (alert: PluginAlert) => outbox.alert(alert, alert.event ?? null),
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
    const error = this.#call('onBatch', [events, this.#context]);
    this.#context.gap = null;
    return error;
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
      const answer: unknown = Reflect.apply(hook, this.#plugin, args);
      if (answer instanceof Promise) {
        answer.catch(() => undefined);
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
