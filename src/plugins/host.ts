import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FolderWatch } from '../base/folder-watch.js';
import { EunomiaError, invalid, messageOf, suggest } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { Session } from '../session/session.js';
import { Attachment, type LoadedPlugin, type Restart } from './attachment.js';
import { checkOptions, type Vocabulary } from './definition.js';
import type { PluginMetrics, PluginMetricSample } from './metrics.js';
import type { RealmKind, RealmLimits, OutgoingAlert } from './protocol.js';
import { compileSource, pluginFiles, readPlugin, type PluginSource } from './source.js';
import { defaultLimits, PluginThread } from './thread.js';
import { WorkBook, type AttachedWork } from './work.js';

export interface HostOptions {
  readonly vocabulary: Vocabulary;
  /** Of the server's own plugins, which are trusted; null when there is none. */
  readonly directory: string | null;
  readonly log: Log;
  readonly session: (id: string) => Session | undefined;
  readonly raise: (alert: OutgoingAlert, plugin: string, session: string) => void;
  readonly limits?: Partial<Readonly<Record<RealmKind, RealmLimits>>>;
}

/** A plugin that sessions can be given. */
export interface Plugin extends LoadedPlugin {
  readonly origin: 'DIRECTORY' | 'UPLOAD';
  readonly loadedAt: string;
  /** Why a newer version of its file is not in force; null when it is. */
  problem: string | null;
}

/** What somebody asks a session to be given. */
export interface PluginRequest {
  readonly name: string;
  readonly options: unknown;
  readonly restart: Restart;
}

const MAX_PLUGINS = 64;
const MAX_ATTACHMENTS = 32;
const SWEEP_MS = 5000;
/** How long whoever stopped a session waits for its plugins' last word. */
const LAST_WORD_MS = 10_000;

/** The plugins of the server: loads, attaches, reloads, forgets. */
export class PluginHost implements PluginMetrics {
  readonly #options: HostOptions;
  readonly #limits: Readonly<Record<RealmKind, RealmLimits>>;
  readonly #plugins = new Map<string, Plugin>();
  /** Session id → plugin's name → what it does there. */
  readonly #attachments = new Map<string, Map<string, Attachment>>();
  readonly #work = new WorkBook();
  /** Path → hash of what was read last. */
  readonly #files = new Map<string, string>();
  /** Path → what was said of it last, so that it is said once. */
  readonly #problems = new Map<string, string>();
  readonly #sweeping: NodeJS.Timeout;
  #watch: FolderWatch | null = null;
  #closed = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /**
   * Loads the directory and watches it. Rejects with UNSAFE_PLUGINS or BAD_PLUGIN: a server that was to run a plugin
   * does not start without it.
   */
  async open(): Promise<void> {
    const { directory } = this.#options;
    if (directory === null) return;
    const paths = await pluginFiles(directory);
    await Promise.all(paths.map((path) => this.#loadFile(path)));
    this.#watch = new FolderWatch({
      directory,
      look: () => this.#look(directory),
      onError: (error, what) => this.#options.log.error({ err: error, directory }, what),
      always: true,
    });
  }

  /** By name. */
  list(): Plugin[] {
    return [...this.#plugins.values()].sort((a, b) => (a.facts.name < b.facts.name ? -1 : 1));
  }

  get(name: string): Plugin | undefined {
    return this.#plugins.get(name);
  }

  /** Takes a plugin that somebody sent: it runs in the sandbox. Rejects with BAD_PLUGIN, PLUGIN_EXISTS or TOO_MANY_PLUGINS. */
  async upload(file: string, text: string, replace: boolean): Promise<Plugin> {
    const { source, facts } = await this.#examine(await compileSource(file, text), 'SANDBOX');
    const known = this.#plugins.get(facts.name);
    if (known?.origin === 'DIRECTORY')
      throw new EunomiaError(
        'PLUGIN_EXISTS',
        `the server has a plugin "${facts.name}" of its own; give yours another name`,
      );
    if (known && !replace)
      throw new EunomiaError(
        'PLUGIN_EXISTS',
        `there is a plugin "${facts.name}" already, version ${known.facts.version}; with replace: true its ` +
          'sessions go on with the new code',
      );
    return this.#put({ facts, source, realm: 'SANDBOX', origin: 'UPLOAD', loadedAt: nowText(), problem: null });
  }

  /** Reads a plugin's file anew, now. Rejects as `open` does; the old code stays in force then. */
  async reload(name: string): Promise<Plugin> {
    const plugin = this.#need(name);
    if (plugin.origin === 'UPLOAD') throw invalid('name', `"${name}" was uploaded: load it again with replace: true`);
    return this.#loadFile(plugin.source.file);
  }

  /** Stops it in all sessions, and forgets it. */
  async unload(name: string): Promise<void> {
    const plugin = this.#need(name);
    this.#plugins.delete(plugin.facts.name);
    await Promise.all([...this.#attachments.values()].map((ofSession) => ofSession.get(name)?.detach()));
  }

  /**
   * Throws, before anything is started, for what `attach` would refuse a session with these trackers. `path` is that of the
   * argument, `before` how many plugins of the same request will be at work by then.
   */
  check({ name, options }: PluginRequest, trackers: readonly string[], path: string, before = 0): Plugin {
    const plugin = this.#plugins.get(name);
    const known = [...this.#plugins.keys()];
    if (!plugin) {
      throw new EunomiaError(
        'UNKNOWN_PLUGIN',
        `${path}: there is no plugin "${name}"${suggest(name, known)}; there are ` +
          `${known.join(', ') || 'none (serve --plugins, loadPlugin)'}`,
        { details: { argument: path } },
      );
    }
    const missing = Object.keys(plugin.facts.reads).filter((tracker) => !trackers.includes(tracker));
    if (missing.length)
      throw invalid(
        path,
        `the plugin ${name} reads the trackers ${Object.keys(plugin.facts.reads).join(', ')}; the session lacks ${missing.join(', ')}`,
        { missing },
      );
    checkOptions(plugin.facts, options, `${path}.options`);
    this.#sweep();
    const running = [...this.#attachments.values()]
      .flatMap((ofSession) => [...ofSession.values()])
      .filter(isAlive).length;
    if (running + before >= MAX_ATTACHMENTS)
      throw new EunomiaError(
        'TOO_MANY_PLUGINS',
        `${path}: ${running} plugins are at ` +
          `work${before ? `, and ${before} of this request come before it` : ''}; detach one first, at most ` +
          `${MAX_ATTACHMENTS} are allowed`,
      );
    return plugin;
  }

  /** Sets a plugin to work in a session; `fromStart` on all that it holds. Throws as `check`, and ALREADY_ATTACHED. */
  attach(session: Session, request: PluginRequest, fromStart: boolean, path = 'plugin'): Attachment {
    const plugin = this.check(
      request,
      session.spec.trackers.map(({ name }) => name),
      path,
    );
    const ofSession = this.#attachments.get(session.id) ?? new Map<string, Attachment>();
    const known = ofSession.get(request.name);
    if (known && isAlive(known))
      throw new EunomiaError(
        'ALREADY_ATTACHED',
        `${path}: the plugin "${request.name}" is attached to this session already; detach it first to give it other options`,
      );
    const { vocabulary, log, raise } = this.#options;
    const options = checkOptions(plugin.facts, request.options, `${path}.options`);
    const attachment = new Attachment(plugin, options, {
      session,
      given: request.options,
      restart: request.restart,
      fromStart,
      limits: this.#limits[plugin.realm],
      vocabulary,
      log,
      raise,
    });
    if (known) this.#work.retire(request.name, known);
    this.#attachments.set(session.id, ofSession.set(request.name, attachment));
    return attachment;
  }

  /** Stops it there; what it found stays. */
  async detach(session: string, name: string): Promise<Attachment> {
    const attachment = this.need(session, name);
    await attachment.detach();
    return attachment;
  }

  /** Also those that have ended, while the session is there. */
  of(session: string): Attachment[] {
    return [...(this.#attachments.get(session)?.values() ?? [])];
  }

  need(session: string, name: string): Attachment {
    const attachment = this.#attachments.get(session)?.get(name);
    if (attachment) return attachment;
    const names = this.of(session).map(({ plugin }) => plugin.facts.name);
    throw new EunomiaError(
      'UNKNOWN_PLUGIN',
      `plugin: the session has no plugin "${name}"${suggest(name, names)}; it has ${names.join(', ') || 'none'}`,
    );
  }

  /** Resolves when the plugins of a session that has stopped have seen its last event; not later than in ten seconds. */
  async settled(session: string): Promise<void> {
    const late = new AbortController();
    await Promise.race([
      Promise.all(this.of(session).map(({ done }) => done)),
      sleep(LAST_WORD_MS, undefined, { signal: late.signal, ref: false }).catch(() => undefined),
    ]);
    late.abort();
  }

  samples(): readonly PluginMetricSample[] {
    return [...this.#attachments].flatMap(([session, ofSession]) =>
      [...ofSession].flatMap(([name, { metrics }]) => metrics.samples(name, session)),
    );
  }

  /** What each plugin has done and cost so far. */
  work(): readonly AttachedWork[] {
    return this.#work.sums(
      [...this.#plugins.keys()],
      [...this.#attachments.values()].flatMap((ofSession) => [...ofSession]),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweeping);
    await this.#watch?.close();
    await Promise.all(
      [...this.#attachments.values()].flatMap((ofSession) =>
        [...ofSession.values()].map((attachment) => attachment.detach()),
      ),
    );
  }

  async #examine(source: PluginSource, realm: RealmKind): Promise<LoadedPlugin> {
    const { thread, facts } = await PluginThread.load(source, realm, this.#limits[realm], this.#options.vocabulary);
    await thread.end();
    return { facts, source, realm };
  }

  async #loadFile(path: string): Promise<Plugin> {
    const source = await readPlugin(path);
    this.#files.set(path, source.hash);
    const loaded = await this.#examine(source, 'TRUSTED');
    const other = this.#plugins.get(loaded.facts.name);
    if (other && other.source.file !== path)
      throw new EunomiaError(
        'PLUGIN_EXISTS',
        `${path}: its name "${loaded.facts.name}" is that of ${other.source.file}`,
      );
    return this.#put({ ...loaded, origin: 'DIRECTORY', loadedAt: nowText(), problem: null });
  }

  #put(plugin: Plugin): Plugin {
    const { name } = plugin.facts;
    if (!this.#plugins.has(name) && this.#plugins.size >= MAX_PLUGINS)
      throw new EunomiaError('TOO_MANY_PLUGINS', `there are ${MAX_PLUGINS} plugins; unload one first`);
    this.#plugins.set(name, plugin);
    for (const ofSession of this.#attachments.values()) {
      const attachment = ofSession.get(name);
      if (attachment && attachment.state !== 'STOPPED') void attachment.replace(plugin);
    }
    return plugin;
  }

  /** Loads files that are new or changed. One that went, stays in force: unload it. */
  async #look(directory: string): Promise<void> {
    if (this.#closed) return;
    for (const path of await pluginFiles(directory)) {
      const known = this.list().find(({ source }) => source.file === path);
      try {
        const { hash } = await readPlugin(path);
        if (this.#files.get(path) === hash) continue;
        this.#files.set(path, hash);
        await this.#loadFile(path);
        this.#problems.delete(path);
        this.#options.log.info({ plugin: basename(path) }, 'a plugin was loaded');
      } catch (error) {
        const problem = messageOf(error);
        if (known) known.problem = problem;
        if (this.#problems.get(path) === problem) continue;
        this.#problems.set(path, problem);
        this.#options.log.error({ path, problem }, 'a plugin was not loaded');
      }
    }
  }

  #need(name: string): Plugin {
    const plugin = this.#plugins.get(name);
    if (plugin) return plugin;
    const known = [...this.#plugins.keys()];
    throw new EunomiaError(
      'UNKNOWN_PLUGIN',
      `name: there is no plugin "${name}"${suggest(name, known)}; there are ${known.join(', ') || 'none'}`,
    );
  }

  #sweep(): void {
    for (const [id, ofSession] of this.#attachments) {
      if (this.#options.session(id) || ![...ofSession.values()].every((attachment) => !isAlive(attachment))) continue;
      for (const [name, attachment] of ofSession) this.#work.retire(name, attachment);
      this.#attachments.delete(id);
    }
  }
}

function isAlive({ state }: Attachment): boolean {
  return state !== 'STOPPED' && state !== 'FAILED';
}
