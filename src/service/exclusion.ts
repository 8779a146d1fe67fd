import { isDeepStrictEqual } from 'node:util';
import type { ReportSubject } from '../analysis/report/index.js';
import type { Demand } from '../event/event.js';
import type { Exclusion } from '../event/report.js';
import { createContainer, type Container } from '../inventory/container.js';
import { compileSelector } from '../inventory/selector.js';
import type { Asked, AskedInput, AskedSelector, AskedTarget } from '../session/asked.js';
import type { EventQuery } from '../storage/store.js';
import type { Origin } from './session/origin.js';

interface Reading extends Pick<ReportSubject, 'container'> {
  /** The on-demand fields that are read of its events. */
  readonly demand: Demand;
}

/**
 * What kept events, or fields of them, out of a session before anybody asked for a report: its own filter, target and capture, and the
 * filter of its export.
 */
export function exclusionsOf(
  { asked, exported, stored }: Pick<Origin, 'asked' | 'exported' | 'stored'>,
  reading: Reading,
): Exclusion[] {
  const filtered = exported.map((where) => ({
    restriction: 'export.where',
    excluded: "events that do not match the recording's filter are excluded",
    value: where,
  }));
  if (!asked)
    return [
      {
        restriction: 'session.spec',
        excluded: 'it is not known whether the session had a filter or a target, which an older version did not keep',
        value: 'null',
      },
      ...filtered,
    ];
  const changes = (asked.changes ?? []).filter((change, i, all) =>
    excludesAnother(change, all[i + 1] ?? asked, reading),
  );
  // What held for a while has excluded what happened in that.
  const regimes = [
    ...changes.map(({ at, input, where }, i) => {
      const from = changes[i - 1]?.at;
      return { input, where, when: from === undefined ? `, until ${at}` : `, from ${from} until ${at}` };
    }),
    { ...asked, when: changes.length ? `, from ${changes.at(-1)?.at}` : '' },
  ];
  return [
    ...regimes.flatMap((regime) => exclusionsOfRegime(regime, reading)),
    ...(stored ? unstored(asked) : []),
    ...filtered,
  ];
}

/** When a session was in memory only, which its store has a part of. */
function unstored(asked: Asked): Exclusion[] {
  const isStored = ({ input }: Pick<Asked, 'input'>): boolean => input.persist != null;
  const switches = (asked.changes ?? []).filter((change, i, all) => isStored(change) !== isStored(all[i + 1] ?? asked));
  return [...switches, { ...asked, at: null }].flatMap(({ at, input }, i) => {
    if (isStored({ input }) || switches.length === 0) return [];
    const times = [...(i ? [`from ${switches[i - 1]?.at}`] : []), ...(at === null ? [] : [`until ${at}`])];
    const when = times.join(' ');
    const excluded = `events that happened ${when} were not to be stored`;
    return [{ restriction: 'session.persist', excluded, value: `null // ${when}` }];
  });
}

/** Whether a change is one of what is excluded: of another one, such as a name, nothing is told. */
function excludesAnother(before: Held, after: Held, { demand }: Reading): boolean {
  const of = ({ input, where }: Held): unknown => [where, input.target ?? null, uncaptured(input, demand)];
  return !isDeepStrictEqual(of(before), of(after));
}

/** The trackers of which fields that are read were not captured unless somebody else read them; and what is set. */
function uncaptured(
  { trackers, capture, fields }: AskedInput,
  demand: Demand,
): { readonly trackers: readonly string[]; readonly value: string } | null {
  if (capture !== 'DEMANDED') return null;
  const lacking = trackers
    .flatMap((tracker) => Object.keys(tracker))
    .filter((name) => [...(demand.get(name) ?? [])].some((field) => !fields.includes(field)));
  return lacking.length ? { trackers: lacking, value: JSON.stringify({ capture, fields: [...fields].sort() }) } : null;
}

type Held = Pick<Asked, 'input' | 'where'>;

interface Regime extends Held {
  /** Of a session that was changed: when it held. */
  readonly when: string;
}

function exclusionsOfRegime({ input, where, when }: Regime, { container, demand }: Reading): Exclusion[] {
  const { target } = input;
  const lacking = uncaptured(input, demand);
  // What held at other times excludes something else.
  const held = when && ` // ${when.slice(2)}`;
  return [
    ...(where === null
      ? []
      : [
          {
            restriction: 'session.where',
            excluded: `events that do not match the session's filter are excluded${when}`,
            value: `${where}${held}`,
          },
        ]),
    ...(target && excludes(target, container)
      ? [
          {
            restriction: 'session.target',
            excluded: `events outside the session's target are excluded${when}`,
            value: `${JSON.stringify(target)}${held}`,
          },
        ]
      : []),
    ...(lacking
      ? [
          {
            restriction: 'session.capture',
            excluded: `fields that nobody read were not captured${when}`,
            value: `${lacking.value}${held}`,
            trackers: lacking.trackers,
          },
        ]
      : []),
  ];
}

/** What a query leaves out of each session. */
export function narrowedBy({ filter, containers }: Pick<EventQuery, 'filter' | 'containers'>): Exclusion[] {
  return [
    ...(filter
      ? [
          {
            restriction: 'history.where',
            excluded: 'events that do not match the filter of the query are excluded',
            value: filter.text,
          },
        ]
      : []),
    ...(containers
      ? [
          {
            restriction: 'history.containers',
            excluded: 'events of other containers than those of the query are excluded',
            value: JSON.stringify(containers),
          },
        ]
      : []),
  ];
}

/** Whether a target may leave out events of what the report is about. */
function excludes(target: AskedTarget, container: ReportSubject['container']): boolean {
  const { containers, cgroups, pids, uids, comms } = target;
  if (pids ?? uids ?? comms) return true;
  if (!containers && !cgroups) return false;
  if (!container) return true;
  // Its labels are not known here: what selects by them may not select it.
  const known = { ...createContainer(container.id, 'unknown'), name: container.name, image: container.image };
  return !containers?.some((selector) => !selector.labels && selects(selector, known));
}

/** Whether a selector of a session holds a container. A recording may have been written by hand. */
export function selects(selector: AskedSelector, container: Container): boolean {
  try {
    return compileSelector([selector])(container);
  } catch {
    return false;
  }
}
