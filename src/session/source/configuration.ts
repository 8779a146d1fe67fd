import type { SessionFilter } from '../../filter/index.js';
import type { SourceSpec } from '../../kernel/protocol.js';
import type { SourcePool } from './pool.js';
import { startTicks } from '../../inventory/process.js';
import type { TrackerRuntime } from '../../record/runtime.js';
import { decide, type Sharing } from './sharing.js';
import type { SessionSpec } from '../spec.js';
import type { CgroupMatcher } from '../target.js';

/** What a session needs of the kernel, and which sessions the same programs serve. */
export interface KernelConfiguration {
  /** Equal for sessions that the same programs serve. */
  readonly key: string;
  readonly source: SourceSpec;
  /** Of a session with a filter. */
  readonly sharing: Sharing | null;
}

/**
 * With a filter: programs that evaluate the part that the kernel can evaluate, or those of sessions without a filter. `keep`: the key of
 * the programs that the session has, which it keeps if they can serve it.
 */
export function configure(
  spec: SessionSpec,
  trackers: readonly TrackerRuntime[],
  masks: readonly bigint[],
  matcher: CgroupMatcher,
  pool: SourcePool,
  delayMs: number,
  keep: string | null = null,
): KernelConfiguration {
  const plain = plainSource(spec, trackers, masks, matcher, delayMs);
  const key = keyOf(spec, plain);
  const { where } = spec;
  if (!where) return { key, source: plain, sharing: null };
  if (keep === key)
    return { key, source: plain, sharing: { pushed: false, reason: 'its programs aggregate, and go on as they were' } };
  const pushed = pushedSource(plain, where);
  const pushedKey = keyOf(spec, pushed);
  const sharing = decide(where.isPushed, pool.find(pushedKey), pool.find(key));
  return sharing.pushed ? { key: pushedKey, source: pushed, sharing } : { key, source: plain, sharing };
}

function plainSource(
  { target, ringBytes, trackers: asked }: SessionSpec,
  trackers: readonly TrackerRuntime[],
  masks: readonly bigint[],
  matcher: CgroupMatcher,
  delayMs: number,
): SourceSpec {
  const onlyIf = <T>(list: readonly T[] | undefined) => (list?.length ? list : null);
  return {
    ringBytes,
    delayMs,
    filter: {
      cgroups: matcher.inKernel ? matcher.known() : null,
      pids: onlyIf(target?.pids),
      descendants: target?.descendants ?? false,
      uids: onlyIf(target?.uids),
      comms: onlyIf(target?.comms),
    },
    objects: trackers.map((tracker, i) => ({
      ...tracker.objectSpec(asked[i]?.options ?? {}),
      capture: masks[i] ?? 0n,
    })),
  };
}

function pushedSource(plain: SourceSpec, { pushdowns }: SessionFilter): SourceSpec {
  return {
    ...plain,
    sets: {
      numbers: pushdowns.flatMap(({ numbers }) => numbers),
      prefixes: pushdowns.flatMap(({ prefixes }) => prefixes),
    },
    objects: plain.objects.map((object, i) => ({
      ...object,
      constants: { ...object.constants, ...pushdowns[i]?.constants },
    })),
  };
}

/**
 * What is known of cgroups follows from the target. Capture masks are ORed, but a session that captures on demand does not share with one
 * that captures everything.
 */
function keyOf({ target, capture }: SessionSpec, { ringBytes, objects, sets }: SourceSpec): string {
  const { containers, cgroups, pids, descendants, uids, comms } = target ?? {};
  const programs = objects.map(({ name, constants, unneeded, aggregatesEveryMs }) => [
    name,
    Object.entries(constants).map(([k, v]) => [k, String(v)]),
    unneeded,
    aggregatesEveryMs,
  ]);
  // A pid that is another process's by now is another target.
  const processes = pids?.map((pid) => [pid, startTicks(pid)]);
  const values = sets && [
    sets.numbers.map(([set, value]) => `${set} ${value}`),
    sets.prefixes.map(({ set, bits, bytes }) => [set, bits, Buffer.from(bytes).toString('hex')]),
  ];
  return JSON.stringify([
    capture === 'DEMANDED',
    ringBytes,
    programs,
    containers,
    cgroups,
    processes,
    pids?.length ? descendants : null,
    uids,
    comms,
    values ?? null,
  ]);
}
