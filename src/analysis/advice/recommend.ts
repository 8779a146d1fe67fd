import type { Advice, CurrentRights, Observation, Rights, SeccompDefault, SeccompProfile } from '../../event/advice.js';
import { listed } from '../../base/listed.js';
import { coverageOf } from './coverage.js';
import { isAllowedByDefault } from './docker-default.js';
import { evidencesOf } from './evidence.js';
import { fileRights } from './filesystem.js';
import { linesOf } from './line.js';
import { devicesOf, limitsOf, neededCapabilities, peersOf, portsOf, raises, userOf } from './needs.js';
import { allowedBy, filteringIn, neededCalls, profileOf } from './seccomp.js';
import { nativeCalls, syscallNames } from '../../linux/syscalls.js';

export interface RecommendOptions {
  /** What the container has now; null where no engine tells. */
  readonly current: CurrentRights | null;
  /**
   * Calls that the container's runtime makes under the profile before it executes the program. Null if not known: then those count that it
   * was seen to make and that Docker's default profile allows, for it starts containers under that.
   */
  readonly runtimeCalls: readonly string[] | null;
  readonly action: SeccompDefault;
}

const DNS_PORT = 53;

/** The least that a container needs, by what was seen of it; a line for each thing, with its evidence. Pure. */
export function recommend(observation: Observation, options: RecommendOptions): Advice {
  const runtimeCalls = options.runtimeCalls ?? callsOfRuntime(observation);
  const evidences = evidencesOf(observation);
  const calls = neededCalls(observation);
  const capabilities = neededCapabilities(observation, calls, options.current);
  const files = fileRights(observation, options.current);
  const names = new Set([...calls.keys(), ...runtimeCalls, 'execve']);
  const rights: Rights = {
    seccomp: profileOf({ names, runtime: runtimeCalls, seen: calls }, observation, options.action),
    capabilities: [...capabilities.keys()].sort(),
    readOnlyRoot: files.readOnlyRoot,
    tmpfs: files.tmpfs.map(({ path, sizeBytes }) => ({ path, sizeBytes })),
    volumes: files.volumes.map(({ path, writable }) => ({ path, writable })),
    devices: devicesOf(observation).map(({ path, access }) => ({ path, access })),
    user: userOf(observation),
    noNewPrivileges: !raises(observation),
    ports: portsOf(observation).map(({ protocol, port }) => ({ protocol, port })),
    peers: peersOf(observation).map(({ seen: _seen, ...peer }) => peer),
    limits: limitsOf(observation),
  };
  return {
    subject: subjectOf(observation),
    rights,
    lines: linesOf({ rights, observation, evidences, calls, capabilities, files, runtimeCalls }),
    coverage: coverageOf(observation),
    defaultProfile: againstDefault(rights.seccomp),
    problems: problemsOf(observation, rights, options.current, runtimeCalls),
    observation,
  };
}

/** What a profile leaves of Docker's default one. Pure. */
export function againstDefault(profile: SeccompProfile): Advice['defaultProfile'] {
  const allowed = allowedBy(profile);
  return {
    allowed: syscallNames().filter((name) => nativeCalls(name).length > 0 && isAllowedByDefault(name)).length,
    remaining: allowed.filter(isAllowedByDefault).length,
    beyond: allowed.filter((name) => !isAllowedByDefault(name)),
  };
}

function subjectOf({ containers }: Observation): Advice['subject'] {
  const [first] = containers;
  return {
    container: first ? { id: first.id, name: first.name } : null,
    image: first?.image ?? null,
    containers: containers.length,
  };
}

function callsOfRuntime({ calls }: Observation): string[] {
  return [
    ...new Set(
      calls
        .filter(({ name, runtime }) => runtime && name !== 'clone3' && isAllowedByDefault(name))
        .map(({ name }) => name),
    ),
  ];
}

function problemsOf(
  { calls, paths, names, peers, unobserved }: Observation,
  { peers: shown, seccomp }: Rights,
  current: CurrentRights | null,
  runtimeCalls: readonly string[],
): string[] {
  const unnamed = [
    ...new Set(calls.filter(({ name, runtime }) => !runtime && /syscall_\d+$/.test(name)).map(({ name }) => name)),
  ];
  const addresses = shown
    .filter(({ name, port }) => name === null && port !== DNS_PORT)
    .flatMap((peer) => peer.addresses);
  return [
    ...(calls.length ? [] : ['No system call of it was seen: a profile of these calls would stop it.']),
    ...(runtimeCalls.length
      ? []
      : ['What the runtime needs before it executes the program is not known: the profile may keep it from starting.']),
    ...(unnamed.length ? [`${listed(unnamed)}: a call without a name cannot be in a profile.`] : []),
    ...(unobserved.includes('files') || paths.length ? [] : ['No file of it was seen to be opened.']),
    ...(addresses.length
      ? [`No DNS answer named ${listed(addresses.slice(0, 5))}: a policy by address breaks when it moves.`]
      : []),
    ...(peers.length || names.length ? ['Peers by UDP other than DNS servers were not observed.'] : []),
    ...(current ? [] : ['No engine told what the container has: its mounts were taken for part of its image.']),
    ...filteringIn(seccomp),
  ];
}
