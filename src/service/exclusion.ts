import type { ReportSubject } from '../analysis/report/index.js';
import type { Exclusion } from '../event/report.js';
import { createContainer, type Container } from '../inventory/container.js';
import { compileSelector } from '../inventory/selector.js';
import type { AskedSelector, AskedTarget } from '../session/asked.js';
import type { EventQuery } from '../storage/store.js';
import type { Origin } from './session/origin.js';

/** What kept events out of a session before anybody asked for a report: its own filter and target, and those of its export. */
export function exclusionsOf(
  { asked, exported }: Pick<Origin, 'asked' | 'exported'>,
  subject: Pick<ReportSubject, 'container'>,
): Exclusion[] {
  const filtered = exported.map((where) => ({
    restriction: 'export.where',
    reason: "events that do not match the recording's filter are excluded",
    value: where,
  }));
  if (!asked)
    return [
      {
        restriction: 'session.spec',
        reason: 'it is not known whether the session had a filter or a target, which an older version did not keep',
        value: 'null',
      },
      ...filtered,
    ];
  const { where, input } = asked;
  return [
    ...(where === null
      ? []
      : [
          {
            restriction: 'session.where',
            reason: "events that do not match the session's filter are excluded",
            value: where,
          },
        ]),
    ...(input.target && excludes(input.target, subject)
      ? [
          {
            restriction: 'session.target',
            reason: "events outside the session's target are excluded",
            value: JSON.stringify(input.target),
          },
        ]
      : []),
    ...filtered,
  ];
}

/** What a query leaves out of each session. */
export function narrowedBy({ filter, containers }: Pick<EventQuery, 'filter' | 'containers'>): Exclusion[] {
  return [
    ...(filter
      ? [
          {
            restriction: 'history.where',
            reason: 'events that do not match the filter of the query are excluded',
            value: filter.text,
          },
        ]
      : []),
    ...(containers
      ? [
          {
            restriction: 'history.containers',
            reason: 'events of other containers than those of the query are excluded',
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

/** A recording may have been written by hand. */
function selects(selector: AskedSelector, container: Container): boolean {
  try {
    return compileSelector([selector])(container);
  } catch {
    return false;
  }
}
