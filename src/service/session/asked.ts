import type { Asked, AskedInput, AskedTarget } from '../../session/asked.js';
import { cursorOf } from '../../session/cursor.js';

/** What was asked of a session, as the schema's `SessionSpec`. */
export interface SpecView {
  readonly input: AskedInput;
  readonly limit: number | null;
  readonly trackers: readonly { readonly name: string; readonly options: Readonly<Record<string, unknown>> }[];
  readonly target: TargetView | null;
  readonly where: Readonly<Record<string, unknown>> | null;
  readonly capture: AskedInput['capture'];
  readonly fields: readonly string[];
  readonly for: string | null;
  readonly ttl: string | null;
  readonly bufferBytes: number;
  readonly ringBytes: number;
  readonly persist: { readonly store: 'EMBEDDED' | 'INFLUX'; readonly mode: 'EVENTS' | 'ROLLUP' } | null;
  readonly plugins: readonly { readonly name: string; readonly options: unknown; readonly restart: string }[];
}

export interface TargetView {
  readonly containers: readonly SelectorView[] | null;
  readonly waitForContainers: boolean;
  readonly cgroups: readonly string[] | null;
  readonly pids: readonly number[] | null;
  readonly descendants: boolean;
  readonly uids: readonly number[] | null;
  readonly comms: readonly string[] | null;
}

export interface SelectorView {
  readonly name: string | null;
  readonly id: string | null;
  readonly image: string | null;
  readonly labels: readonly { readonly name: string; readonly value: string | null }[] | null;
}

/** A change of a session while it ran, as the schema's `SessionChange`. */
export interface ChangeView {
  readonly at: string;
  readonly cursor: string;
  readonly before: SpecView;
}

export function changeViews(session: string, asked: Asked | null): readonly ChangeView[] {
  return (asked?.changes ?? []).flatMap(({ at, seq, input, where }) => {
    const before = specView({ input, where, limit: asked?.limit ?? null });
    return before ? [{ at, cursor: cursorOf(session, seq), before }] : [];
  });
}

export function specView(asked: Asked | null): SpecView | null {
  if (!asked) return null;
  const { input, limit } = asked;
  const { target, where, ttl, persist, plugins } = input;
  return {
    input,
    limit,
    trackers: input.trackers.flatMap((entry) => Object.entries(entry).map(([name, options]) => ({ name, options }))),
    target: target ? targetView(target) : null,
    where: where ?? null,
    capture: input.capture,
    fields: input.fields,
    for: input.for ?? null,
    ttl: ttl ?? null,
    bufferBytes: input.bufferBytes,
    ringBytes: input.ringBytes,
    persist: persist ?? null,
    plugins: plugins.map(({ name, options, restart }) => ({ name, options: options ?? null, restart })),
  };
}

function targetView({
  containers,
  waitForContainers,
  cgroups,
  pids,
  descendants,
  uids,
  comms,
}: AskedTarget): TargetView {
  return {
    containers:
      containers?.map(({ name, id, image, labels }) => ({
        name: name ?? null,
        id: id ?? null,
        image: image ?? null,
        labels: labels?.map((label) => ({ name: label.name, value: label.value ?? null })) ?? null,
      })) ?? null,
    waitForContainers: waitForContainers ?? false,
    cgroups: cgroups ?? null,
    pids: pids ?? null,
    descendants: descendants ?? true,
    uids: uids ?? null,
    comms: comms ?? null,
  };
}
