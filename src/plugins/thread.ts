import { Channel } from '../base/channel.js';
import { CallTimer, threadCpuMs } from './cpu.js';
import { badPlugin, checkDefinition, type PluginFacts, type Vocabulary } from './definition.js';
import type {
  CallKind,
  Done,
  RealmKind,
  RealmLimits,
  PluginError,
  PluginProtocol,
  PluginThreadSpec,
} from './protocol.js';
import { readDefinition, readDone, readError, readThreadId } from './reply.js';
import type { PluginSource } from './source.js';
import { workerFile } from '../base/paths.js';

export type { Done } from './protocol.js';

/** What a plugin may take, in a server and in a test of it alike. */
export const defaultLimits: Readonly<Record<RealmKind, RealmLimits>> = {
  TRUSTED: { callMs: 5000, loadMs: 5000, memoryBytes: 256 << 20 },
  SANDBOX: { callMs: 1000, loadMs: 5000, memoryBytes: 64 << 20 },
};

/** The sandbox ends its own calls; this side only ends a sandbox that does not come to it. */
const GRACE_MS: Readonly<Record<RealmKind, number>> = { TRUSTED: 0, SANDBOX: 2000 };
/** A call that uses no processor time is blocked, as `Atomics.wait` blocks, and not merely starved. */
const BLOCKED_MS = 60_000;

/** A trusted plugin shares the thread, and may write to its channel. */
const NO_REPLY: PluginError = { message: 'its thread sent what is no reply to a call', at: null };

/** The plugin's thread has ended, or was ended; `plugin` says why. */
export class PluginDied extends Error {
  readonly plugin: PluginError;

  constructor(plugin: PluginError) {
    super(plugin.message);
    this.plugin = plugin;
  }
}

/**
 * The server's end of a plugin's thread. A call that does not end in time ends the thread; nothing that it does keeps
 * this side waiting.
 */
export class PluginThread {
  readonly #channel: Channel<PluginProtocol>;
  readonly #limits: RealmLimits;
  readonly #graceMs: number;
  /** The kernel's id of the thread; null until it has said it. */
  #id: number | null = null;
  #watchdog: NodeJS.Timeout | null = null;

  private constructor({ file, code }: PluginSource, realm: RealmKind, limits: RealmLimits, strict: boolean) {
    this.#limits = limits;
    this.#graceMs = GRACE_MS[realm];
    const mebibytes = Math.ceil(limits.memoryBytes / (1 << 20));
    this.#channel = new Channel<PluginProtocol>({
      file: workerFile('plugins/worker'),
      worker: {
        name: `plugin ${file}`.slice(0, 60),
        workerData: { file, code, realm, limits, strict } satisfies PluginThreadSpec,
        // The sandbox keeps its own heap, in WebAssembly; what it is handed lies in this one.
        resourceLimits: {
          maxOldGenerationSizeMb: realm === 'TRUSTED' ? mebibytes : 128,
          maxYoungGenerationSizeMb: 32,
          stackSizeMb: 8,
        },
        env: {},
        stdout: true, // what a plugin prints is nobody's output
        stderr: true,
        execArgv: [],
      },
      started: ({ stdout, stderr }) => {
        stdout.resume();
        stderr.resume();
      },
      notes: {
        began: (thread) => void (this.#id = readThreadId(thread)),
        dead: (error) => void this.#end(readError(error) ?? NO_REPLY),
      },
      died: (cause) => {
        const full = cause !== null && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY';
        const why = cause ? `its thread ended: ${cause.message}` : 'its thread ended';
        return new PluginDied({ message: full ? `its memory is full: more than ${mebibytes} MiB` : why, at: null });
      },
      onDeath: () => this.#unwatch(),
    });
  }

  /** Evaluates the source and checks its definition. `strict`: see ThreadSpec. Rejects with BAD_PLUGIN; no thread is left then. */
  static async load(
    source: PluginSource,
    realm: RealmKind,
    limits: RealmLimits,
    vocabulary: Vocabulary,
    strict = false,
  ): Promise<{ readonly thread: PluginThread; readonly facts: PluginFacts }> {
    const thread = new PluginThread(source, realm, limits, strict);
    try {
      const loaded = readDefinition(await thread.#ask('load', null, limits.loadMs + limits.callMs));
      if (loaded === null) throw new PluginDied(NO_REPLY);
      return { thread, facts: checkDefinition(loaded.definition, source.file, vocabulary) };
    } catch (error) {
      await thread.end();
      if (!(error instanceof PluginDied)) throw error;
      const { message, at } = error.plugin;
      throw badPlugin(at ?? source.file, message, at === null ? {} : { at });
    }
  }

  /** Rejects with PluginDied when the thread ends, or has ended. Calls are handled in order. */
  async call<Kind extends CallKind>(
    kind: Kind,
    ask: PluginProtocol['asks'][Kind]['ask'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Done> {
    const ms = this.#limits.callMs + this.#graceMs + (kind === 'start' ? this.#limits.loadMs : 0);
    const done = readDone(await this.#ask(kind, ask, ms, transfer));
    if (done !== null) return done;
    await this.#end(NO_REPLY);
    throw new PluginDied(NO_REPLY);
  }

  /** Idempotent. */
  end(): Promise<void> {
    return this.#end({ message: 'it was ended', at: null });
  }

  async #ask<Kind extends keyof PluginProtocol['asks']>(
    kind: Kind,
    ask: PluginProtocol['asks'][Kind]['ask'],
    ms: number,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<PluginProtocol['asks'][Kind]['reply']> {
    const replied = this.#channel.ask(kind, ask, transfer);
    if (this.#channel.waiting === 1) this.#watch(ms);
    const reply = await replied;
    if (this.#channel.waiting > 0) this.#watch(this.#limits.callMs + this.#graceMs);
    else this.#unwatch();
    return reply;
  }

  /** Of the oldest call: those behind it have not begun. */
  #watch(ms: number): void {
    this.#unwatch();
    const since = performance.now();
    const timer = new CallTimer(ms, () => (this.#id === null ? null : threadCpuMs(this.#id)));
    const look = (): void => {
      const left = timer.remainingMs();
      const blocked = performance.now() - since > BLOCKED_MS;
      if (left > 0 && !blocked) {
        this.#watchdog = setTimeout(look, Math.max(left, 20)).unref();
        return;
      }
      const message =
        left > 0
          ? `a call was blocked for ${BLOCKED_MS / 1000} s`
          : `a call did not end within ${this.#limits.callMs} ms of processor time`;
      void this.#end({ message, at: null });
    };
    this.#watchdog = setTimeout(look, ms).unref();
  }

  #unwatch(): void {
    if (this.#watchdog) clearTimeout(this.#watchdog);
    this.#watchdog = null;
  }

  #end(error: PluginError): Promise<void> {
    this.#unwatch();
    return this.#channel.end(new PluginDied(error));
  }
}
