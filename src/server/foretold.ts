import { release } from 'node:os';
import { messageOf } from '../base/errors.js';
import { listed } from '../base/listed.js';
import { blindSpotsWithout } from '../catalog/unloaded.js';
import { cgroupRoot } from '../kernel/attach.js';
import { tracepointArguments } from '../kernel/tracepoints.js';
import { capabilitiesFor, missingCapabilities } from '../linux/hook-capability.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { TrackerStatus } from '../service/parts.js';

const TRACEPOINT = 'tp_btf/';
/** Without these, nothing can be loaded. */
const ofAll: ReadonlySet<string> = new Set(capabilitiesFor([`${TRACEPOINT}sys_exit`]));

/** What the machine has, of what trackers need. */
export interface Machinery {
  /** "6.18.5-amd64". */
  readonly release: string;
  readonly held: ReadonlySet<string>;
  readonly hasTracepoint: (name: string) => boolean;
  /** Where programs of cgroups attach. Throws what is wrong where there is none. */
  readonly cgroupRoot: () => unknown;
}

export function machinery(held: ReadonlySet<string>): Machinery {
  return { release: release(), held, hasTracepoint: (name) => tracepointArguments(name) !== null, cgroupRoot };
}

/**
 * Whether this kernel can run a tracker, as far as it can be said without loading its programs: by its version, its tracepoints, its
 * cgroups and the rights of this process. Only loading tells what its verifier says.
 */
export function foretold(tracker: TrackerRuntime, machine: Machinery): TrackerStatus {
  const lacks = (hook: string): boolean =>
    hook.startsWith(TRACEPOINT) && !machine.hasTracepoint(hook.slice(TRACEPOINT.length));
  const optional = Object.keys(tracker.definition.optional ?? {});
  const hooksBut = (missing: readonly string[]): readonly string[] => tracker.hooksOf({}, { missing, refused: [] });
  const needed = new Set(hooksBut(optional));
  const missing = optional.filter((program) =>
    hooksBut(optional.filter((other) => other !== program)).some((hook) => !needed.has(hook) && lacks(hook)),
  );
  const hooks = hooksBut(missing);
  const missingCapability = missingCapabilities(hooks, machine.held);
  const reason =
    tooOld(tracker.definition.minimumKernel, machine.release) ??
    absent([...needed].filter(lacks)) ??
    rootless(hooks, machine) ??
    powerless(missingCapability, hooks);
  return {
    available: reason === null,
    reason,
    hooks,
    capabilities: capabilitiesFor(hooks),
    missingCapabilities: missingCapability,
    blindSpots: blindSpotsWithout(tracker.definition, { missing, refused: [] }),
  };
}

function tooOld(oldest: string, running: string): string | null {
  const [[needs = 0, minor = 0], [has = 0, hasMinor = 0]] = [oldest, running].map((text) =>
    text.split(/[.-]/).map((part) => Number.parseInt(part, 10)),
  ) as [number[], number[]];
  return has < needs || (has === needs && hasMinor < minor) ? `it needs Linux ${oldest}, and this is ${running}` : null;
}

function absent(hooks: readonly string[]): string | null {
  return hooks.length ? `this kernel has no ${listed(hooks)}` : null;
}

function rootless(hooks: readonly string[], machine: Machinery): string | null {
  if (!hooks.some((hook) => hook.startsWith('cgroup'))) return null;
  try {
    machine.cgroupRoot();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** Which of the capabilities that its hooks need this process lacks, and which hooks these are; null where it lacks none. */
export function powerless(missing: readonly string[], hooks: readonly string[]): string | null {
  if (missing.length === 0) return null;
  const particular = hooks.filter((hook) => capabilitiesFor([hook]).some((name) => !ofAll.has(name)));
  const isOfAll = missing.some((name) => ofAll.has(name));
  const whose = isOfAll ? 'all trackers need' : `${particular.join(', ')} ${particular.length > 1 ? 'need' : 'needs'}`;
  return `this process lacks ${listed(missing)}, which ${whose}`;
}
