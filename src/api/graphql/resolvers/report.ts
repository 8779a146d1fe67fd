import type { BehaviourReport } from '../../../event/report.js';
import type { HistoryReportArgs, QueryCompareReportsArgs, SessionReportArgs } from '../../../generated/schema.js';
import type { History } from '../../../service/history.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { typed, type ResolverMap } from './types.js';

/** Reports of behaviour, and what differs between two. */
export const reportResolvers = {
  Session: {
    report: typed<SessionHandle, SessionReportArgs>((session, args) => session.report(args)),
  },
  History: {
    report: typed<History, HistoryReportArgs>((history, args) => history.report(args)),
  },
  Query: {
    compareReports: typed<unknown, QueryCompareReportsArgs>((_root, { before, after }, { service, caller }) =>
      service.reports.compare(caller, before, after),
    ),
  },
  BehaviourReport: {
    markdown: typed((made: BehaviourReport, _args, { service }) => service.reports.markdown(made)),
  },
} satisfies ResolverMap;
