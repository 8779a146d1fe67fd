import {
  newQuickJSWASMModuleFromVariant,
  type QuickJSContext,
  type QuickJSHandle,
  type QuickJSRuntime,
} from 'quickjs-emscripten-core';
import type { TraceEvent } from '../event/event.js';
import type { PluginAlert } from '../plugin.js';
import { CallTimer } from './cpu.js';
import type { PluginFacts } from './definition.js';
import { DeadError, errorOf, type Realm } from './realm.js';
import { guest } from './guest.js';
import type { Outbox } from './outbox.js';
import type { RealmLimits, PluginError, PluginGap, PluginSession, PluginThreadSpec } from './protocol.js';
import { idOfEvent } from '../record/place.js';
import { compileRow, type RowMaker } from './row.js';

const STACK_BYTES = 256 * 1024;
const DEFINITION_BYTES = 256 * 1024;

/**
 * The plugin in QuickJS, an interpreter compiled to WebAssembly: its memory is an array of bytes of this thread, its only door the
 * functions of the guest's context. Events go in as JSON with the fields that it reads, one text a batch.
 */
export class SandboxRealm implements Realm {
  readonly definition: unknown;
  readonly #vm: QuickJSContext;
  readonly #runtime: QuickJSRuntime;
  readonly #file: string;
  readonly #limits: RealmLimits;
  readonly #api: QuickJSHandle;
  readonly #call: QuickJSHandle;
  readonly #strict: boolean;
  readonly #timer: CallTimer;
  #outbox: Outbox | null = null;
  #rows: ReadonlyMap<string, RowMaker> = new Map();
  #events: readonly TraceEvent[] = [];

  private constructor(runtime: QuickJSRuntime, { file, code, limits, strict }: PluginThreadSpec) {
    this.#file = file;
    this.#strict = strict;
    this.#limits = limits;
    this.#runtime = runtime;
    runtime.setMemoryLimit(limits.memoryBytes);
    runtime.setMaxStackSize(STACK_BYTES);
    this.#timer = new CallTimer(limits.callMs);
    runtime.setInterruptHandler(() => this.#timer.isOver());
    this.#vm = runtime.newContext();
    const host = this.#vm.newFunction('host', (...handles) => {
      const [kind = '', ...json] = handles.map((handle) =>
        this.#vm.typeof(handle) === 'string' ? this.#vm.getString(handle) : undefined,
      );
      const reply = kind === 'id' ? this.#idOf(json[0]) : this.#said(kind, json);
      return reply === null ? this.#vm.undefined : this.#vm.newString(reply);
    });
    this.#api = this.#run(() => {
      const make = this.#vm.unwrapResult(this.#vm.evalCode(guest, 'eunomia:guest'));
      return this.#vm.unwrapResult(this.#vm.callFunction(make, this.#vm.undefined, host));
    });
    this.#call = this.#vm.getProp(this.#api, 'call');
    const told = this.#run(() => {
      // On the first line of the source, so that its lines keep their numbers.
      const result = this.#vm.evalCode(`(function (exports, require) {${code}\n})`, file);
      const evaluate = result.error ? this.#die(result.error) : result.value;
      const returned = this.#vm.callMethod(this.#api, 'load', [evaluate]);
      return returned.error ? this.#die(returned.error) : this.#vm.getString(returned.value);
    });
    if (told.length > DEFINITION_BYTES)
      throw new DeadError({
        message: `its definition has ${told.length} bytes as JSON; at most ${DEFINITION_BYTES} are allowed`,
        at: null,
      });
    const { definition, message, stack } = JSON.parse(told) as {
      readonly definition?: unknown;
      readonly message?: string;
      readonly stack?: string;
    };
    if (message !== undefined) throw new DeadError(errorOf(message, stack ?? '', file));
    this.definition = definition ?? null;
  }

  static async create(spec: PluginThreadSpec): Promise<SandboxRealm> {
    const module = await newQuickJSWASMModuleFromVariant(import('@jitl/quickjs-wasmfile-release-sync'));
    return new SandboxRealm(module.newRuntime(), spec);
  }

  start(
    { reads, undeclared }: PluginFacts,
    options: Readonly<Record<string, unknown>>,
    session: PluginSession,
    outbox: Outbox,
  ): PluginError | null {
    this.#outbox = outbox;
    this.#rows = new Map(Object.entries(reads).map(([tracker, paths]) => [tracker, compileRow(paths)]));
    const paths = Object.entries(reads).map(([tracker, declared]) => [
      tracker,
      { declared, undeclared: undeclared[tracker] ?? [] },
    ]);
    return this.#hook(
      'start',
      JSON.stringify({ options, session, strict: this.#strict, paths: Object.fromEntries(paths) as unknown }),
    );
  }

  batch(events: readonly TraceEvent[], gap: PluginGap): PluginError | null {
    this.#events = events;
    if (gap)
      this.#run(() =>
        this.#vm
          .callMethod(this.#api, 'gap', [this.#vm.newNumber(gap.lost), this.#vm.newNumber(gap.dropped)])
          .dispose(),
      );
    const rows = events.map((event) => this.#rows.get(event.tracker)?.(event) ?? { tracker: event.tracker });
    try {
      return this.#hook('batch', JSON.stringify(rows));
    } finally {
      this.#events = [];
    }
  }

  interval(): PluginError | null {
    return this.#hook('interval', 'null');
  }

  stop(): PluginError | null {
    return this.#hook('stop', 'null');
  }

  memoryBytes(): number {
    const usage = this.#runtime.computeMemoryUsage();
    const facts = this.#vm.dump(usage) as { readonly memory_used_size?: number };
    usage.dispose();
    return facts.memory_used_size ?? 0;
  }

  #hook(kind: string, text: string): PluginError | null {
    const told = this.#run(() => {
      const handles = [this.#vm.newString(kind), this.#vm.newString(text)] as const;
      const result = this.#vm.callFunction(this.#call, this.#vm.undefined, ...handles);
      for (const handle of handles) handle.dispose();
      if (result.error) return this.#die(result.error);
      const returned = this.#vm.getString(result.value);
      result.value.dispose();
      return returned;
    });
    if (told === '') return null;
    const { message, stack } = JSON.parse(told) as { readonly message: string; readonly stack: string };
    const error = errorOf(message, stack, this.#file);
    // A plugin that caught its own lack of memory, or did not: what it holds is full.
    if (message.startsWith('InternalError: out of memory')) throw new DeadError(error);
    return error;
  }

  /** Runs the guest for as long as one call may take. What comes out of it that is no JavaScript error has ended it. */
  #run<Value>(work: () => Value): Value {
    this.#timer.start();
    try {
      return work();
    } catch (error) {
      if (error instanceof DeadError) throw error;
      throw new DeadError({
        message:
          error instanceof RangeError
            ? 'the stack is full: it calls itself without end'
            : `the sandbox ended: ${String(error)}`,
        at: null,
      });
    } finally {
      this.#timer.stop();
    }
  }

  /** An error that the guest could not catch: its time was up, or its memory is full. */
  #die(handle: QuickJSHandle): never {
    this.#timer.start();
    const {
      message = 'unknown',
      name = 'Error',
      stack = '',
      lineNumber,
    } = (this.#vm.dump(handle) ?? {}) as Record<string, string | undefined>;
    const line = lineNumber === undefined ? stack : `${this.#file}:${lineNumber}`;
    if (message === 'interrupted')
      throw new DeadError(errorOf(`did not end within ${this.#limits.callMs} ms of processor time`, stack, this.#file));
    throw new DeadError(errorOf(`${name}: ${message}`, line, this.#file));
  }

  #idOf(index: string | undefined): string | null {
    const event = this.#events[Number(index)];
    return event ? idOfEvent(event) : null;
  }

  /** Which event something is about: an index stands for one that the guest was given. */
  #aboutOf(about: unknown): unknown {
    const index = objectOf(about)?.['index'];
    return typeof index === 'number' ? { event: this.#events[index] } : about;
  }

  /** Returns why it refuses; null when it does not. */
  #said(kind: string, json: readonly (string | undefined)[]): string | null {
    const outbox = this.#outbox;
    if (!outbox) return `nothing can be said before onStart`;
    try {
      const [first, second, third] = json;
      // The text is the guest's own JSON, but of whatever the plugin made of it.
      const value = (text: string | undefined): unknown => (text === undefined ? undefined : JSON.parse(text));
      if (kind === 'emit')
        outbox.emit(
          value(first),
          second === undefined ? undefined : JSON.stringify(value(second)),
          third === undefined ? undefined : this.#aboutOf(value(third)),
        );
      else if (kind === 'alert')
        outbox.alert((value(first) ?? {}) as PluginAlert, objectOf(this.#aboutOf(value(second)))?.['event']);
      else if (kind === 'log') outbox.log(value(first));
      else if (kind === 'counter' || kind === 'gauge' || kind === 'histogram')
        outbox.metric(kind, value(first), value(second), objectOf(value(third)) ?? {});
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | null {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null;
}
