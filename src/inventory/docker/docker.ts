import { readEvent, type InspectedContainer, type ListedContainer } from './response.js';
import { formatTime, type ContainerFacts, type ContainerState } from '../container.js';

/** What an event of the Docker API means for the containers. */
export type EngineNotice =
  | { readonly kind: 'facts'; readonly facts: ContainerFacts; readonly inspect: boolean }
  | { readonly kind: 'removed'; readonly id: string; readonly at: string };

type Networks = readonly { readonly IPAddress?: string | undefined; readonly GlobalIPv6Address?: string | undefined }[];

export function isContainerId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

const STATES: Readonly<Record<string, ContainerState>> = {
  created: 'CREATED',
  configured: 'CREATED', // Podman's word; so are initialized, stopping and stopped
  initialized: 'CREATED',
  running: 'RUNNING',
  stopping: 'RUNNING',
  paused: 'PAUSED',
  restarting: 'RESTARTING',
  exited: 'EXITED',
  stopped: 'EXITED',
  removing: 'EXITED',
  dead: 'DEAD',
};

export function factsFromList(listed: ListedContainer, runtime: string): ContainerFacts {
  return compact({
    id: listed.Id,
    // A container that others link to has their names for it too: "/web/db". Its own has one slash.
    name: (listed.Names?.find((name) => name.lastIndexOf('/') === 0) ?? listed.Names?.[0])?.replace(/^\//, ''),
    // When a tag has moved on, the list shows the bare id; `inspect` knows what the user wrote.
    image: listed.Image?.startsWith('sha256:') === true ? undefined : listed.Image,
    imageId: listed.ImageID,
    labels: listed.Labels ?? {},
    runtime,
    state: STATES[listed.State?.toLowerCase() ?? ''],
    // In whole seconds; `inspect` is exact.
    createdAt: listed.Created === undefined ? undefined : formatTime(listed.Created * 1000),
    ips: addresses(listed.NetworkSettings?.Networks),
  });
}

export function factsFromInspect(inspected: InspectedContainer, runtime: string): ContainerFacts {
  const { State: state, Config: config } = inspected;
  return compact({
    id: inspected.Id,
    name: inspected.Name?.replace(/^\//, ''),
    image: config?.Image,
    imageId: inspected.Image,
    labels: config?.Labels ?? {},
    runtime,
    state: STATES[state?.Status?.toLowerCase() ?? ''],
    createdAt: timestamp(inspected.Created),
    startedAt: timestamp(state?.StartedAt),
    finishedAt: timestamp(state?.FinishedAt),
    pid: state?.Pid === undefined ? undefined : state.Pid > 0 ? state.Pid : null,
    privileged: inspected.HostConfig?.Privileged,
    ips: addresses(inspected.NetworkSettings?.Networks),
  });
}

/** The facts that time does not change: of a response that an event has overtaken, only these still hold. */
export function lastingFacts({ id, image, imageId, runtime, createdAt, privileged }: ContainerFacts): ContainerFacts {
  return compact({ id, image, imageId, runtime, createdAt, privileged });
}

// An event's attributes are the labels, overlaid with these.
const OWN_ATTRIBUTES = new Set([
  'name',
  'image',
  'exitCode',
  'containerExitCode',
  'execDuration',
  'execID',
  'signal',
  'oldName',
  'podId',
]);

/**
 * Reads one line of `GET /events`; null when it says nothing of use, or is not an event.
 * `nanos` is the event's time, and null for an event without one.
 */
export function readEngineEvent(
  line: string,
  runtime: string,
): { notice: EngineNotice | null; nanos: bigint | null } | null {
  const event = readEvent(line);
  if (event === null) return null;
  const { nanos, Actor: actor, Type: type } = event;
  const at = nanos === null ? formatTime(Date.now()) : fromNanos(nanos);
  const attributes = actor?.Attributes ?? {};
  const id = actor?.ID;
  const action = event.Action ?? event.status;
  if (action === undefined) return { notice: null, nanos };
  if (type === 'network') return { notice: networkNotice(action, attributes['container']), nanos };
  if (id === undefined) return { notice: null, nanos };
  return { notice: containerNotice(action, id, attributes, at, runtime), nanos };
}

function networkNotice(action: string, id: string | undefined): EngineNotice | null {
  if (!isContainerId(id) || (action !== 'connect' && action !== 'disconnect')) return null;
  return { kind: 'facts', facts: { id }, inspect: true };
}

function containerNotice(
  action: string,
  id: string,
  attributes: Readonly<Record<string, string>>,
  at: string,
  runtime: string,
): EngineNotice | null {
  const said = compact({
    id,
    runtime,
    name: attributes['name'],
    image: attributes['image'],
    labels: Object.fromEntries(Object.entries(attributes).filter(([key]) => !OWN_ATTRIBUTES.has(key))),
  });
  const facts = (more: Omit<ContainerFacts, 'id'>, inspect = true): EngineNotice => ({
    kind: 'facts',
    facts: { ...said, ...more },
    inspect,
  });
  switch (action) {
    case 'create':
      return facts({ state: 'CREATED', createdAt: at });
    case 'start':
      return facts({ state: 'RUNNING', startedAt: at });
    case 'unpause':
      return facts({ state: 'RUNNING' }, false);
    case 'pause':
      return facts({ state: 'PAUSED' }, false);
    case 'die':
    case 'died': // Podman's word
      return facts({ state: 'EXITED', finishedAt: at, pid: null });
    case 'rename':
      return facts({}, false);
    case 'update':
      return facts({});
    case 'destroy':
    case 'remove': // Podman's word
      return { kind: 'removed', id, at };
    default:
      return null;
  }
}

function addresses(networks: Networks | null | undefined): string[] {
  const found = (networks ?? []).flatMap((network) => [network.IPAddress, network.GlobalIPv6Address]);
  return [...new Set(found.filter((address): address is string => address !== undefined && address !== ''))].sort();
}

/** RFC 3339 in UTC with nanoseconds; undefined for Go's zero time, which stands for "never". */
function timestamp(text: string | undefined): string | undefined {
  const [, whole, fraction = '', zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(text ?? '') ?? [];
  if (whole === undefined || zone === undefined || whole.startsWith('0001-')) return undefined;
  // Go leaves trailing zeros out; with nine digits always, times compare as text.
  const nanos = fraction.slice(1, 10).padEnd(9, '0');
  return `${zone === 'Z' ? whole : new Date(whole + zone).toISOString().slice(0, 19)}.${nanos}Z`;
}

function fromNanos(nanos: bigint): string {
  const seconds = new Date(Number(nanos / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`;
}

/** Drops what is undefined, so that facts hold only what was said. */
function compact(facts: ContainerFacts): ContainerFacts {
  return { ...Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined)), id: facts.id };
}
