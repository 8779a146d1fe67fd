import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { EunomiaError } from '../../errors.js';
import { badPlugin, checkDefinition, type PluginFacts, type Vocabulary } from './definition.js';
import type { Call, EngineKind, EngineLimits, PluginError, Reply } from './protocol.js';
import type { PluginSource } from './source.js';

export type Done = Extract<Reply, { kind: 'done' }>;

/** A thread that is starved of its processor is not one that loops for ever. */
const GRACE_MS = 2000;
const LOAD_MS = 5000;
/** Two folders and dist: the same from src/ and from dist/. */
const WORKER = fileURLToPath(new URL('../../../dist/consumers/plugins/worker.js', import.meta.url));

/** The plugin's thread has ended, or was ended; `plugin` says why. */
export class PluginDied extends Error {
  readonly plugin: PluginError;

  constructor(plugin: PluginError) {
    super(plugin.message);
    this.plugin = plugin;
  }
}

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: PluginDied) => void;
}

/** The server's end of a plugin's thread. A call that does not end in time ends the thread; nothing that it does keeps this side waiting. */
export class PluginThread {
  readonly #worker: Worker;
  readonly #limits: EngineLimits;
  readonly #pending: Pending[] = [];
  #watchdog: NodeJS.Timeout | null = null;
  #dead: PluginDied | null = null;

  private constructor({ file, code }: PluginSource, engine: EngineKind, limits: EngineLimits) {
    this.#limits = limits;
    const mebibytes = Math.ceil(limits.memoryBytes / (1 << 20));
    this.#worker = new Worker(WORKER, {
      name: `plugin ${file}`.slice(0, 60),
      workerData: { file, code, engine, limits },
      // The sandbox keeps its own heap, in WebAssembly; what it is handed lies in this one.
      resourceLimits: {
        maxOldGenerationSizeMb: engine === 'TRUSTED' ? mebibytes : 128,
        maxYoungGenerationSizeMb: 32,
        stackSizeMb: 8,
      },
      env: {},
      stdout: true, // what a plugin prints is nobody's answer
      stderr: true,
      execArgv: [],
    });
    this.#worker.on('message', (reply: Reply) => this.#receive(reply));
    this.#worker.on('error', (error: NodeJS.ErrnoException) => {
      const full = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.#die({
        message: full ? `its memory is full: more than ${mebibytes} MiB` : `its thread ended: ${error.message}`,
        at: null,
      });
    });
    this.#worker.on('exit', () => this.#die({ message: 'its thread ended', at: null }));
    this.#worker.stdout.resume();
    this.#worker.stderr.resume();
  }

  /** Evaluates the source and checks its definition. Rejects with BAD_PLUGIN; no thread is left then. */
  static async load(
    source: PluginSource,
    engine: EngineKind,
    limits: EngineLimits,
    vocabulary: Vocabulary,
  ): Promise<{ readonly thread: PluginThread; readonly facts: PluginFacts }> {
    const thread = new PluginThread(source, engine, limits);
    try {
      const reply = await thread.#expect(LOAD_MS + limits.callMs);
      if (reply.kind !== 'loaded') throw new PluginDied({ message: 'it answered before it was asked', at: null });
      return { thread, facts: checkDefinition(reply.definition, source.file, vocabulary) };
    } catch (error) {
      await thread.end();
      if (!(error instanceof PluginDied)) throw error;
      const { message, at } = error.plugin;
      throw badPlugin(at ?? source.file, message, at === null ? {} : { at });
    }
  }

  /** Rejects with PluginDied when the thread ends, or has ended. Calls are answered in order. */
  async call(call: Call, transfer: readonly ArrayBuffer[] = []): Promise<Done> {
    if (this.#dead) throw this.#dead;
    this.#worker.postMessage(call, [...transfer]);
    const reply = await this.#expect(this.#limits.callMs + GRACE_MS + (call.kind === 'start' ? LOAD_MS : 0));
    if (reply.kind === 'done') return reply;
    throw new EunomiaError('PLUGIN_PROTOCOL', 'a plugin’s thread answered what it was not asked');
  }

  /** Idempotent. */
  async end(): Promise<void> {
    this.#die({ message: 'it was ended', at: null });
    await this.#worker.terminate();
  }

  #expect(ms: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      if (this.#pending.length === 1) this.#watch(ms);
    });
  }

  /** Of the oldest call: those behind it have not begun. */
  #watch(ms: number): void {
    if (this.#watchdog) clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#die({ message: `a call did not end within ${this.#limits.callMs} ms`, at: null });
      void this.#worker.terminate();
    }, ms).unref();
  }

  #receive(reply: Reply): void {
    if (reply.kind === 'dead') {
      this.#die(reply.error);
      void this.#worker.terminate();
      return;
    }
    this.#pending.shift()?.resolve(reply);
    if (this.#pending.length) this.#watch(this.#limits.callMs + GRACE_MS);
    else if (this.#watchdog) clearTimeout(this.#watchdog);
  }

  #die(error: PluginError): void {
    this.#dead ??= new PluginDied(error);
    if (this.#watchdog) clearTimeout(this.#watchdog);
    for (const { reject } of this.#pending.splice(0)) reject(this.#dead);
  }
}
