import type { Caller } from '../access/caller.js';
import { markdown, reportDemand } from '../analysis/report/index.js';
import { invalid } from '../base/errors.js';
import type { Demand } from '../event/event.js';
import { compareReports, type BehaviourReport } from '../event/report.js';
import type { ReportInput } from '../generated/schema.js';
import type { Histories } from './history.js';
import type { Parts } from './parts.js';
import { MAX_TOP } from './report.js';
import type { Sessions } from './sessions.js';

/** What differs between two reports, and what reports are made of. */
export class Reports {
  readonly #sessions: Sessions;
  readonly #histories: Histories;

  /** The fields of events that a report reads. */
  readonly demand: Demand;

  constructor({ catalog }: Pick<Parts, 'catalog'>, sessions: Sessions, histories: Histories) {
    this.demand = reportDemand(catalog.trackers);
    this.#sessions = sessions;
    this.#histories = histories;
  }

  /** Rejects as `SessionHandle.report` does; arguments of the second are named after it. */
  async compare(caller: Caller, before: ReportInput, after: ReportInput): Promise<ReturnType<typeof compareReports>> {
    // One after the other: each may read millions of events.
    return compareReports(await this.#report(caller, before, 'before'), await this.#report(caller, after, 'after'));
  }

  markdown(report: BehaviourReport): string {
    return markdown(report);
  }

  async #report(
    caller: Caller,
    { session, store, from, to, ...subject }: ReportInput,
    path: string,
  ): Promise<BehaviourReport> {
    if (session == null) return this.#histories.open(caller, { from, to, store }).report({ ...subject, top: MAX_TOP });
    if (store != null) throw invalid(`${path}.store`, 'belongs to a range of time: leave out `session`');
    return (await this.#sessions.need(caller, session)).report({ ...subject, from, to, top: MAX_TOP });
  }
}
