import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { EunomiaError, invalid, messageOf, suggest } from '../../base/errors.js';
import { privateDirectory, readPrivate, replacePrivate } from '../../base/file.js';
import { FolderWatch } from '../../base/folder-watch.js';
import { inTurns } from '../../base/turn.js';
import type { Log } from '../../base/log.js';
import { nowText } from '../../event/clock.js';
import { compilingRules, noRules, type CompiledRule, type RuleContext, type RuleSet } from '../../rules/compile.js';
import type { RuleSource } from '../../rules/format.js';
import type { RuleActions } from './actions.js';
import { readRuleFolder, rulesDirectory, signatureOf } from './files.js';
import type { RuleRunner } from './runner.js';
import { RuleFileThread } from './thread.js';

export interface RuleHostOptions {
  readonly context: RuleContext;
  readonly runner: RuleRunner;
  readonly actions: RuleActions;
  /** Folders of rule files, or the word for those of the package. */
  readonly directories: readonly string[];
  /** Where rules that were sent are kept; null keeps them in memory only. */
  readonly dataDirectory: string | null;
  readonly log: Log;
}

/** Rules that somebody sent, under a name. */
export interface SentRules {
  readonly name: string;
  readonly text: string;
  readonly loadedAt: string;
}

/** A rule of the server. */
export interface LoadedRule {
  readonly rule: CompiledRule;
  /** The name under which it was sent; null for one of a folder. */
  readonly sent: string | null;
  /** Why it is not evaluated; null when it is. */
  readonly problem: string | null;
}

const FOLDER = 'rules';
const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const MAX_SENT = 64;
const MAX_SENT_BYTES = 256 << 10;

/**
 * The rules of the server: of its folders, which are read again when they change, and of those that were sent. They are compiled
 * as one set; what does not compile changes nothing.
 */
export class RuleHost {
  readonly #options: RuleHostOptions;
  readonly #thread: Pick<RuleFileThread, 'parse' | 'end'>;
  #set: RuleSet = noRules;
  #sent: ReadonlyMap<string, SentRules> = new Map();
  /** Of the folders, as they were read last. */
  #text = '';
  /** Of their files, when they were looked at last. */
  #signature = '';
  #watches: readonly FolderWatch[] = [];
  /** Changes come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Why the folders as they are now are not in force; null when they are. */
  problem: string | null = null;
  loadedAt = nowText();

  constructor(options: RuleHostOptions, thread: Pick<RuleFileThread, 'parse' | 'end'> = new RuleFileThread()) {
    this.#options = options;
    this.#thread = thread;
  }

  /** Reads and compiles all. Rejects with BAD_RULES: a server that was to run rules does not start without them. */
  async open(): Promise<void> {
    this.#sent = new Map((await this.#readSent()).map((sent) => [sent.name, sent]));
    const { context, log } = this.#options;
    const sources = await this.#readFolders();
    this.#text = JSON.stringify(sources);
    try {
      this.#set = await inTurns(compilingRules([...sources, ...sourcesOf(this.#sent)], context));
    } catch (error) {
      if (this.#sent.size === 0) throw error;
      // Nobody could take back what was sent of a server that does not start.
      this.#set = await inTurns(compilingRules(sources, context));
      const { dataDirectory } = this.#options;
      const place = dataDirectory === null ? '' : `${join(dataDirectory, FOLDER)}: `;
      this.problem = `${place}${messageOf(error)}; send them anew, take them back (unloadRules), or start the version that took them`;
      log.error({ problem: this.problem }, 'rules that were sent are not in force');
    }
  }

  /** Puts them in force, and watches the folders from now on. Called when sessions can be started. */
  async start(): Promise<void> {
    const { runner, directories, log } = this.#options;
    this.#watches = directories.map(
      (named) =>
        new FolderWatch({
          directory: rulesDirectory(named),
          look: () => this.#inTurn(() => this.#look()),
          onError: (error, what) => log.error({ err: error }, what),
          always: true,
        }),
    );
    if (this.#set.rules.length > 0) await runner.use(this.#set.rules);
  }

  /** By name. */
  get rules(): readonly LoadedRule[] {
    const { runner } = this.#options;
    return this.#set.rules
      .map((rule) => ({
        rule,
        sent: nameOfSent(rule.definition.file.name),
        problem: rule.definition.enabled ? runner.problemOf(rule.definition.name) : null,
      }))
      .sort((a, b) => (a.rule.definition.name < b.rule.definition.name ? -1 : 1));
  }

  find(name: string): LoadedRule | null {
    return this.rules.find(({ rule }) => rule.definition.name === name) ?? null;
  }

  get sent(): readonly SentRules[] {
    return [...this.#sent.values()];
  }

  get actions(): RuleActions {
    return this.#options.actions;
  }

  get runner(): RuleRunner {
    return this.#options.runner;
  }

  /**
   * Takes rules under a name, or replaces those of the name. Resolves when they are in force. Rejects, with nothing changed, with
   * BAD_RULES, BAD_USER_INPUT, LIMIT_EXCEEDED or STORE_UNAVAILABLE.
   */
  load(name: string, text: string): Promise<SentRules> {
    return this.#inTurn(async () => {
      checkSent(name, text);
      if (!this.#sent.has(name) && this.#sent.size >= MAX_SENT)
        throw new EunomiaError(
          'LIMIT_EXCEEDED',
          `${MAX_SENT} sets of rules were sent, which is the most; unload one first`,
          {
            details: { limit: 'rules', maximum: MAX_SENT },
          },
        );
      const sent = { name, text, loadedAt: nowText() };
      await this.#change(new Map([...this.#sent, [name, sent]]), (path) => replacePrivate(path(name), text));
      return sent;
    });
  }

  /** Takes back what was sent under a name. Rejects, with nothing changed, as `load` does. */
  unload(name: string): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#sent.has(name))
        throw invalid(
          'name',
          `no rules were sent as "${name.slice(0, 64)}"${suggest(name, this.#sent.keys())}; ` +
            `there are ${[...this.#sent.keys()].join(', ') || 'none'}, and those of the server's folders`,
        );
      const rest = new Map([...this.#sent].filter(([sent]) => sent !== name));
      await this.#change(rest, (path) => rm(path(name), { force: true }));
    });
  }

  /** Compiles rules beside those that are in force, as if they were sent under a name. Throws BAD_RULES. */
  async check(name: string, text: string): Promise<RuleSet> {
    return this.#compile(await this.filesWith(name, text));
  }

  /** All files as they would be if rules were sent under a name; null: as they are. Throws BAD_RULES. */
  async filesWith(name: string, text: string | null): Promise<readonly RuleSource[]> {
    const own = text === null ? [] : [[name, { name, text, loadedAt: nowText() }] as const];
    return [...(await this.#readFolders()), ...sourcesOf(new Map([...this.#sent, ...own]))];
  }

  /** Names of the webhooks that rules may name. */
  get webhooks(): readonly string[] {
    return this.#options.context.webhooks ?? [];
  }

  async close(): Promise<void> {
    // First: a change that waits for it would be waited for.
    await this.#thread.end();
    await Promise.all(this.#watches.map((watch) => watch.close()));
    await this.#turn;
    await this.#options.runner.close();
  }

  /** Parsed in a thread, compiled in turns. Rejects with BAD_RULES. */
  async #compile(sources: readonly RuleSource[]): Promise<RuleSet> {
    return inTurns(compilingRules(await this.#thread.parse(sources), this.#options.context));
  }

  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const changed = this.#turn.then(change);
    this.#turn = changed.catch(() => undefined);
    return changed;
  }

  async #change(
    sent: ReadonlyMap<string, SentRules>,
    write: (path: (name: string) => string) => Promise<void>,
  ): Promise<void> {
    const { dataDirectory } = this.#options;
    const sources = await this.#readFolders();
    const set = await this.#compile([...sources, ...sourcesOf(sent)]);
    if (dataDirectory !== null) {
      const folder = join(dataDirectory, FOLDER);
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        privateDirectory(folder);
        await write((name) => join(folder, `${name}.yaml`));
      } catch (error) {
        throw new EunomiaError('STORE_UNAVAILABLE', `the rules cannot be kept: ${folder}: ${messageOf(error)}`, {
          cause: error,
        });
      }
    }
    this.#sent = sent;
    this.#text = JSON.stringify(sources);
    await this.#use(set);
  }

  async #look(): Promise<void> {
    const { log, directories } = this.#options;
    const signature = (await Promise.all(directories.map((named) => signatureOf(rulesDirectory(named))))).join();
    if (signature === this.#signature) return;
    this.#signature = signature;
    try {
      const sources = await this.#readFolders();
      const text = JSON.stringify(sources);
      if (text === this.#text && this.problem === null) return;
      const set = await this.#compile([...sources, ...sourcesOf(this.#sent)]);
      this.#text = text;
      await this.#use(set);
    } catch (error) {
      if (error instanceof EunomiaError && error.code === 'SHUTTING_DOWN') return;
      // It is not the files: they are read again at the next look.
      if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') this.#signature = '';
      const problem = messageOf(error);
      if (problem !== this.problem)
        log.error({ problem }, 'rules that were changed are not in force; those before are');
      this.problem = problem;
    }
  }

  async #use(set: RuleSet): Promise<void> {
    this.#set = set;
    this.problem = null;
    this.loadedAt = nowText();
    await this.#options.runner.use(set.rules);
  }

  async #readFolders(): Promise<readonly RuleSource[]> {
    const all = await Promise.all(this.#options.directories.map((named) => readRuleFolder(rulesDirectory(named))));
    return all.flat();
  }

  async #readSent(): Promise<readonly SentRules[]> {
    const { dataDirectory } = this.#options;
    if (dataDirectory === null) return [];
    const folder = join(dataDirectory, FOLDER);
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      // What is not there, or cannot be, has no rules: that the data directory cannot be used is told by the store.
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
      throw new EunomiaError('BAD_RULES', `${folder}: cannot be read: ${error.message}`);
    });
    return names
      .filter((name) => name.endsWith('.yaml') && NAME.test(basename(name, '.yaml')))
      .sort()
      .flatMap((file) => {
        const read = readPrivate(join(folder, file), { most: MAX_SENT_BYTES });
        return read ? [{ name: basename(file, '.yaml'), text: read.text, loadedAt: nowText() }] : [];
      });
  }
}

/** Throws BAD_USER_INPUT for a name or a text that the server does not take. */
export function checkSent(name: string, text: string): void {
  if (!NAME.test(name))
    throw invalid('input.name', `"${name.slice(0, 64)}" is no name; give up to 64 lower-case letters, digits and "-"`);
  checkText('input.source', text);
}

/** Throws BAD_USER_INPUT for a text that is too long. */
export function checkText(path: string, text: string): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_SENT_BYTES) throw invalid(path, `has ${bytes} bytes; at most ${MAX_SENT_BYTES} are allowed`);
}

const SENT = ' (sent)';

export function nameOfSent(file: string): string | null {
  return file.endsWith(SENT) ? file.slice(0, -SENT.length) : null;
}

function sourcesOf(sent: ReadonlyMap<string, SentRules>): readonly RuleSource[] {
  return [...sent.values()].map(({ name, text }) => ({ name: `${name}${SENT}`, text }));
}
