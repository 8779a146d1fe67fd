import * as v from 'valibot';
import type { CurrentRights } from '../../event/advice.js';
import { capabilities } from '../../linux/capability.js';

/** What a container may do now, by `GET /containers/ID/json`. */

const text = v.pipe(v.string(), v.maxLength(1 << 20));
const texts = v.pipe(v.array(text), v.maxLength(10_000));
const maybe = <const Schema extends v.GenericSchema>(schema: Schema) => v.fallback(v.nullish(schema, null), null);
const count = v.pipe(v.number(), v.safeInteger());

const described = v.object({
  Config: maybe(v.object({ User: maybe(text) })),
  HostConfig: v.object({
    Privileged: maybe(v.boolean()),
    CapAdd: maybe(texts),
    CapDrop: maybe(texts),
    SecurityOpt: maybe(texts),
    ReadonlyRootfs: maybe(v.boolean()),
    Tmpfs: maybe(v.record(text, v.string())),
    Devices: maybe(v.array(v.object({ PathInContainer: text }))),
    Memory: maybe(count),
    NanoCpus: maybe(count),
    PidsLimit: maybe(count),
  }),
  Mounts: maybe(v.pipe(v.array(v.object({ Destination: text, RW: maybe(v.boolean()) })), v.maxLength(1000))),
});

const profile = v.object({ syscalls: v.array(v.object({ names: texts, action: text })) });

/** What Docker gives a container that asks for no other capabilities. */
const defaults =
  'AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT'
    .split(' ')
    .map((name) => `CAP_${name}`);

/** Null for what describes no container. */
export function readCurrentRights(response: unknown): CurrentRights | null {
  const read = v.safeParse(described, response);
  if (!read.success) return null;
  const { Config: config, HostConfig: host, Mounts: mounts } = read.output;
  const privileged = host.Privileged ?? false;
  const options = (host.SecurityOpt ?? []).map((option) => /^([^=:]+)[=:]?([^]*)$/.exec(option) ?? []);
  const [, , seccomp = null] = options.find(([, name]) => name === 'seccomp') ?? [];
  return {
    privileged,
    capabilities: privileged ? [...capabilities].sort() : effectiveCapabilities(host.CapAdd ?? [], host.CapDrop ?? []),
    seccomp: seccomp === null ? 'default' : seccomp === 'unconfined' ? 'unconfined' : 'custom',
    calls: seccomp === null ? null : callsOf(seccomp),
    readOnlyRoot: host.ReadonlyRootfs ?? false,
    tmpfs: Object.keys(host.Tmpfs ?? {}).sort(),
    mounts: (mounts ?? []).map(({ Destination, RW }) => ({ path: Destination, writable: RW ?? true })),
    devices: (host.Devices ?? []).map(({ PathInContainer }) => PathInContainer).sort(),
    user: config?.User ?? '',
    noNewPrivileges: options.some(([, name, value]) => name === 'no-new-privileges' && value !== 'false'),
    memoryBytes: aboveZero(host.Memory),
    pids: aboveZero(host.PidsLimit),
    cpus: host.NanoCpus ? host.NanoCpus / 1e9 : null,
  };
}

const aboveZero = (value: number | null): number | null => (value !== null && value > 0 ? value : null);

/** The names that a profile allows, as the engine has it inline. */
function callsOf(json: string): string[] | null {
  try {
    const { syscalls } = v.parse(profile, JSON.parse(json));
    return [
      ...new Set(syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW').flatMap(({ names }) => names)),
    ].sort();
  } catch {
    return null;
  }
}

/** What was added to the default, and dropped from it, in the order of moby's rules. */
export function effectiveCapabilities(added: readonly string[], dropped: readonly string[]): string[] {
  const named = (names: readonly string[]): string[] =>
    names
      .map((name) => name.toUpperCase())
      .map((name) => (name.startsWith('CAP_') || name === 'ALL' ? name : `CAP_${name}`));
  const [more, less] = [named(added), named(dropped)];
  const kept = more.includes('ALL')
    ? capabilities.filter((name) => !less.includes(name))
    : less.includes('ALL')
      ? more
      : [...defaults.filter((name) => !less.includes(name)), ...more];
  return [...new Set(kept)].sort();
}
