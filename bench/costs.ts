import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { dirname } from 'node:path';

/** What a tracker adds to an operation of a process: nanoseconds of the clock, null where no round counted. */
export interface Cost {
  /** What the process does. */
  readonly operation: string;
  /** The operation itself, where nothing watches it. */
  readonly untracedNs: number;
  /** Added where the process is watched, with the fields that a session captures by default. */
  readonly watchedNs: number | null;
  /** Added with no field on demand. */
  readonly leanNs: number | null;
  /** Added where a session watches another process. */
  readonly otherNs: number | null;
  /** Added by programs on the same hooks that do nothing: the part that no program can be without. */
  readonly emptyNs: number | null;
  /** Inside the programs, by the kernel's count, as `watchedNs`. */
  readonly insideNs: number | null;
  /** Of an event as it is kept; null for a tracker whose events come when its counts are read. */
  readonly eventBytes: number | null;
  /** Until a session has loaded and attached its programs. */
  readonly startMs: number;
  /** Rounds that the figures are medians of. */
  readonly rounds: number;
}

/** With when and where it was measured. */
interface Entry extends Cost {
  readonly date: string;
  readonly machine: string;
  /** Load average of the minute before: what else the machine did. */
  readonly load: number;
}

/** A file of costs by tracker, from which docs/trackers.md tells them (scripts/setup/tracker-costs.mjs). */
export class CostFile {
  readonly #path: string;
  readonly #load = round(loadavg()[0] ?? 0, 1);

  /** Throws where the file is none of costs, so that nothing else is overwritten. */
  constructor(path: string) {
    if (!path.endsWith('.json')) throw new Error(`${path} is not called .json`);
    if (!existsSync(dirname(path))) throw new Error(`${path}: there is no directory ${dirname(path)}`);
    this.#path = path;
    this.#read();
  }

  /** Puts a tracker's costs in the place of its earlier ones; those of other trackers stay. */
  set(tracker: string, cost: Cost): void {
    const rounded = Object.fromEntries(
      Object.entries(cost).map(([name, value]: [string, unknown]) => [
        name,
        typeof value === 'number' ? round(value, name.endsWith('Ns') ? 0 : 1) : value,
      ]),
    );
    const entry = { ...rounded, date: new Date().toISOString().slice(0, 10), machine: machine(), load: this.#load };
    const entries = Object.entries({ ...this.#read(), [tracker]: entry }).sort(([a], [b]) => (a < b ? -1 : 1));
    writeFileSync(`${this.#path}.new`, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
    renameSync(`${this.#path}.new`, this.#path);
  }

  #read(): Readonly<Record<string, Entry>> {
    if (!existsSync(this.#path)) return {};
    if (!statSync(this.#path).isFile()) throw new Error(`${this.#path} is no file`);
    let found: unknown;
    try {
      found = JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch (error) {
      throw new Error(`${this.#path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    if (!isCosts(found)) throw new Error(`${this.#path} has something else than costs of trackers`);
    return found;
  }
}

function isCosts(value: unknown): value is Readonly<Record<string, Entry>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every(
      (entry: unknown) => typeof entry === 'object' && entry !== null && 'untracedNs' in entry && 'machine' in entry,
    )
  );
}

/** Without the name of its host. */
function machine(): string {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model.trim() || 'an unknown CPU'}, Linux ${/^\d+\.\d+/.exec(release())?.[0] ?? release()}`;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
