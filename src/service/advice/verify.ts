import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { authorize, type Caller } from '../../access/caller.js';
import { roomFor } from '../../analysis/advice/filesystem.js';
import { refusalKey } from '../../analysis/advice/refusal.js';
import { permitPrivileges, widen, type MissingRight, type Widened } from '../../analysis/advice/widen.js';
import { EunomiaError, invalid, messageOf } from '../../base/errors.js';
import { listed } from '../../base/listed.js';
import { timeoutSignal } from '../../base/timeout.js';
import type {
  CheckResult,
  OutsideAttempt,
  Refusal,
  Rights,
  Verification,
  VerificationRound,
} from '../../event/advice.js';
import type { VerifyAdviceInput } from '../../generated/schema.js';
import type { Container } from '../../inventory/container.js';
import type { EngineStatus } from '../../inventory/source.js';
import { effectiveCapabilities } from '../../inventory/docker/current-rights.js';
import type { Copy } from '../../inventory/docker/copy.js';
import type { Attempt } from '../../inventory/docker/helper.js';
import type { Original } from '../../inventory/docker/original.js';
import type { Rehearsal } from '../../inventory/docker/rehearsal.js';
import type { Parts } from '../parts.js';
import { inRange, spanInRange } from '../check.js';
import type { Sessions } from '../sessions.js';
import { checkOf, passing, type CopyCheck, type CheckRequest } from './check.js';
import { rightsOf } from './rights.js';
import { Runtimes, type RuntimeCalls } from './runtime.js';
import { refusalFilter, refusalTrackers, Watch } from './watch.js';

export interface VerifyRequest {
  readonly check?: CheckRequest | null | undefined;
  /** How often rights are widened at most; 10 by default. With 0 it is only checked whether copies can be made: nothing is started. */
  readonly rounds?: number | null | undefined;
  /** How long the check may take in each round, in milliseconds; 30 s by default. */
  readonly timeout?: number | null | undefined;
}

const DEFAULT_ROUNDS = 10;
const MAX_ROUNDS = 50;
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_TIMEOUT_MS = 300_000;
/** No verification lasts longer. */
const LIMIT_MS = 1_800_000;
/** What a container attempts soon after its check has passed counts too. */
const SETTLE_MS = 1200;
const EXEC_MS = 10_000;
/** How many calls outside of the profile are attempted. */
const CALLS = 3;
/** At once: each has containers, and a session. */
const MAX_RUNNING = 4;

interface Round extends VerificationRound {
  readonly missing: readonly MissingRight[];
  readonly outside: readonly OutsideAttempt[];
  readonly oomKilled: boolean;
  readonly problems: readonly string[];
}

type Place = Pick<Parts, 'catalog' | 'config' | 'log' | 'registry'>;

/** Tries recommendations with copies of their containers. Everything that is made for it is removed before it ends. */
export class Verifications {
  readonly #parts: Place;
  readonly #sessions: Sessions;
  readonly #runtimes: Runtimes;
  /** Engines that are connected, and have been looked through since. */
  readonly #swept = new Set<string>();
  /** Rehearsals of which an engine would not remove all, with its address. */
  readonly #unremoved = new Map<string, string>();
  #verifying = 0;
  readonly #running = new Set<{ readonly abort: AbortController; readonly done: Promise<unknown> }>();

  constructor(parts: Place, sessions: Sessions) {
    this.#parts = parts;
    this.#sessions = sessions;
    this.#runtimes = new Runtimes(parts, sessions);
  }

  /**
   * What the runtime of a container's engine needs until it executes the container's program. Where it is not known yet, containers are
   * started to find out, for an admin; for others it is null. Rejects with NO_ENGINE or ENGINE_REFUSED.
   */
  async runtimeCalls(caller: Caller, container: Container): Promise<RuntimeCalls | null> {
    return this.#rehearse(caller, container, (rehearsal, own) => this.#runtimes.of(own, rehearsal));
  }

  /** The same where it is known already: nothing is started. Null where it is not, or where no engine tells. */
  async knownRuntimeCalls(caller: Caller, container: Container): Promise<RuntimeCalls | null> {
    return this.#rehearse(caller, container, async (rehearsal) =>
      this.#runtimes.known(await rehearsal.runtime()),
    ).catch((error: unknown) => {
      this.#parts.log.debug({ container: container.id, error: messageOf(error) }, 'no engine tells of its runtime');
      return null;
    });
  }

  /** Verifies what a client sends. Rejects as `verify` does, and with AMBIGUOUS_CONTAINER. */
  async request(caller: Caller, { container: ref, rights, ...request }: VerifyAdviceInput): Promise<Verification> {
    authorize(caller, 'verifyAdvice');
    checkOf(request.check ?? {}, false);
    const given = rightsOf('input.rights', rights);
    const container = this.#parts.registry.find(ref);
    if (container === null || container.state === 'REMOVED') throw unknownContainer(ref);
    return this.verify(caller, container, given, request);
  }

  /** Removes what servers left behind that were killed, and what engines did not remove that went away: from each when it connects. */
  followEngines(): void {
    this.#sweepAll();
    this.#parts.registry.on('engine', (engine) => this.#sweep(engine));
  }

  /**
   * Runs copies of a container under rights, which are widened by what was refused, until the check passes and nothing is refused any more
   * that the container's own rights allow. Rejects with FORBIDDEN, BAD_USER_INPUT, LIMIT_EXCEEDED, NO_ENGINE, UNKNOWN_CONTAINER,
   * CHECK_FAILED (the check fails under the container's own rights too), ENGINE_REFUSED, CANCELLED, and as `Sessions.start` does.
   */
  async verify(caller: Caller, container: Container, rights: Rights, request: VerifyRequest): Promise<Verification> {
    authorize(caller, 'verifyAdvice');
    const rounds = inRange('rounds', request.rounds ?? DEFAULT_ROUNDS, 0, MAX_ROUNDS, 'rounds');
    const timeout = spanInRange('timeout', request.timeout ?? DEFAULT_TIMEOUT_MS, 1000, MAX_TIMEOUT_MS);
    const asked = request.check ?? {};
    checkOf(asked, false);
    if (this.#verifying >= MAX_RUNNING)
      throw new EunomiaError(
        'LIMIT_EXCEEDED',
        `${MAX_RUNNING} verifications are running already; ask again when one is done`,
        {
          details: { limit: 'verifications', maximum: MAX_RUNNING, actual: this.#verifying + 1 },
        },
      );
    this.#verifying += 1;
    const attempt = async (rehearsal: Rehearsal, own: Caller): Promise<Verification> => {
      const original = await rehearsal.original(container.id);
      const check = checkOf(asked, hasHealthCheck(original));
      checkCapabilities(original, rights);
      if (rounds === 0) return untried(rights);
      const runtime = await this.#runtimes.of(own, rehearsal);
      const [sessions, parts] = [this.#sessions, this.#parts];
      const trial = new Trial({ rehearsal, original, runtime, check, timeout, caller: own, sessions, parts });
      return trial.run(rights, rounds);
    };
    return this.#rehearse(caller, container, attempt, asked.probe != null).finally(() => (this.#verifying -= 1));
  }

  /** Ends all, and resolves when what they made is removed. */
  async end(): Promise<void> {
    for (const { abort } of this.#running) abort.abort();
    await Promise.allSettled([...this.#running].map(({ done }) => done));
  }

  #sweepAll(): void {
    for (const engine of this.#parts.registry.engines) this.#sweep(engine);
  }

  #sweep({ connected, endpoint }: EngineStatus): void {
    if (!connected) this.#swept.delete(endpoint);
    if (!connected || this.#swept.has(endpoint)) return;
    this.#swept.add(endpoint);
    const ids = new Set([...this.#unremoved].filter(([, at]) => at === endpoint).map(([id]) => id));
    void import('../../inventory/docker/rehearsal.js')
      .then(({ clearLeftovers }) => clearLeftovers(endpoint, ids, this.#parts.log))
      .then((isClear) => isClear && ids.forEach((id) => this.#unremoved.delete(id)));
  }

  async #rehearse<Result>(
    caller: Caller,
    { id, name }: Container,
    use: (rehearsal: Rehearsal, caller: Caller) => Promise<Result>,
    reachable = false,
  ): Promise<Result> {
    const engine = this.#parts.registry.engineOf(id);
    if (!engine?.connected)
      throw new EunomiaError(
        'NO_ENGINE',
        `no engine is connected that could make a copy of ${name ?? id.slice(0, 12)}: ${engine?.error ?? 'none has told of it'}`,
      );
    const abort = new AbortController();
    const late = timeoutSignal(LIMIT_MS);
    const signal = AbortSignal.any([caller.signal, abort.signal, late]);
    const { Rehearsal } = await import('../../inventory/docker/rehearsal.js');
    const { endpoint: host, kind } = engine;
    const { log } = this.#parts;
    const rehearsal = new Rehearsal({ host, kind, log, limitMs: LIMIT_MS, signal, reachable });
    const done = use(rehearsal, { ...caller, signal }).finally(async () => {
      if (await rehearsal.close()) return;
      this.#unremoved.set(rehearsal.id, host);
      // It may be connected again by now.
      this.#swept.delete(host);
      this.#sweepAll();
    });
    const entry = { abort, done };
    this.#running.add(entry);
    try {
      return await done;
    } catch (error) {
      if (!signal.aborted) throw error;
      const why = late.aborted ? `it had not ended after ${LIMIT_MS / 60_000} minutes` : 'it was cancelled';
      throw new EunomiaError('CANCELLED', `${why}, and its copies are removed`, { cause: error });
    } finally {
      this.#running.delete(entry);
    }
  }
}

function unknownContainer(ref: string): EunomiaError {
  return new EunomiaError(
    'UNKNOWN_CONTAINER',
    `input.container: there is no container "${ref.slice(0, 100)}" that could be copied; it must exist, running or not`,
    { details: { argument: 'input.container' } },
  );
}

/** A copy gets nothing that the container does not have. */
function checkCapabilities({ HostConfig: { Privileged, CapAdd, CapDrop } }: Original, rights: Rights): void {
  if (Privileged === true) return;
  const own = new Set(effectiveCapabilities(CapAdd ?? [], CapDrop ?? []));
  const beyond = rights.capabilities.filter((name) => !own.has(name));
  if (beyond.length > 0)
    throw invalid(
      'input.rights.capabilities',
      `the container itself does not have ${listed(beyond)}; leave out what it does not have`,
    );
}

function untried(rights: Rights): Verification {
  return {
    rounds: [],
    proof: { started: false, checkPassed: false, outside: [] },
    rights,
    widened: [],
    problems: ['nothing was tried: `rounds` is 0'],
  };
}

function hasHealthCheck({ Config }: Original): boolean {
  const { Test } = (Config.Healthcheck ?? {}) as { Test?: unknown };
  return Array.isArray(Test) && Test.length > 0 && Test[0] !== 'NONE';
}

interface TrialContext {
  readonly rehearsal: Rehearsal;
  readonly original: Original;
  readonly runtime: RuntimeCalls | null;
  readonly check: CopyCheck;
  readonly timeout: number;
  readonly caller: Caller;
  readonly sessions: Sessions;
  readonly parts: Place;
}

/** One verification. */
class Trial {
  readonly #context: TrialContext;
  /** What the container's own rights refuse: by call and kind, with the error number. */
  #refused: ReadonlyMap<string, string | null> = new Map();

  readonly #capabilities: ReadonlySet<string>;

  constructor(context: TrialContext) {
    const { CapAdd, CapDrop } = context.original.HostConfig;
    this.#context = context;
    this.#capabilities = new Set(effectiveCapabilities(CapAdd ?? [], CapDrop ?? []));
  }

  async run(first: Rights, most: number): Promise<Verification> {
    const own = await this.#round(null, first);
    this.#refused = new Map(own.missing.map((refusal) => [likeness(refusal), refusal.errno]));
    if (own.check?.passed !== true) throw this.#failed(own);
    const problems = new Set(own.problems);
    const rounds: Round[] = [];
    const widened = new Set<string>();
    let rights = this.#withRuntime(first);
    while (rounds.length < most) {
      const round = await this.#round(rights, rights);
      rounds.push(round);
      for (const problem of round.problems) problems.add(problem);
      const wider = wideningOf(round);
      if (wider.added.length === 0) break;
      for (const one of wider.added) widened.add(one);
      rights = this.#withRuntime(wider.rights);
    }
    return this.#result(rounds, { rights, widened, problems });
  }

  /** What the runtime needs is no right of the container's, and is in each profile. */
  #withRuntime(rights: Rights): Rights {
    const { runtime } = this.#context;
    const calls = (rights.noNewPrivileges ? runtime?.noNewPrivileges : runtime?.plain) ?? [];
    const process = { pid: 0, comm: '', executable: null, args: null };
    const missing = calls.map((what): MissingRight => ({
      kind: 'CALL',
      what,
      argument: null,
      process,
      call: what,
      errno: null,
      time: '',
      stack: null,
    }));
    return widen(rights, missing).rights;
  }

  #result(
    rounds: readonly Round[],
    { rights, widened, problems }: { rights: Rights; widened: ReadonlySet<string>; problems: Set<string> },
  ): Verification {
    const last = rounds.at(-1);
    const verified = last?.check?.passed === true && last.rights === rights;
    if (!verified)
      problems.add(
        last?.rights === rights
          ? `the check does not pass, and nothing that was refused explains it: ${last.check?.output ?? 'it did not start'}`
          : `after ${rounds.length} rounds there was still something to be added: allow more rounds`,
      );
    const outside = last?.outside ?? [];
    if (verified && outside.length === 0)
      problems.add('nothing outside of the rights was attempted: the helper does not run here');
    return {
      rounds: rounds.map(({ rights: tried, refusals, started, check }) => ({
        rights: tried,
        refusals,
        started,
        check,
      })),
      proof: { started: last?.started ?? false, checkPassed: verified, outside },
      rights,
      widened: [...widened],
      problems: [...problems],
    };
  }

  #failed({ check, started, problems }: Round): EunomiaError {
    const what = started ? `the check (${this.#context.check.name}) fails` : 'a copy of the container does not start';
    const why = [check?.output, ...problems].filter(Boolean).join('; ').trim();
    return new EunomiaError(
      'CHECK_FAILED',
      `${what} under the container's own rights too: ${why}. A copy has a network of its own, in which nobody else is`,
    );
  }

  /** One start of a copy: under its own rights (null), or others. */
  async #round(tried: Rights | null, rights: Rights): Promise<Round> {
    const { rehearsal, original, check, timeout, caller, sessions, parts } = this.#context;
    const { copy, problems } = await rehearsal.copy(original, tried);
    const watch = await Watch.begin(sessions, parts, caller, {
      ids: [copy.id],
      trackers: refusalTrackers,
      where: refusalFilter,
      stacks: true,
    });
    try {
      const failure = await copy.start();
      const result =
        failure === null
          ? await passing(check, { copy, timeout, signal: caller.signal }, () => this.#isRefused(watch))
          : null;
      if (result?.passed) await sleep(SETTLE_MS, undefined, { signal: caller.signal });
      const missing = await this.#missing(watch);
      const { oomKilled } = await copy.state();
      const done =
        result?.passed === true && wideningOf({ rights, missing, check: result, oomKilled }).added.length === 0;
      const outside = tried !== null && done ? await this.#outside(copy, tried, watch) : [];
      return {
        rights,
        refusals: missing.map(({ answer: _, ...refusal }) => refusal),
        started: failure === null,
        check: result && { ...result, output: await explained(result, copy) },
        missing,
        outside,
        oomKilled,
        problems: [...problems, ...(failure === null ? [] : [failure])],
      };
    } finally {
      await watch.remove();
      await copy.remove();
    }
  }

  async #isRefused(watch: Watch): Promise<boolean> {
    return (await this.#missing(watch)).length > 0;
  }

  /** What was refused that the container's own rights allow, or refuse in another way. */
  async #missing(watch: Watch): Promise<readonly MissingRight[]> {
    return (await watch.refusals()).flatMap((refusal): MissingRight[] => {
      // Its own rights have not this one either: it lives without.
      if (refusal.kind === 'CAPABILITY' && !this.#capabilities.has(refusal.what)) return [];
      const errno = this.#refused.get(likeness(refusal));
      if (errno === undefined) return [refusal];
      if (refusal.kind !== 'CALL' || errno === null || errno === refusal.errno) return [];
      return [{ ...refusal, answer: numberOf(errno) }];
    });
  }

  /** Attempts a call, a capability and a path that are outside of the rights. */
  async #outside(copy: Copy, rights: Rights, watch: Watch): Promise<readonly OutsideAttempt[]> {
    const { rehearsal, original } = this.#context;
    const { attempts } = await import('../../inventory/docker/helper.js');
    const results: OutsideAttempt[] = [];
    const running = (await copy.state()).running;
    for (const attempt of outsideOf(rights, attempts)) {
      const exitCode = running
        ? (await copy.exec([programPath(attempt)], EXEC_MS)).exitCode
        : await this.#alone((await rehearsal.copy(original, rights, attempt.program)).copy);
      results.push({
        kind: attempt.kind,
        what: attempt.what,
        refused: exitCode !== 0,
        errno: errnoOf(exitCode),
        observed: false,
      });
    }
    const seen = new Set((await watch.refusals()).map((refusal) => `${refusal.kind} ${refusal.what}`));
    return results.map((one) => ({ ...one, observed: seen.has(`${one.kind} ${one.what}`) }));
  }

  /** Of a container that has ended, another copy runs the attempt in place of its program. */
  async #alone(copy: Copy): Promise<number> {
    try {
      await copy.start();
      for (let left = EXEC_MS; left > 0; left -= 100) {
        const { exitCode } = await copy.state();
        if (exitCode !== null) return exitCode;
        await sleep(100);
      }
      return 0;
    } finally {
      await copy.remove();
    }
  }
}

function programPath({ program }: Attempt): string {
  return `/.eunomia/${program}`;
}

/** A few calls, a capability and a path that these rights do not have. */
function outsideOf({ seccomp, capabilities, readOnlyRoot }: Rights, attempts: readonly Attempt[]): readonly Attempt[] {
  const calls = new Set(seccomp.syscalls.flatMap(({ action, names }) => (action === 'SCMP_ACT_ALLOW' ? names : [])));
  const of = (kind: Attempt['kind'], has: (what: string) => boolean): readonly Attempt[] =>
    attempts.filter((one) => one.kind === kind && !has(one.what));
  return [
    ...of('CALL', (what) => calls.has(what)).slice(0, CALLS),
    ...of('CAPABILITY', (what) => capabilities.includes(what)).slice(0, 1),
    ...of('PATH', () => !readOnlyRoot),
  ];
}

/** What the next round is to have more than this one. */
function wideningOf({
  rights,
  missing,
  check,
  oomKilled,
}: Pick<Round, 'rights' | 'missing' | 'check' | 'oomKilled'>): Widened {
  const passed = check?.passed === true;
  const { memoryBytes } = rights.limits;
  const roomier =
    oomKilled && memoryBytes !== null
      ? { ...rights, limits: { ...rights.limits, memoryBytes: memoryBytes * 2 } }
      : rights;
  // A program that works without writing beside itself, caches of Python for one, shall not get a writable root for it.
  const needed = passed
    ? missing.filter(({ kind, what }) => kind !== 'PATH' || roomFor(what).kind !== 'ROOT')
    : missing;
  const wider = widen(roomier, needed);
  const added = [...(roomier === rights ? [] : ['memory']), ...wider.added];
  return added.length > 0 || passed ? { rights: wider.rights, added } : permitPrivileges(rights, missing);
}

async function explained(result: CheckResult, copy: Copy): Promise<string> {
  if (result.passed) return result.output;
  const logs = (await copy.logs()).trim();
  return logs === '' ? result.output : `${result.output}\n${logs}`;
}

/** The same for what is refused with different error numbers. */
function likeness(refusal: Refusal): string {
  return refusalKey({ ...refusal, errno: null });
}

function numberOf(errno: string): number | null {
  return new Map(Object.entries(constants.errno)).get(errno) ?? null;
}

function errnoOf(exitCode: number): string | null {
  return Object.entries(constants.errno).find(([, number]) => number === exitCode)?.[0] ?? null;
}
