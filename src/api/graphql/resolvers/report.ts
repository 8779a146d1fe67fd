import type { BehaviourReport } from '../../../event/report.js';
import type { HistoryReportArgs, QueryCompareReportsArgs, SessionReportArgs } from '../../../generated/schema.js';
import type { History } from '../../../service/history.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { typed, type ResolverMap } from './types.js';

/** Reports of behaviour, and what differs between two. */
export const reportResolvers = {
  Session: {
    report: typed<SessionHandle, SessionReportArgs>((session, args, { share, caller }) =>
      share.long(() => session.report(args), caller),
    ),
  },
  History: {
    report: typed<History, HistoryReportArgs>((history, args, { share, caller }) =>
      share.long(() => history.report(args), caller),
    ),
  },
  Query: {
    compareReports: typed<unknown, QueryCompareReportsArgs>((_root, { before, after }, { service, caller, share }) =>
      share.long(() => service.reports.compare(caller, before, after), caller),
    ),
  },
  BehaviourReport: {
    markdown: typed((made: BehaviourReport, _args, { service }) => service.reports.markdown(made)),
  },
} satisfies ResolverMap;
