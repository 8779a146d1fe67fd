import type {
  AdviceLine,
  Aspect,
  AdviceEvidence,
  Observation,
  Phase,
  Rights,
  SeccompProfile,
  Seen,
  SeenCall,
  SeenCapability,
} from '../../event/advice.js';
import { counted, listed } from '../../base/listed.js';
import type { Evidences } from './evidence.js';
import { TMPFS_BYTES, type FileRights, type WrittenDirectory } from './filesystem.js';
import { shownPath } from './names.js';
import { allowedBy, argumentsIn, unobservable } from './seccomp.js';
import { byFirst, devicesOf, factors, LEAST, MIB, peersOf, portsOf } from './needs.js';

/** Capabilities by which a program that starts as root becomes another user. */
const TO_OTHER_USER: ReadonlySet<string> = new Set(['CAP_SETUID', 'CAP_SETGID', 'CAP_CHOWN', 'CAP_SETPCAP']);

const SEEN = 'was seen';

/** What lines are made from. */
export interface LineParts {
  readonly rights: Rights;
  readonly observation: Observation;
  readonly evidences: Evidences;
  readonly calls: ReadonlyMap<string, readonly SeenCall[]>;
  readonly capabilities: ReadonlyMap<string, readonly SeenCapability[]>;
  readonly files: FileRights;
  readonly runtimeCalls: readonly string[];
}

/** A line for each thing that is recommended. */
export function linesOf(parts: LineParts): AdviceLine[] {
  const { observation, evidences } = parts;
  const line = (aspect: Aspect, what: string, why: string, seen: readonly Seen[]): AdviceLine => {
    const evidence: AdviceEvidence | null = evidences.of(seen);
    const phase: Phase = evidence === null ? 'RUN' : evidences.phaseOf(seen);
    return { aspect, what, why, phase, evidence };
  };
  const written = (aspect: Aspect, { path, written: seen }: WrittenDirectory, kind: string): AdviceLine =>
    line(aspect, path, `${kind}: ${pathsOf(seen.map((one) => one.path))}`, seen);
  return [
    ...callLines(parts, line),
    ...[...parts.capabilities].sort(byFirst).map(([name, seen]) => capabilityLine(name, seen, parts, line)),
    line(
      'ROOT',
      '/',
      parts.rights.readOnlyRoot
        ? 'can be read-only: nothing of the image was written outside of the directories below'
        : observation.unobserved.includes('files')
          ? 'is left writable: whether it is written was not observed'
          : `has to be writable: ${pathsOf(parts.files.system.map(({ path }) => path))}`,
      parts.files.system,
    ),
    ...parts.files.tmpfs.map((one) => written('TMPFS', one, `is written, a tmpfs of ${TMPFS_BYTES / MIB} MiB serves`)),
    ...parts.files.volumes.map((one) =>
      one.writable ? written('VOLUME', one, 'is written and kept') : line('VOLUME', one.path, 'is only read', []),
    ),
    ...devicesOf(observation).map(({ path, access, seen }) => line('DEVICE', path, `is used (${access})`, seen)),
    ...(parts.rights.user === null
      ? []
      : [line('USER', parts.rights.user, 'is the only user that its programs ran as', observation.users)]),
    line(
      'NO_NEW_PRIVILEGES',
      String(parts.rights.noNewPrivileges),
      parts.rights.noNewPrivileges
        ? 'no program was seen that works by its set-user-ID bit'
        : 'a program was seen that works by its set-user-ID bit',
      [],
    ),
    ...portsOf(observation).map(({ protocol, port, seen }) =>
      line('PORT', `${protocol} ${port}`, 'is listened on', seen),
    ),
    ...peersOf(observation).map(({ protocol, name, addresses, port, seen }) =>
      line('PEER', `${name ?? listed(addresses)} ${protocol} ${port}`, 'is connected to', seen),
    ),
    ...limitLines(parts, line),
  ];
}

/** Lines for the calls of another profile, in place of those of the recommended one. Pure. */
export function withCallsOf(lines: readonly AdviceLine[], profile: SeccompProfile): AdviceLine[] {
  const known = new Map(lines.flatMap((line) => (line.aspect === 'CALL' ? [[line.what, line]] : [])));
  const why = 'is in the rights that were tried';
  return [
    ...allowedBy(profile).map((what): AdviceLine => {
      const line = known.get(what);
      if (!line) return { aspect: 'CALL', what, why, phase: 'RUN', evidence: null };
      return line.why.startsWith(SEEN) ? { ...line, why: seenIn(profile, what) } : line;
    }),
    ...lines.filter(({ aspect }) => aspect !== 'CALL'),
  ];
}

type Line = (aspect: Aspect, what: string, why: string, seen: readonly Seen[]) => AdviceLine;

function callLines({ rights, calls, runtimeCalls }: LineParts, line: Line): AdviceLine[] {
  const runtime = new Set(runtimeCalls);
  return allowedBy(rights.seccomp).map((name) => {
    const seen = calls.get(name);
    if (seen) {
      const ongoing = seen.every(({ count }) => count === 0);
      return line(
        'CALL',
        name,
        ongoing ? 'was in progress when the advice was made' : seenIn(rights.seccomp, name),
        seen,
      );
    }
    const why =
      runtime.has(name) || name === 'execve'
        ? 'the runtime makes it before the first program'
        : unobservable.includes(name) || name === 'sigreturn'
          ? 'ends or resumes a program, and cannot be observed'
          : 'is needed';
    return { ...line('CALL', name, why, []), phase: runtime.has(name) || name === 'execve' ? 'RUNTIME' : 'RUN' };
  });
}

/** That a call was seen, and with which values of its argument a profile allows it. */
function seenIn(profile: SeccompProfile, name: string): string {
  const values = argumentsIn(profile, name);
  return values === null ? SEEN : `${SEEN}, ${values}`;
}

function capabilityLine(
  name: string,
  seen: readonly SeenCapability[],
  { observation }: LineParts,
  line: Line,
): AdviceLine {
  const calls = [...new Set(seen.flatMap(({ call }) => call ?? []))].sort();
  const other = observation.users.find(({ uid }) => uid !== 0);
  const made = line('CAPABILITY', name, `was used in ${listed(calls)}`, seen);
  const avoidable = other !== undefined && made.phase === 'START' && TO_OTHER_USER.has(name);
  return avoidable
    ? { ...made, why: `${made.why}; to start it as user ${other.uid}:${other.gid} may make it unnecessary` }
    : made;
}

function limitLines({ rights: { limits }, observation: { peaks } }: LineParts, line: Line): AdviceLine[] {
  const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`;
  return [
    ...(limits.memoryBytes === null || peaks.memoryBytes === null
      ? []
      : [
          line(
            'LIMIT',
            `memory ${mib(limits.memoryBytes)}`,
            `the peak was ${mib(peaks.memoryBytes)}: ${factors.memory} times that`,
            [],
          ),
        ]),
    ...(limits.pids === null || peaks.pids === null
      ? []
      : [
          line(
            'LIMIT',
            `pids ${limits.pids}`,
            `the peak was ${peaks.pids}: ${factors.pids} times that, ${LEAST.pids} at least`,
            [],
          ),
        ]),
    ...(limits.cpus === null || peaks.cpus === null
      ? []
      : [
          line(
            'LIMIT',
            `cpus ${limits.cpus}`,
            `the average was ${peaks.cpus.toFixed(2)}: ${factors.cpus} times that, ${LEAST.cpus} at least`,
            [],
          ),
        ]),
  ];
}

/** A few of them, and how many more there are. */
function pathsOf(paths: readonly string[]): string {
  const all = [...new Set(paths)].sort();
  const more = all.length - 3;
  return listed([...all.slice(0, 3).map(shownPath), ...(more > 0 ? [`${counted(more, 'more path')}`] : [])]);
}
