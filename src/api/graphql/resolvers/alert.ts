import type {
  MutationAcknowledgeAlertArgs,
  MutationCommentAlertArgs,
  MutationEndSilenceArgs,
  MutationReopenAlertArgs,
  MutationResolveAlertArgs,
  MutationSilenceArgs,
  QueryAlertArgs,
  QueryAlertCountsArgs,
  QueryAlertsArgs,
  QuerySilencesArgs,
  SubscriptionAlertChangedArgs,
  SubscriptionAlertsArgs,
} from '../../../generated/schema.js';
import type { Alerts } from '../../../service/alerts.js';
import { connectionOfRows, pageOf } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

type Alert = Parameters<Alerts['evidenceOf']>[0];

/** Characters of evidence that take as long as an alert's other fields. */
const EVIDENCE = 512;

function weightOf({ evidence, after }: Alert): number {
  return 1 + ((evidence?.length ?? 0) + (after?.events.length ?? 0)) / EVIDENCE;
}

/** Alerts, what people do with them, and silences. */
export const alertResolvers = {
  Query: {
    alerts: typed<unknown, QueryAlertsArgs>(async (_root, { severity, session, where, ...args }, context, info) => {
      const { service, caller, variables } = context;
      const of = { severity: severity ?? null, session: session ?? null, where: where ?? null };
      const page = await service.alerts.page(caller, { ...pageOf(args, info, variables), ...of });
      return connectionOfRows(page, context, info, weightOf);
    }),
    alert: typed<unknown, QueryAlertArgs>((_root, { id }, { service, caller }) => service.alerts.byId(caller, id)),
    alertCounts: typed<unknown, QueryAlertCountsArgs>((_root, { by, where, limit }, { service, caller }) =>
      service.alerts.counts(caller, { by, where: where ?? null, limit: limit ?? 100 }),
    ),
    alertStatus: typed((_root, _args, { service, caller }) => service.alerts.status(caller)),
    silences: typed<unknown, QuerySilencesArgs>((_root, { active }, { service, caller }) =>
      service.alerts.silences(caller, active ?? null),
    ),
  },
  Mutation: {
    acknowledgeAlert: typed<unknown, MutationAcknowledgeAlertArgs>((_root, { id, comment }, { service, caller }) =>
      service.alerts.acknowledge(caller, id, comment ?? null),
    ),
    resolveAlert: typed<unknown, MutationResolveAlertArgs>((_root, { id, comment }, { service, caller }) =>
      service.alerts.resolve(caller, id, comment ?? null),
    ),
    reopenAlert: typed<unknown, MutationReopenAlertArgs>((_root, { id, comment }, { service, caller }) =>
      service.alerts.reopen(caller, id, comment ?? null),
    ),
    commentAlert: typed<unknown, MutationCommentAlertArgs>((_root, { id, comment }, { service, caller }) =>
      service.alerts.comment(caller, id, comment),
    ),
    silence: typed<unknown, MutationSilenceArgs>((_root, { input }, { service, caller }) =>
      service.alerts.silence(caller, input),
    ),
    endSilence: typed<unknown, MutationEndSilenceArgs>((_root, { id }, { service, caller }) =>
      service.alerts.endSilence(caller, id),
    ),
  },
  Subscription: {
    alerts: {
      subscribe: typed<unknown, SubscriptionAlertsArgs>(
        (_root, { severity, where, includeSilenced }, { service, caller }) =>
          service.alerts.follow(caller, {
            severity: severity ?? null,
            where: where ?? null,
            includeSilenced: includeSilenced ?? false,
          }),
      ),
      resolve: (alert) => alert,
    },
    alertChanged: {
      subscribe: typed<unknown, SubscriptionAlertChangedArgs>((_root, { id, severity }, { service, caller }) =>
        service.alerts.followChanges(caller, { id: id ?? null, severity: severity ?? null }),
      ),
      resolve: (alert) => alert,
    },
  },
  Alert: {
    plugin: typed(({ source }: { readonly source: string }, _args, { service, caller }) =>
      service.plugins.raising(caller, source),
    ),
    evidence: typed<Alert>((alert, _args, { service }) => service.alerts.evidenceOf(alert)),
    silencedBy: typed<Alert>((alert, _args, { service }) => service.alerts.silenceOf(alert)),
  },
} satisfies ResolverMap;
