/**
 * Advice: the least that a container needs, as clients receive it; and what was seen of the container, from which advice is made and which
 * can be merged. Times are RFC 3339 with nanoseconds, so that their order is that of text. Plain JSON throughout: a file with advice holds
 * these types as they are.
 */

/** When something was needed: by the runtime that starts the container, only within the first seconds, or also later. */
export type Phase = 'RUNTIME' | 'START' | 'RUN';

/** Who did something, and when. */
export interface Seen {
  /** Comms; sorted, the first few. */
  readonly comms: readonly string[];
  readonly first: string;
  readonly last: string;
  /** 0 for a system call that was in progress when the advice was made: it has not returned yet. */
  readonly count: number;
}

/** Seen before the first exec of a program of the container, in a process of its runtime. */
interface OfRuntime {
  readonly runtime: boolean;
}

export interface SeenCall extends Seen, OfRuntime {
  /** As in strace; those of a 32-bit ABI too. */
  readonly name: string;
  /** `SyscallAbi` of the schema. Null if not known. */
  readonly abi: string | null;
  /** What tells calls of this name apart (linux/call-arguments.ts). Null for other calls, and where it is not known. */
  readonly argument: number | null;
  /** How many failed. */
  readonly errors: number;
}

/** Checks of a capability in one system call. */
export interface SeenCapability extends Seen, OfRuntime {
  readonly capability: string;
  /** Null if the check was in no system call. */
  readonly call: string | null;
  readonly granted: boolean;
  /** Depth of the user namespace in which it was needed. */
  readonly level: number;
}

/** What was done to a path: opened for reading or writing, made (created, linked, renamed to), removed, or its attributes were changed. */
export type PathAccess = 'READ' | 'WRITE' | 'MAKE' | 'REMOVE' | 'CHANGE';

export interface SeenPath extends Seen, OfRuntime {
  /** Absolute, as the container sees it. */
  readonly path: string;
  readonly access: PathAccess;
}

export interface SeenDevice extends Seen, OfRuntime {
  readonly type: 'BLOCK' | 'CHARACTER';
  readonly major: number;
  readonly minor: number;
  /** Below /dev. Null for numbers that are not fixed. */
  readonly name: string | null;
  readonly access: 'READ' | 'WRITE' | 'MAKE';
  readonly denied: boolean;
}

export interface SeenPort extends Seen {
  readonly protocol: string;
  readonly address: string | null;
  readonly port: number;
}

/** A peer that the container connected to, by TCP. */
export interface SeenPeer extends Seen {
  readonly address: string;
  readonly port: number;
}

/** A name that DNS was asked for, and an address that it gave. Null for a name whose answers had none. */
export interface SeenName extends Seen {
  readonly name: string;
  readonly address: string | null;
}

export interface SeenProgram extends Seen, OfRuntime {
  readonly path: string;
  readonly comm: string;
}

export interface SeenPrivilege extends Seen, OfRuntime {
  /** The system call, as in strace. */
  readonly call: string;
  readonly command: string | null;
  readonly errno: string | null;
}

/** A user that processes of the container ran as: ids in the initial user namespace. */
export interface SeenUser extends Seen {
  readonly uid: number;
  readonly gid: number;
}

/** Something that seccomp or a device rule refused, or an open that failed with EACCES, EPERM or EROFS. */
export interface SeenRefusal extends Seen {
  readonly kind: RefusalKind;
  readonly what: string;
  readonly errno: string | null;
}

/** What a cgroup used at most. Null if nobody looked. */
export interface ResourcePeaks {
  readonly memoryBytes: number | null;
  /** Processes and threads at once. */
  readonly pids: number | null;
  /** CPUs in use, averaged over the time watched. */
  readonly cpus: number | null;
}

export interface Span {
  readonly from: string;
  readonly to: string;
}

export interface ObservedContainer {
  readonly id: string;
  readonly name: string | null;
  readonly image: string | null;
  /** When its runtime was first seen to give it its root directory. Null if it was running before. */
  readonly started: string | null;
}

/**
 * What was seen of one container, or of several that are to get the same rights. Merging is associative and commutative: what was seen in
 * two halves of a time, merged, is what was seen in the whole (analysis/advice/merge.ts). Lists are sorted by what identifies an entry.
 */
export interface Observation {
  /** Version of this form: 1. */
  readonly version: 1;
  readonly containers: readonly ObservedContainer[];
  /** When somebody watched: disjoint, in their order. */
  readonly spans: readonly Span[];
  /** Sessions that were read. */
  readonly sessions: readonly string[];
  /** Trackers that some of the sessions ran, sorted. */
  readonly trackers: readonly string[];
  /** Kinds of facts for which no tracker ran for some of the time: "capabilities"; sorted. What is there of them is not all. */
  readonly unobserved: readonly string[];
  readonly events: number;
  readonly lost: number;
  readonly dropped: number;
  /** Whether events are missing that nobody counted. */
  readonly uncounted: boolean;
  /** What kept events out, as sentences without their full stop; sorted. */
  readonly excluded: readonly string[];
  /** Whether entries were left out because there were too many. */
  readonly truncated: boolean;
  readonly calls: readonly SeenCall[];
  readonly capabilities: readonly SeenCapability[];
  readonly paths: readonly SeenPath[];
  readonly devices: readonly SeenDevice[];
  readonly ports: readonly SeenPort[];
  readonly peers: readonly SeenPeer[];
  readonly names: readonly SeenName[];
  readonly programs: readonly SeenProgram[];
  readonly privileges: readonly SeenPrivilege[];
  readonly users: readonly SeenUser[];
  readonly refusals: readonly SeenRefusal[];
  readonly peaks: ResourcePeaks;
}

/** The actions of a profile, as in its file. */
export type SeccompDefault = 'SCMP_ACT_ERRNO' | 'SCMP_ACT_LOG' | 'SCMP_ACT_KILL_PROCESS';

export interface SeccompArgument {
  /** 0 to 5. */
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_MASKED_EQ';
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  /** Of SCMP_ACT_ERRNO, where a program expects another error number than the default: ENOSYS of clone3. */
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgument[];
}

/** A seccomp profile as Docker, Podman, Kubernetes and the OCI runtime specification take it. */
export interface SeccompProfile {
  readonly defaultAction: SeccompDefault;
  /** Of SCMP_ACT_ERRNO: 1 is EPERM. */
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly SeccompRule[];
}

export interface TmpfsRight {
  readonly path: string;
  readonly sizeBytes: number;
}

/** A mount that the container has, and whether it writes there. */
export interface VolumeRight {
  readonly path: string;
  readonly writable: boolean;
}

export interface DeviceRight {
  /** As the engine takes it: "/dev/fuse". */
  readonly path: string;
  /** Of "rwm". */
  readonly access: string;
}

export interface PortRight {
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
}

export interface PeerRight {
  readonly protocol: 'TCP' | 'UDP';
  /** Null if only the address is known. */
  readonly name: string | null;
  /** Sorted. */
  readonly addresses: readonly string[];
  readonly port: number;
}

/** Null: nothing is recommended, because nobody looked. */
export interface LimitRights {
  readonly memoryBytes: number | null;
  readonly pids: number | null;
  readonly cpus: number | null;
}

/** What a container is to be run with. */
export interface Rights {
  readonly seccomp: SeccompProfile;
  /** Sorted names: "CAP_CHOWN". All others are dropped. */
  readonly capabilities: readonly string[];
  readonly readOnlyRoot: boolean;
  readonly tmpfs: readonly TmpfsRight[];
  readonly volumes: readonly VolumeRight[];
  readonly devices: readonly DeviceRight[];
  /** "uid:gid" to start it as. Null leaves the user as it is. */
  readonly user: string | null;
  readonly noNewPrivileges: boolean;
  readonly ports: readonly PortRight[];
  readonly peers: readonly PeerRight[];
  readonly limits: LimitRights;
}

/** The part of `Rights` that a line of advice is about. */
export type Aspect =
  | 'CALL'
  | 'CAPABILITY'
  | 'ROOT'
  | 'TMPFS'
  | 'VOLUME'
  | 'DEVICE'
  | 'USER'
  | 'NO_NEW_PRIVILEGES'
  | 'PORT'
  | 'PEER'
  | 'LIMIT';

/** Who did something, for people. */
export interface AdviceEvidence {
  /** Executables, or comms where no exec was seen. */
  readonly programs: readonly string[];
  readonly first: string;
  readonly last: string;
  /** See `Seen.count`. */
  readonly count: number;
}

/** One line of a recommendation, and why it is there. */
export interface AdviceLine {
  readonly aspect: Aspect;
  /** "openat", "CAP_CHOWN", "/tmp", "TCP 443". */
  readonly what: string;
  /** What is recommended of it, and why, as a sentence without its full stop. */
  readonly why: string;
  readonly phase: Phase;
  /** Null for what no event shows: what the runtime needs, or what was not seen. */
  readonly evidence: AdviceEvidence | null;
}

export interface Coverage {
  /** Nanoseconds in all. */
  readonly watchedNs: number;
  readonly from: string | null;
  readonly to: string | null;
  /** Whether the start of the container was seen; of several: of each. */
  readonly startSeen: boolean;
  readonly programs: readonly string[];
  /** Distinct calls, and how many of them appeared first in the last half of the time. */
  readonly calls: number;
  readonly newCalls: number;
  /** newCalls / calls: 0 when the last half brought nothing new. */
  readonly saturation: number;
  /** When a call was last seen for the first time. */
  readonly lastNewCall: string | null;
  readonly lost: number;
  readonly dropped: number;
  readonly complete: boolean;
  /** Why it is not complete, as sentences without their full stop. */
  readonly reasons: readonly string[];
}

/** What a container has now, as its engine tells. Null: not told. */
export interface CurrentRights {
  readonly privileged: boolean;
  /** Effective set: the default, with what was added and dropped. Sorted. */
  readonly capabilities: readonly string[];
  /** "default", "unconfined" or "custom". */
  readonly seccomp: 'default' | 'unconfined' | 'custom';
  /** Of a custom profile: the names that it allows. Null if it cannot be read. */
  readonly calls: readonly string[] | null;
  readonly readOnlyRoot: boolean;
  readonly tmpfs: readonly string[];
  readonly mounts: readonly { readonly path: string; readonly writable: boolean }[];
  readonly devices: readonly string[];
  /** As given: "1000:1000". Empty for that of the image, which is root unless it says otherwise. */
  readonly user: string;
  readonly noNewPrivileges: boolean;
  readonly memoryBytes: number | null;
  readonly pids: number | null;
  readonly cpus: number | null;
}

export interface AdviceSubject {
  /** The container; of several, the first. Null for advice merged from files without one. */
  readonly container: { readonly id: string; readonly name: string | null } | null;
  readonly image: string | null;
  /** How many containers were seen. */
  readonly containers: number;
}

export interface Advice {
  readonly subject: AdviceSubject;
  readonly rights: Rights;
  readonly lines: readonly AdviceLine[];
  readonly coverage: Coverage;
  /** Calls that Docker's default profile allows and this one does not, and the other way round. */
  readonly defaultProfile: { readonly allowed: number; readonly remaining: number; readonly beyond: readonly string[] };
  /** What is wrong with it, or could not be told: sentences. */
  readonly problems: readonly string[];
  /** What it was made from: to be merged with that of others. */
  readonly observation: Observation;
}

/** What differs between two pieces of advice, or between what a container has and what it needs. */
export interface AdviceDifference {
  readonly aspect: Aspect;
  readonly what: string;
  /** ADDED: only the later one has it; REMOVED: only the earlier one; CHANGED: both, otherwise. */
  readonly change: 'ADDED' | 'REMOVED' | 'CHANGED';
  readonly before: string | null;
  readonly after: string | null;
}

/** The files that a recommendation is written to. */
export interface AdviceFile {
  /** "seccomp.json" */
  readonly name: string;
  readonly content: string;
}

export type RefusalKind = 'CALL' | 'CAPABILITY' | 'PATH' | 'DEVICE';

/** Something that a container under a recommendation attempted, and was refused. */
export interface Refusal {
  readonly kind: RefusalKind;
  /** The call, capability, path or device. */
  readonly what: string;
  /** Of a call: what tells it apart from others of its name. Null for other calls, and for those after the first few. */
  readonly argument: number | null;
  readonly process: {
    readonly pid: number;
    readonly comm: string;
    readonly executable: string | null;
    readonly args: readonly string[] | null;
  };
  /** The system call in which it happened. Null if not known. */
  readonly call: string | null;
  readonly errno: string | null;
  readonly time: string;
  /** Frames, the innermost first, as `SyscallEvent.stack`. Null if not known. */
  readonly stack: readonly string[] | null;
}

/** The outcome of a user's check: a command, an HTTP probe, the image's health check. */
export interface CheckResult {
  readonly check: string;
  readonly passed: boolean;
  readonly output: string;
}

/** One start of a copy under a recommendation. */
export interface VerificationRound {
  readonly rights: Rights;
  readonly refusals: readonly Refusal[];
  readonly started: boolean;
  /** Null if it had not come so far. */
  readonly check: CheckResult | null;
}

/** Something outside of the recommendation that a copy attempted. */
export interface OutsideAttempt {
  readonly kind: 'CALL' | 'CAPABILITY' | 'PATH';
  readonly what: string;
  readonly refused: boolean;
  /** Null if it succeeded, or a signal ended the program. */
  readonly errno: string | null;
  /** Whether the trackers saw it refused. */
  readonly observed: boolean;
}

/** Whether a container runs with what is recommended, tried with a copy of it. */
export interface Verification {
  readonly rounds: readonly VerificationRound[];
  readonly proof: {
    readonly started: boolean;
    readonly checkPassed: boolean;
    /** Empty if it did not come so far, or nothing could be attempted. */
    readonly outside: readonly OutsideAttempt[];
  };
  /** The rights of the last round; if it ran out of rounds, with what would be added for the next. */
  readonly rights: Rights;
  /** What had to be added to the recommendation: "openat", "CAP_CHOWN". */
  readonly widened: readonly string[];
  readonly problems: readonly string[];
}
