import * as v from 'valibot';
import { MOST_COMMS, tableNames } from '../../analysis/advice/observation.js';
import { invalid } from '../../base/errors.js';
import type { Observation } from '../../event/advice.js';
import { isCapability } from '../../linux/capability.js';

/** Advice as clients send it back: the JSON of `Advice.json`, of which the observation is read. */

const MOST = 100_000;
const text = v.pipe(v.string(), v.maxLength(8192));
const texts = v.pipe(v.array(text), v.maxLength(MOST));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/, 'is no time'),
  v.check((given) => !Number.isNaN(Date.parse(`${given.slice(0, 19)}Z`)), 'is no time'),
);
const absolute = v.pipe(text, v.startsWith('/', 'is no absolute path'));
/** Below /dev. A colon would begin another part of an option of engines. */
const device = v.pipe(text, v.regex(/^[^:\s\0]+$/, 'is no name of a device'));
const capability = v.pipe(text, v.check(isCapability, 'is no capability; write "CAP_CHOWN"'));
const span = v.pipe(
  v.strictObject({ from: time, to: time }),
  v.check(({ from, to }) => from <= to, 'ends before it begins'),
);
const orNull = <const Schema extends v.GenericSchema>(schema: Schema) => v.nullable(schema);

const seen = { comms: v.pipe(v.array(text), v.maxLength(MOST_COMMS)), first: time, last: time, count };
const runtime = v.boolean();
const port = v.pipe(count, v.maxValue(65_535));
const entries = <const Entries extends v.ObjectEntries>(members: Entries) =>
  v.pipe(v.array(v.strictObject({ ...seen, ...members })), v.maxLength(MOST));

const observation = v.strictObject({
  version: v.literal(1),
  containers: v.pipe(
    v.array(v.strictObject({ id: text, name: orNull(text), image: orNull(text), started: orNull(time) })),
    v.maxLength(MOST),
  ),
  spans: v.pipe(v.array(span), v.maxLength(MOST)),
  sessions: texts,
  trackers: texts,
  unobserved: texts,
  events: count,
  lost: count,
  dropped: count,
  uncounted: v.boolean(),
  excluded: texts,
  truncated: v.boolean(),
  calls: entries({
    name: text,
    abi: orNull(text),
    // Advice that was made before it existed has none.
    argument: v.optional(orNull(v.pipe(count, v.maxValue(0xffffffff))), null),
    errors: count,
    runtime,
  }),
  capabilities: entries({ capability, call: orNull(text), granted: v.boolean(), level: count, runtime }),
  paths: entries({ path: absolute, access: v.picklist(['READ', 'WRITE', 'MAKE', 'REMOVE', 'CHANGE']), runtime }),
  devices: entries({
    type: v.picklist(['BLOCK', 'CHARACTER']),
    major: count,
    minor: count,
    name: orNull(device),
    access: v.picklist(['READ', 'WRITE', 'MAKE']),
    denied: v.boolean(),
    runtime,
  }),
  ports: entries({ protocol: text, address: orNull(text), port }),
  peers: entries({ address: text, port }),
  names: entries({ name: text, address: orNull(text) }),
  programs: entries({ path: text, comm: text, runtime }),
  privileges: entries({ call: text, command: orNull(text), errno: orNull(text), runtime }),
  users: entries({ uid: count, gid: count }),
  refusals: entries({
    kind: v.picklist(['CALL', 'CAPABILITY', 'PATH', 'DEVICE']),
    what: text,
    errno: orNull(text),
  }),
  peaks: v.strictObject({
    memoryBytes: orNull(count),
    pids: orNull(count),
    cpus: orNull(v.pipe(v.number(), v.finite(), v.minValue(0))),
  }),
});

/** Throws BAD_USER_INPUT, with the place of what is wrong. */
export function readObservation(argumentPath: string, given: unknown): Observation {
  const inside = typeof given === 'object' && given !== null ? Reflect.get(given, 'observation') : undefined;
  const read = v.safeParse(observation, inside);
  if (read.success) return read.output;
  const [issue] = read.issues;
  const path = v.getDotPath(issue);
  throw invalid(
    argumentPath,
    `is no advice of Eunomia (observation${path ? `.${path}` : ''}: ${issue.message.slice(0, 200)}); give what \`Advice.json\` has, or ` +
      `advice.json of eunomia advise; its tables are ${tableNames.join(', ')}`,
  );
}
