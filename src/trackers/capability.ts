import { invalid, suggest } from '../base/errors.js';
import { capabilities, capabilityName, isCapability } from '../linux/capability.js';
import { syscallName, type SyscallAbi } from '../linux/syscalls.js';
import { defineReport, ifListed, ifSet } from '../tracker/define-report.js';
import { ofFirst } from '../tracker/aggregated.js';
import { defineTracker, type NameSet, type TrackerOptions } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { watchedCalls } from '../tracker/watched-calls.js';

/** `enum call` of the object. */
const calls = {
  brk: 1,
  mmap: 1,
  mprotect: 1,
  mremap: 1,
  execve: 1,
  execveat: 1,
  fork: 1,
  vfork: 1,
  clone: 2,
  clone3: 3,
};
const names: NameSet = { of: 'capability', has: isCapability, all: capabilities };
const numberOf = (name: string) => {
  const known = capabilities.indexOf(name);
  return known < 0 ? Number(name.slice('CAP_'.length)) : known;
};

function check(options: TrackerOptions, path: string): void {
  const chosen = options['capabilities'] as readonly string[] | null | undefined;
  if (chosen?.length === 0)
    throw invalid(
      `${path}.capabilities`,
      'is empty; leave it out, or name capabilities, for example ["CAP_SYS_ADMIN"]',
    );
  chosen?.forEach((name, i) => {
    if (names.has(name)) return;
    const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
    const near = suggest(shown, names.all) || '; write names as in capabilities(7), for example "CAP_SYS_ADMIN"';
    throw invalid(`${path}.capabilities[${i}]`, `there is no capability "${shown}"${near}`, { capability: shown });
  });
  checkEvery(options, path);
}

const bitsOf = (chosen: unknown): bigint =>
  ((chosen ?? []) as readonly string[]).reduce((bits, name) => bits | (1n << BigInt(numberOf(name))), 0n);
const ifCall = <Value>(nr: number, value: Value) => (nr < 0 ? null : value);

export default defineTracker({
  name: 'capability',
  minimumKernel: '6.14',
  watches:
    'checks of capabilities, aggregated in the kernel by container, process, capability, result, system call and ' +
    'user namespace',
  details: '{capability} {granted:granted:denied} [in {name}] × {count}',
  blindSpots: [
    'What a process was allowed without a capability: the kernel asks for one only where the other rules refuse. A refusal ' +
      'for another reason, by seccomp or file modes for example, is not in here either.',
    'Whether a failed check made the call fail: the kernel often asks for another capability next, or gives less.',
    'Checks that the kernel does not audit (CAP_OPT_NOAUDIT) look like the others.',
    'Checks of CAP_SYS_ADMIN in calls that allocate memory (mmap, mprotect, mremap, brk, fork, exec) and in page faults are ' +
      'excluded without the option `memory`, also those that are not about memory: a fork above the limit of processes, for example. ' +
      'Whether a clone3 makes namespaces is read from the memory of the process.',
    'Checks of credentials other than those of the process, such as those of an opened file, are counted for the process that runs.',
    'A check in an interrupt or a page fault belongs to no system call, and to the process that it interrupted.',
  ],
  columns: ['capability', 'granted', 'name', 'userNsLevel', 'count'],
  indexed: ['capability', 'name'],
  example: '{ deniedOnly: true }',
  trigger: 'setpriv --reuid 1000 --clear-groups chroot /',
  check,
  constants: (options) => ({
    ...watchedCalls(calls),
    eu_self: options['ownCalls'] === true ? 0 : process.pid,
    capabilities: bitsOf(options['capabilities']),
    denied_only: options['deniedOnly'] === true,
    memory: options['memory'] === true,
  }),
  names: { capability: names },
  pushed: {
    capability: { kind: 'code', stem: 'capability', max: 63, read: capabilityName },
    granted: { kind: 'code', stem: 'granted', max: 1, read: Boolean },
    nr: { kind: 'number', stem: 'nr', null: -1 },
    userNsLevel: { kind: 'number', stem: 'user_ns_level' },
    ...ofFirst,
  },
  kernelAggregate: { everyMs, count: 'count', totals: { count: null } },
  fields: {
    capability: { from: ['capability'], read: capabilityName },
    name: {
      from: ['nr', 'abi'],
      read: (nr: number, abi: SyscallAbi | null) => ifCall(nr, syscallName(nr, abi)),
    },
    nr: { from: ['nr'], read: (nr: number) => ifCall(nr, nr) },
  },
  report: defineReport<'capability'>({
    feeds: 'capabilities',
    alike: ['capability', 'granted', 'count', 'name', 'userNsLevel'],
    read: ({ capability, granted, count, name, userNsLevel }) => ({
      capability,
      granted,
      count: Number(count),
      call: name ?? null,
      level: userNsLevel,
    }),
    restricting: [
      ifSet('deniedOnly', 'checks that succeed are excluded'),
      ifListed('capabilities', 'capabilities that are not listed are excluded'),
    ],
    extending: ['memory', 'ownCalls'],
  }),
});
