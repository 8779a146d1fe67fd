import type { Command } from 'commander';
import { checkFlags } from './effect.js';
import { append, collect, UsageError } from './usage.js';

/** Whom to watch, as flags tell it. */
export interface TargetFlags {
  readonly container?: readonly string[];
  readonly image?: readonly string[];
  readonly label?: readonly string[];
  readonly wait?: boolean;
  readonly cgroup?: readonly string[];
  readonly pid?: readonly string[];
  readonly descendants?: boolean;
  readonly uid?: readonly string[];
  readonly comm?: readonly string[];
}

/** Adds these flags to a command that starts a session. */
export function withTarget(command: Command): Command {
  checkFlags<TargetFlags>(command, ({ container, image, label, pid }, refuse) => {
    if (!(container ?? image ?? label))
      refuse(['wait'], 'waits for containers; name them with --container, --image or --label');
    if (!pid) refuse(['descendants'], 'belongs to --pid');
  });
  return withContainers(command)
    .option('-w, --wait', 'wait for containers that do not exist yet')
    .option('--cgroup <id>', 'only in these v2 cgroups (repeatable)', collect)
    .option('-p, --pid <pid>', 'only these processes and their descendants (repeatable)', collect)
    .option('--no-descendants', 'with --pid: exclude the descendants')
    .option('-u, --uid <uid>', 'only these users (repeatable)', collect)
    .option('--comm <name>', 'only threads with this name (repeatable)', append);
}

/** Adds those of them that name containers. */
export function withContainers(command: Command): Command {
  return command
    .option(
      '-c, --container <glob>',
      'only in these containers: name, or at least 12 digits of the id (repeatable)',
      append,
    )
    .option('--image <glob>', 'only in containers of these images (repeatable)', append)
    .option('--label <name=value>', 'only in containers with these labels (repeatable, all must match)', append);
}

/** `StartSessionInput.target`; null for the whole machine. */
export function targetInput(flags: TargetFlags): Record<string, unknown> | null {
  const target: Record<string, unknown> = {};
  const selectors = containerSelectors(flags);
  if (selectors.length) target['containers'] = selectors;
  if (flags.wait) target['waitForContainers'] = true;
  if (flags.cgroup?.length) target['cgroups'] = flags.cgroup.map(cgroupOf);
  if (flags.pid?.length) target['pids'] = flags.pid.map((value) => idOf('--pid', value));
  if (flags.descendants === false) target['descendants'] = false;
  if (flags.uid?.length) target['uids'] = flags.uid.map((value) => idOf('--uid', value));
  if (flags.comm?.length) target['comms'] = flags.comm;
  return Object.keys(target).length ? target : null;
}

/** Each container with each image, and all labels: flags of one kind are alternatives, kinds must all match. */
function containerSelectors({
  container = [],
  image = [],
  label = [],
}: TargetFlags): readonly Record<string, unknown>[] {
  const named = container.map((text) => (/^[0-9a-f]{12,64}$/.test(text) ? { id: text } : { name: text }));
  const made = image.map((text) => ({ image: text }));
  const labels = label.map(labelOf);
  if (!named.length && !made.length && !labels.length) return [];
  const pairs = (named.length ? named : [{}]).flatMap((one) =>
    (made.length ? made : [{}]).map((other) => ({ ...one, ...other })),
  );
  return pairs.map((pair) => (labels.length ? { ...pair, labels } : pair));
}

function labelOf(text: string): Record<string, string> {
  const [, name = '', value] = /^([^=]+)(?:=(.*))?$/s.exec(text) ?? [];
  if (!name) throw new UsageError(`--label: ${JSON.stringify(text)} is not like name=value or name`);
  return value === undefined ? { name } : { name, value };
}

/** As text: it may be beyond what a number holds. */
function cgroupOf(text: string): string {
  if (/^\d{1,20}$/.test(text)) return text;
  throw new UsageError(
    `--cgroup: ${JSON.stringify(text)} is no number: give the cgroup's id, the inode of its directory`,
  );
}

function idOf(flag: string, text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new UsageError(`${flag}: ${JSON.stringify(text)} is no number`);
}
