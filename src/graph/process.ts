import type { ProcessAt } from '../event/lineage.js';
import { namespaceInode } from '../tracker/define.js';

/**
 * Two programs on the tracepoint of one exec run one after the other, and either may be first: so much later than an event of an exec the
 * table may hear of it. An execve takes longer than this itself: what the old program did was before.
 */
const EXEC_NS = 50_000;

/** The program that a process runs. Processes that were forked and have not executed another one share their parent's. */
export interface Image {
  /** Null for threads of the kernel, and where it is not known. */
  readonly executable: string | null;
  readonly executableState: string | null;
  readonly executableDeleted: boolean | null;
  /** Null where the program was executed before the table was fed: nobody has seen them. */
  readonly args: readonly string[] | null;
  readonly argsTruncated: boolean | null;
  readonly cwd: string | null;
  readonly cwdState: string | null;
  readonly cwdDeleted: boolean | null;
}

export const UNKNOWN_CGROUP = -1;

/** What may change while a process lives. */
export interface Traits {
  readonly comm: string;
  readonly uid: number;
  readonly gid: number;
  /** UNKNOWN_CGROUP where nobody told it. */
  readonly cgroupId: number;
  readonly mountNs: number;
  /** The first process of its pid namespace, as records have it. */
  readonly initPid: number;
  readonly initStart: number;
}

/** A process as the kernel tells of it. */
export interface Told extends Traits {
  readonly pid: number;
  readonly startNs: number;
  readonly ppid: number;
  /** Null where it is not told. */
  readonly parentStartNs: number | null;
  readonly atNs: number;
}

/** From the fork, an exec or a rename on. */
export interface Generation extends Traits {
  readonly sinceNs: number;
  readonly image: Image | null;
}

export interface Exit {
  /** Null where nobody has seen it. */
  readonly atNs: number | null;
  /** As wait(2) has it; null where nobody has seen it. */
  readonly code: number | null;
}

/** A process, alive or not. Its parent is the one that started it, whoever has adopted it since. */
export class KnownProcess {
  readonly pid: number;
  readonly startNs: number;
  readonly ppid: number;
  parent: KnownProcess | null = null;
  children: Set<KnownProcess> | null = null;
  exit: Exit | null = null;
  /** The one that had its pid before. */
  previous: KnownProcess | null = null;
  readonly generations: Generation[] = [];
  /** What a filter or a group read of it last; null until one does. */
  standing: Standing | null = null;
  /** Differs when what it was, its parent or its end has. */
  changes = 0;
  /** Of the children, those that run, and those that have ended; null when that was not asked for since they changed. */
  #running: readonly KnownProcess[] | null = null;
  #ended: readonly KnownProcess[] | null = null;

  constructor({ pid, startNs, ppid }: Pick<Told, 'pid' | 'startNs' | 'ppid'>) {
    this.pid = pid;
    this.startNs = startNs;
    this.ppid = ppid;
  }

  /** Oldest first. An operation may ask for them once for each event, and a shell may have had ten thousands. */
  childrenThat(run: boolean): readonly KnownProcess[] {
    if (run) return (this.#running ??= [...(this.children ?? [])].filter(({ exit }) => !exit));
    return (this.#ended ??= [...(this.children ?? [])].filter(({ exit }) => exit));
  }

  /** Called when a child has come, gone or ended. */
  childrenChanged(): void {
    this.#running = this.#ended = null;
  }

  /** What it was at a time: since its last exec or rename before that, or at first. */
  at(atNs: number): Generation {
    return this.spanAt(atNs).generation;
  }

  /** The same, and between which times it was that; `toNs` is not in it. */
  spanAt(atNs: number): { readonly generation: Generation; readonly fromNs: number; readonly toNs: number } {
    const { generations } = this;
    let found = generations.length - 1;
    while (found > 0 && (generations[found]?.sinceNs ?? 0) > atNs + EXEC_NS) found--;
    const generation = generations[found];
    if (!generation) throw new RangeError(`the process ${this.pid} has no generation`);
    const fromNs = found > 0 ? generation.sinceNs - EXEC_NS : Number.NEGATIVE_INFINITY;
    const toNs = (generations[found + 1]?.sinceNs ?? Number.POSITIVE_INFINITY) - EXEC_NS;
    return { generation, fromNs, toNs };
  }
}

/** A process at all times of a span, which holds its ancestors too: one for all events of the process in that span. */
export class Standing implements ProcessAt {
  readonly parent: Standing | null;
  /** ns since boot; `toNs` is not in it. */
  readonly fromNs: number;
  readonly toNs: number;
  /** Of the table, when it was made: it holds no longer than that. */
  readonly version: number;
  readonly #known: KnownProcess;
  readonly #generation: Generation;

  constructor(known: KnownProcess, atNs: number, parent: Standing | null, version: number) {
    const { generation, fromNs, toNs } = known.spanAt(atNs);
    this.#known = known;
    this.#generation = generation;
    this.parent = parent;
    this.fromNs = parent ? Math.max(fromNs, parent.fromNs) : fromNs;
    this.toNs = parent ? Math.min(toNs, parent.toNs) : toNs;
    this.version = version;
  }

  get pid(): number {
    return this.#known.pid;
  }

  get startNs(): number {
    return this.#known.startNs;
  }

  get ppid(): number {
    return this.#known.ppid;
  }

  get uid(): number {
    return this.#generation.uid;
  }

  get gid(): number {
    return this.#generation.gid;
  }

  get comm(): string {
    return this.#generation.comm;
  }

  get mountNs(): string | null {
    return namespaceInode(this.#generation.mountNs);
  }

  get executable(): string | null {
    return this.#generation.image?.executable ?? null;
  }

  get executableDeleted(): boolean | null {
    return this.#generation.image?.executableDeleted ?? null;
  }

  get args(): readonly string[] | null {
    return this.#generation.image?.args ?? null;
  }

  get cwd(): string | null {
    return this.#generation.image?.cwd ?? null;
  }
}
