import { authorize, type Caller } from '../access/caller.js';
import { EunomiaError, invalid } from '../base/errors.js';
import type { InputMaybe, PluginInput } from '../generated/schema.js';
import type { ValueType } from '../catalog/value-type.js';
import type { OptionDefinition } from '../plugin.js';
import type { Attachment, Plugin, PluginRequest, PluginResult } from '../plugins/index.js';
import type { Session } from '../session/session.js';
import { inRange, textInRange, unknownSession } from './check.js';
import { listingOf, type Listing } from './listing.js';
import type { Parts } from './parts.js';
import type { PageRequest } from './session/handle.js';

const MAX_PAGE = 10_000;
const MAX_PLUGINS = 8;
/** How the source of an alert begins that a plugin raised. */
const SOURCE = 'plugin:';

/** The argument `input.plugins`, as far as the schema's types leave it open. Throws BAD_USER_INPUT. */
export function pluginRequests(plugins: InputMaybe<readonly PluginInput[]> | undefined): PluginRequest[] {
  if (plugins == null) return [];
  if (plugins.length > MAX_PLUGINS)
    throw invalid('input.plugins', `has ${plugins.length} entries; at most ${MAX_PLUGINS} are allowed`, {
      max: MAX_PLUGINS,
    });
  const seen = new Set<string>();
  return plugins.map(({ name, options, restart }, index) => {
    if (seen.has(name))
      throw invalid(
        `input.plugins[${index}].name`,
        `"${name}" is there already; a session has each plugin at most once`,
      );
    seen.add(name);
    return { name, options: options ?? null, restart: restart ?? 'NEVER' };
  });
}

const optionTypes: Readonly<Record<OptionDefinition['type'], Pick<ValueType, 'name' | 'kind'>>> = {
  number: { name: 'Float!', kind: 'NUMBER' },
  integer: { name: 'Int!', kind: 'INTEGER' },
  string: { name: 'String!', kind: 'TEXT' },
  boolean: { name: 'Boolean!', kind: 'BOOLEAN' },
  strings: { name: '[String!]!', kind: 'TEXT' },
};

/** An option in the vocabulary of trackers' options. All have defaults, so that none is null. */
function typeOfOption(option: OptionDefinition): ValueType {
  const names = 'enum' in option ? option.enum : undefined;
  return {
    ...optionTypes[option.type],
    ...(names && { kind: 'ENUM' }),
    list: option.type === 'strings',
    nullable: false,
    values: names?.map((name) => ({ name, description: null })) ?? null,
  };
}

/** A plugin that is loaded, as the schema's `Plugin`. */
export class PluginView {
  readonly #plugin: Plugin;
  readonly #parts: Pick<Parts, 'manager' | 'plugins' | 'server'>;

  constructor(plugin: Plugin, parts: Pick<Parts, 'manager' | 'plugins' | 'server'>) {
    this.#plugin = plugin;
    this.#parts = parts;
  }

  get id(): string {
    return `plugin:${this.#parts.server.node.id}:${this.name}`;
  }

  get name(): string {
    return this.#plugin.facts.name;
  }

  get version(): string {
    return this.#plugin.facts.version;
  }

  get summary(): string {
    return this.#plugin.facts.summary;
  }

  get origin(): Plugin['origin'] {
    return this.#plugin.origin;
  }

  get file(): string {
    return this.#plugin.source.file;
  }

  get loadedAt(): string {
    return this.#plugin.loadedAt;
  }

  get problem(): string | null {
    return this.#plugin.problem;
  }

  get trackers(): readonly string[] {
    return Object.keys(this.#plugin.facts.reads);
  }

  get fields(): readonly string[] {
    return [...new Set(Object.values(this.#plugin.facts.reads).flat())];
  }

  get where(): string | null {
    return this.#plugin.facts.where;
  }

  get options() {
    return Object.entries(this.#plugin.facts.options).map(([name, option]) => ({
      name,
      ...option,
      type: typeOfOption(option),
    }));
  }

  /** Of the sessions in memory, those that it works in. */
  get sessionIds(): readonly string[] {
    const { manager, plugins } = this.#parts;
    return manager
      .list()
      .map(({ id }) => id)
      .filter((id) => plugins.of(id).some(({ plugin }) => plugin.facts.name === this.name));
  }
}

/** Something that a plugin emitted. */
export interface ResultView extends Omit<PluginResult, 'json'> {
  readonly value: unknown;
}

function resultOf({ json, ...result }: PluginResult): ResultView {
  return { ...result, value: JSON.parse(json) as unknown };
}

/** A plugin at work in a session, as the schema's `SessionPlugin`. */
export class AttachmentView {
  readonly #attachment: Attachment;

  constructor(attachment: Attachment) {
    this.#attachment = attachment;
  }

  get name(): string {
    return this.#attachment.plugin.facts.name;
  }

  get version(): string {
    return this.#attachment.plugin.facts.version;
  }

  get options(): Attachment['options'] {
    return this.#attachment.options;
  }

  get state(): Attachment['state'] {
    return this.#attachment.state;
  }

  get problem(): string | null {
    return this.#attachment.problem;
  }

  get attachedAt(): string {
    return this.#attachment.attachedAt;
  }

  get errors(): Attachment['errors'] {
    return this.#attachment.errors;
  }

  get stats() {
    const { counts, results, queued, dropped } = this.#attachment;
    return { ...counts, results: results.count, queued, dropped };
  }

  /** A page of the results that are held, oldest first. Throws BAD_USER_INPUT or BAD_CURSOR. */
  page(range: Omit<PageRequest, 'where'>): Listing<ResultView> {
    const page = listingOf(this.#attachment.results.held, range, {
      name: `results of ${this.name}`,
      keyOf: ({ seq }) => [seq],
      most: MAX_PAGE,
    });
    return { ...page, rows: page.rows.map(resultOf) };
  }
}

export interface ResultBatch {
  readonly items: readonly PluginResult[];
  readonly dropped: number;
}

/** Plugins, and what they find in sessions. */
export class Plugins {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  list(_caller: Caller, name: string | null): PluginView[] {
    return this.#parts.plugins
      .list()
      .filter(({ facts }) => name === null || facts.name === name)
      .map((plugin) => this.#view(plugin));
  }

  /** Null when none is loaded of this name. */
  byName(caller: Caller, name: string): PluginView | null {
    return this.list(caller, name)[0] ?? null;
  }

  /** The plugin that an alert's source names; null when it is not loaded any more, or the source is none. */
  raising(caller: Caller, source: string): PluginView | null {
    return source.startsWith(SOURCE) ? this.byName(caller, source.slice(SOURCE.length)) : null;
  }

  /** Null when none is loaded of this id. */
  byId(caller: Caller, id: string): PluginView | null {
    return this.list(caller, null).find((plugin) => plugin.id === id) ?? null;
  }

  /** Those of a session. */
  of(_caller: Caller, session: string): AttachmentView[] {
    return this.#parts.plugins.of(session).map((attachment) => new AttachmentView(attachment));
  }

  /** Throws FORBIDDEN, UNKNOWN_SESSION, NOT_RUNNING, or as the host does. */
  attach(caller: Caller, id: string, request: PluginRequest): AttachmentView {
    authorize(caller, 'attachPlugin');
    const session = this.#use(id);
    if (session.state !== 'RUNNING')
      throw new EunomiaError(
        'NOT_RUNNING',
        `session: ${id} is ${session.state}; a plugin can be attached while it is RUNNING`,
      );
    return new AttachmentView(this.#parts.plugins.attach(session, request, false));
  }

  async detach(caller: Caller, id: string, name: string): Promise<AttachmentView> {
    authorize(caller, 'detachPlugin');
    return new AttachmentView(await this.#parts.plugins.detach(this.#use(id).id, name));
  }

  async load(
    caller: Caller,
    { file, source, replace }: { readonly file: string; readonly source: string; readonly replace: boolean },
  ): Promise<PluginView> {
    authorize(caller, 'loadPlugin');
    if (!/^[\w.-]+$/.test(textInRange('input.file', file, 200)))
      throw invalid('input.file', `"${file}" must be the name of a file: letters, digits, ".", "_" and "-"`);
    return this.#view(await this.#parts.plugins.upload(file, source, replace));
  }

  async reload(caller: Caller, name: string): Promise<PluginView> {
    authorize(caller, 'reloadPlugin');
    return this.#view(await this.#parts.plugins.reload(name));
  }

  async unload(caller: Caller, name: string): Promise<void> {
    authorize(caller, 'unloadPlugin');
    await this.#parts.plugins.unload(name);
  }

  /** The last `replay` results, and those to come. Throws UNKNOWN_SESSION or BAD_USER_INPUT. */
  follow(_caller: Caller, session: string, name: string, replay: number): AsyncIterableIterator<ResultBatch> {
    const attachment = this.#parts.plugins.need(this.#use(session).id, name);
    return attachment.results.follow(inRange('replay', replay, 0, MAX_PAGE, 'results'));
  }

  /** As the schema writes them. */
  resultsOf({ items }: ResultBatch): ResultView[] {
    return items.map(resultOf);
  }

  /** The session in memory, counted as used. */
  #use(id: string): Session {
    const session = this.#parts.manager.get(id);
    if (!session) throw unknownSession(id);
    session.touch();
    return session;
  }

  #view(plugin: Plugin): PluginView {
    return new PluginView(plugin, this.#parts);
  }
}
