import { join } from 'node:path';
import * as v from 'valibot';
import type { Caller } from '../../access/caller.js';
import { runtimeCallsOf } from '../../analysis/advice/runtime-calls.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { readPrivate, replacePrivate } from '../../base/file.js';
import { newerFormat } from '../../base/format.js';
import type { TraceEvent } from '../../event/event.js';
import type { Copy } from '../../inventory/docker/copy.js';
import { HELPER } from '../../inventory/docker/helper.js';
import type { Rehearsal } from '../../inventory/docker/rehearsal.js';
import type { Parts } from '../parts.js';
import type { Sessions } from '../sessions.js';
import { Watch } from './watch.js';

const FILE = 'advice-runtimes.json';
const FORMAT = 1;
const MAX_BYTES = 1 << 20;

/** A filter that refuses nothing that a runtime does, so that the runtime loads one. */
const OPEN_PROFILE = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['vhangup'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
};
/** Which of its threads makes a call is chance in a runtime written in Go: it is watched several times. */
const EXECS = 4;
const EXEC_MS = 10_000;

const calls = v.object({ plain: v.array(v.string()), noNewPrivileges: v.array(v.string()) });
const file = v.object({ format: v.literal(FORMAT), runtimes: v.record(v.string(), calls) });

/** What a runtime needs until it executes the container's program, sorted. With `no-new-privileges` it loads the filter later. */
export interface RuntimeCalls extends v.InferOutput<typeof calls> {
  /** "Engine 20.10.24, containerd 1.6.20, runc 1.1.5". */
  readonly runtime: string;
}

/** What runtimes need, each found once and kept in the data directory by its version. */
export class Runtimes {
  readonly #parts: Pick<Parts, 'catalog' | 'config' | 'log'>;
  readonly #sessions: Sessions;
  #known: Map<string, v.InferOutput<typeof calls>> | null = null;
  /** The file is of a newer version, or nobody knows what is in it: it stays as it is. */
  #isOfOthers = false;

  constructor(parts: Pick<Parts, 'catalog' | 'config' | 'log'>, sessions: Sessions) {
    this.#parts = parts;
    this.#sessions = sessions;
  }

  /** Null where it was not watched yet. */
  known(runtime: string): RuntimeCalls | null {
    this.#known ??= this.#read();
    const known = this.#known.get(runtime);
    return known ? { runtime, ...known } : null;
  }

  /**
   * Starts containers of nothing but the helper, where the runtime is not known; null then for others than admins. Rejects as
   * `Sessions.start` and with ENGINE_REFUSED.
   */
  async of(caller: Caller, rehearsal: Rehearsal): Promise<RuntimeCalls | null> {
    const runtime = await rehearsal.runtime();
    const known = this.known(runtime);
    if (known) return known;
    if (caller.role !== 'admin') return null;
    const found = {
      plain: await this.#observe(caller, rehearsal, false),
      noNewPrivileges: await this.#observe(caller, rehearsal, true),
    };
    if (found.plain.length > 0 && found.noNewPrivileges.length > 0) {
      this.#known?.set(runtime, found);
      await this.#write();
    }
    return { runtime, ...found };
  }

  async #observe(caller: Caller, rehearsal: Rehearsal, noNewPrivileges: boolean): Promise<string[]> {
    const copies: Copy[] = [];
    for (let i = 0; i < 2; i += 1) copies.push(await rehearsal.trial('pause', OPEN_PROFILE, noNewPrivileges));
    const watch = await Watch.begin(this.#sessions, this.#parts, caller, {
      ids: copies.map(({ id }) => id),
      trackers: [{ syscall: {} }, { privilege: { operations: ['PRCTL', 'SECCOMP'] } }],
    });
    try {
      for (const copy of copies) {
        const failure = await copy.start();
        if (failure !== null) throw new EunomiaError('ENGINE_REFUSED', failure);
      }
      const [first] = copies;
      for (let i = 0; i < EXECS; i += 1) await first?.exec([`${HELPER}/exit`], EXEC_MS);
      await watch.stop();
      const events: TraceEvent[] = [];
      for await (const event of watch.events()) events.push(event);
      return runtimeCallsOf(events);
    } finally {
      await watch.remove();
      for (const copy of copies) await copy.remove();
    }
  }

  #path(): string | null {
    const { dataDirectory } = this.#parts.config;
    return dataDirectory === null ? null : join(dataDirectory, FILE);
  }

  #read(): Map<string, v.InferOutput<typeof calls>> {
    const path = this.#path();
    try {
      this.#isOfOthers = true;
      const read = path === null ? null : readPrivate(path, { most: MAX_BYTES });
      this.#isOfOthers = false;
      if (read === null) return new Map();
      const content: unknown = JSON.parse(read.text);
      const newer = newerFormat(content, FORMAT);
      this.#isOfOthers = newer !== null;
      if (newer !== null) throw new Error(newer);
      return new Map(Object.entries(v.parse(file, content).runtimes));
    } catch (error) {
      this.#parts.log.warn({ path, error: messageOf(error) }, 'cannot read what runtimes need: it is found again');
      return new Map();
    }
  }

  async #write(): Promise<void> {
    const path = this.#path();
    if (path === null || this.#isOfOthers) return;
    const content = JSON.stringify({ format: FORMAT, runtimes: Object.fromEntries(this.#known ?? []) });
    try {
      await replacePrivate(path, content);
    } catch (error) {
      this.#parts.log.warn({ path, error: messageOf(error) }, 'cannot keep what runtimes need: it is found again');
    }
  }
}
