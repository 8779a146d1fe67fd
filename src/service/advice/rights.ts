import * as v from 'valibot';
import { invalid } from '../../base/errors.js';
import type { Rights } from '../../event/advice.js';
import { isCapability } from '../../linux/capability.js';

/** Rights as clients send them: JSON of `Rights`. */

const name = v.pipe(v.string(), v.minLength(1), v.maxLength(256));
const path = v.pipe(v.string(), v.maxLength(4096), v.regex(/^\/[^:\0]*$/, 'is no absolute path, or has a colon'));
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
const protocol = v.picklist(['TCP', 'UDP']);
const positive = v.nullable(v.pipe(v.number(), v.finite(), v.gtValue(0)));
const whole = v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(1)));
const list = <const Item extends v.GenericSchema>(item: Item) =>
  v.pipe(v.array(item), v.maxLength(10_000), v.readonly());
const listed = <const Item extends v.GenericSchema>(item: Item) => v.optional(list(item), []);

const argument = v.strictObject({
  index: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(5)),
  value: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  valueTwo: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  op: v.picklist(['SCMP_CMP_EQ', 'SCMP_CMP_MASKED_EQ']),
});

const seccomp = v.strictObject({
  defaultAction: v.picklist(['SCMP_ACT_ERRNO', 'SCMP_ACT_LOG', 'SCMP_ACT_KILL_PROCESS']),
  defaultErrnoRet: v.exactOptional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(4095))),
  architectures: listed(name),
  syscalls: list(
    v.strictObject({
      names: list(name),
      action: v.picklist(['SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO']),
      errnoRet: v.exactOptional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(4095))),
      args: v.exactOptional(list(argument)),
    }),
  ),
});

const limits = v.strictObject({
  memoryBytes: v.optional(whole, null),
  pids: v.optional(whole, null),
  cpus: v.optional(positive, null),
});

const rights = v.strictObject({
  seccomp,
  capabilities: listed(v.pipe(v.string(), v.check(isCapability, 'is no capability; write "CAP_CHOWN"'))),
  readOnlyRoot: v.optional(v.boolean(), false),
  tmpfs: listed(v.strictObject({ path, sizeBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(4096)) })),
  volumes: listed(v.strictObject({ path, writable: v.boolean() })),
  devices: listed(v.strictObject({ path, access: v.pipe(v.string(), v.regex(/^[rwm]{1,3}$/, 'is not of "rwm"')) })),
  user: v.optional(
    v.nullable(v.pipe(v.string(), v.regex(/^[^\s:]+(:[^\s:]+)?$/, 'is no user; write "1000:1000"'))),
    null,
  ),
  noNewPrivileges: v.optional(v.boolean(), false),
  ports: listed(v.strictObject({ protocol, port })),
  peers: listed(v.strictObject({ protocol, name: v.nullable(v.string()), addresses: list(v.string()), port })),
  limits: v.optional(limits, {}),
});

/** Throws BAD_USER_INPUT, which names the first part that is wrong. */
export function rightsOf(path: string, value: unknown): Rights {
  const read = v.safeParse(rights, value);
  if (read.success) return read.output;
  const [issue] = read.issues;
  const at = v.getDotPath(issue);
  throw invalid(at === null ? path : `${path}.${at}`, issue.message.replace(/^Invalid /, 'invalid '));
}
