import { isDeepStrictEqual } from 'node:util';
import type { ReportSubject } from '../analysis/report/index.js';
import type { Exclusion } from '../event/report.js';
import { createContainer, type Container } from '../inventory/container.js';
import { compileSelector } from '../inventory/selector.js';
import type { Asked, AskedSelector, AskedTarget } from '../session/asked.js';
import type { EventQuery } from '../storage/store.js';
import type { Origin } from './session/origin.js';

/** What kept events out of a session before anybody asked for a report: its own filter and target, and those of its export. */
export function exclusionsOf(
  { asked, exported, stored }: Pick<Origin, 'asked' | 'exported' | 'stored'>,
  subject: Pick<ReportSubject, 'container'>,
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
  const changes = (asked.changes ?? []).filter((change, i, all) => excludesAnother(change, all[i + 1] ?? asked));
  // What held for a while has excluded what happened in that.
  const regimes = [
    ...changes.map(({ at, input, where }, i) => {
      const from = changes[i - 1]?.at;
      return { input, where, when: from === undefined ? `, until ${at}` : `, from ${from} until ${at}` };
    }),
    { ...asked, when: changes.length ? `, from ${changes.at(-1)?.at}` : '' },
  ];
  return [
    ...regimes.flatMap((regime) => exclusionsOfRegime(regime, subject)),
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
function excludesAnother(before: Pick<Asked, 'input' | 'where'>, after: Pick<Asked, 'input' | 'where'>): boolean {
  return before.where !== after.where || !isDeepStrictEqual(before.input.target ?? null, after.input.target ?? null);
}

interface Regime extends Pick<Asked, 'input' | 'where'> {
  /** Of a session that was changed: when it held. */
  readonly when: string;
}

function exclusionsOfRegime(
  { input: { target }, where, when }: Regime,
  subject: Pick<ReportSubject, 'container'>,
): Exclusion[] {
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
    ...(target && excludes(target, subject)
      ? [
          {
            restriction: 'session.target',
            excluded: `events outside the session's target are excluded${when}`,
            value: `${JSON.stringify(target)}${held}`,
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
function excludes(target: AskedTarget, { container }: Pick<ReportSubject, 'container'>): boolean {
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
