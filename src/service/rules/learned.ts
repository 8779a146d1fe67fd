import { join } from 'node:path';
import * as v from 'valibot';
import { messageOf } from '../../base/errors.js';
import { readPrivate, replacePrivate } from '../../base/file.js';
import type { Log } from '../../base/log.js';
import { inTurns, type Work } from '../../base/turn.js';
import type { RuleEngine } from '../../rules/engine.js';
import type { StoredBaseline } from '../../rules/first-seen.js';

const FILE = 'rules-learned.json';
const FORMAT = 1;
const MAX_BYTES = 64 << 20;
/** What was learned last may be lost with a server that is killed. */
const EVERY_MS = 60_000;

const baseline = v.object({ subject: v.string(), since: v.number(), values: v.array(v.string()) });
const file = v.object({ format: v.literal(FORMAT), rules: v.record(v.string(), v.array(baseline)) });

/**
 * What rules have learned (`firstSeen`), in a file of the data directory: it outlives the server, and rules that are away for a while. A
 * file that cannot be read or written is told in the log, and rules learn anew.
 */
export class LearnedFile {
  readonly #path: string | null;
  readonly #log: Log;
  /** Of rules that are not evaluated now, too. Null until it was read. */
  #known: Map<string, readonly StoredBaseline[]> | null = null;
  #engine: RuleEngine | null = null;
  /** `RuleEngine.learned` when it was written last. */
  #written = 0;
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(directory: string | null, log: Log) {
    this.#path = directory === null ? null : join(directory, FILE);
    this.#log = log;
  }

  /** What is known of rules that this engine has, and the one before has not. */
  of(engine: RuleEngine): ReadonlyMap<string, readonly StoredBaseline[]> {
    this.#known ??= this.#read();
    this.#remember();
    const own = engine.baselines();
    return new Map([...this.#known].filter(([name]) => !own.has(name)));
  }

  /** Keeps what this engine learns from now on. */
  follow(engine: RuleEngine): void {
    this.#engine = engine;
    if (this.#path === null || this.#timer || !engine.learns) return;
    this.#timer = setInterval(() => this.#write(), EVERY_MS).unref();
  }

  /** Resolves when all is written. */
  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#write();
    await this.#writing;
  }

  #remember(): void {
    for (const [name, stored] of this.#engine?.baselines() ?? []) this.#known?.set(name, stored);
  }

  #write(): void {
    const { learned = 0 } = this.#engine ?? {};
    const path = this.#path;
    if (path === null || learned === this.#written) return;
    this.#written = learned;
    this.#remember();
    const known = new Map(this.#known);
    this.#writing = this.#writing
      .then(async () => replacePrivate(path, await inTurns(textOf(known))))
      .catch((error: unknown) =>
        this.#log.error({ path, problem: messageOf(error) }, 'what rules have learned is not kept'),
      );
  }

  #read(): Map<string, readonly StoredBaseline[]> {
    if (this.#path === null) return new Map();
    try {
      const read = readPrivate(this.#path, { most: MAX_BYTES });
      return new Map(read ? Object.entries(v.parse(file, JSON.parse(read.text)).rules) : []);
    } catch (error) {
      this.#log.error(
        { path: this.#path, problem: messageOf(error) },
        'what rules had learned cannot be read: they learn anew',
      );
      return new Map();
    }
  }
}

function* textOf(known: ReadonlyMap<string, readonly StoredBaseline[]>): Work<string> {
  const rules: string[] = [];
  for (const [name, stored] of known) {
    const baselines: string[] = [];
    for (const one of stored) {
      baselines.push(JSON.stringify(one));
      yield;
    }
    rules.push(`${JSON.stringify(name)}:[${baselines.join(',')}]`);
  }
  return `{"format":${FORMAT},"rules":{${rules.join(',')}}}\n`;
}
