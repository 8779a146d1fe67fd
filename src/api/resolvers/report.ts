import { markdown } from '../../consumers/report/index.js';
import { invalid } from '../../errors.js';
import type {
  HistoryReportArgs,
  QueryCompareReportsArgs,
  ReportInput,
  SessionReportArgs,
} from '../../generated/schema.js';
import { compareReports, type BehaviourReport } from '../../report.js';
import type { RequestContext } from '../context.js';
import { MAX_TOP, reportOfHistory, reportOfSession } from '../report.js';
import { historyOf, type History } from './history.js';
import { needSession, type AnySession } from './stored.js';
import { guarded, typed, type ResolverMap } from './types.js';

/** Reports of behaviour, and what differs between two. */
export const reportResolvers: ResolverMap = {
  Session: {
    report: typed<AnySession, SessionReportArgs>((session, args, context) =>
      guarded(reportOfSession(session, args, context)),
    ),
  },
  History: {
    report: typed<History, HistoryReportArgs>((history, args, context) =>
      guarded(reportOfHistory(history, args, context)),
    ),
  },
  Query: {
    compareReports: typed<unknown, QueryCompareReportsArgs>((_root, { before, after }, context) => {
      // One after the other: each may read millions of events.
      const compare = async () =>
        compareReports(await reportOf(before, 'before', context), await reportOf(after, 'after', context));
      return guarded(compare());
    }),
  },
  BehaviourReport: {
    markdown: typed((made: BehaviourReport) => markdown(made)),
  },
};

async function reportOf(
  { session, store, from, to, ...args }: ReportInput,
  where: string,
  context: RequestContext,
): Promise<BehaviourReport> {
  if (session == null)
    return reportOfHistory(historyOf({ from, to, store }, context.services), { ...args, top: MAX_TOP }, context);
  if (store != null) throw invalid(`${where}.store`, 'belongs to a range of time: leave out `session`');
  return reportOfSession(await needSession(session, context), { ...args, from, to, top: MAX_TOP }, context);
}
