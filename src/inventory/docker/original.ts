import * as v from 'valibot';

/** What is read of a container before a copy of it is made: `GET /containers/ID/json`. */

const text = v.pipe(v.string(), v.maxLength(1 << 20));
const texts = v.pipe(v.array(text), v.maxLength(10_000));
const maybe = <const Schema extends v.GenericSchema>(schema: Schema) => v.fallback(v.nullish(schema, null), null);
const count = v.pipe(v.number(), v.safeInteger());

const mount = v.object({
  Type: text,
  Name: maybe(text),
  Source: maybe(text),
  Destination: v.pipe(text, v.startsWith('/')),
  RW: maybe(v.boolean()),
});

const device = v.object({ PathOnHost: text, PathInContainer: text, CgroupPermissions: maybe(text) });

/** What the engine takes as it gave it. */
const verbatim = v.optional(v.unknown());

/** Podman tells "RLIMIT_NOFILE", and takes "nofile". */
const ulimitName = (name: string): string => name.replace(/^RLIMIT_/, '').toLowerCase();

const original = v.object({
  Id: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  Name: v.optional(text, ''),
  /** The image's id. */
  Image: text,
  State: v.object({ Running: maybe(v.boolean()) }),
  Config: v.object({
    Image: maybe(text),
    Cmd: maybe(texts),
    Entrypoint: maybe(texts),
    Env: maybe(texts),
    WorkingDir: maybe(text),
    User: maybe(text),
    Hostname: maybe(text),
    Tty: maybe(v.boolean()),
    StopSignal: maybe(text),
    Healthcheck: verbatim,
  }),
  HostConfig: v.object({
    Privileged: maybe(v.boolean()),
    CapAdd: maybe(texts),
    CapDrop: maybe(texts),
    SecurityOpt: maybe(texts),
    ReadonlyRootfs: maybe(v.boolean()),
    Tmpfs: maybe(v.record(text, v.string())),
    Devices: maybe(v.array(device)),
    Memory: maybe(count),
    NanoCpus: maybe(count),
    PidsLimit: maybe(count),
    ShmSize: maybe(count),
    Init: maybe(v.boolean()),
    Runtime: maybe(text),
    GroupAdd: maybe(texts),
    ExtraHosts: maybe(texts),
    Ulimits: maybe(v.array(v.looseObject({ Name: v.pipe(v.string(), v.transform(ulimitName)) }))),
    Sysctls: verbatim,
  }),
  Mounts: v.fallback(v.pipe(v.array(mount), v.maxLength(1000)), []),
  NetworkSettings: maybe(v.object({ Networks: maybe(v.record(text, v.object({ Aliases: maybe(texts) }))) })),
});

/** The container that is copied, as the engine describes it. */
export type Original = v.InferOutput<typeof original>;
export type OriginalMount = v.InferOutput<typeof mount>;

/** Null for what describes no container. */
export function readOriginal(response: unknown): Original | null {
  const read = v.safeParse(original, response);
  return read.success ? read.output : null;
}
