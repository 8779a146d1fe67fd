import type {
  MutationAttachPluginArgs,
  MutationDetachPluginArgs,
  MutationLoadPluginArgs,
  MutationReloadPluginArgs,
  MutationUnloadPluginArgs,
  QueryAlertsArgs,
  QueryPluginsArgs,
  SessionPluginResultsArgs,
  SubscriptionAlertsArgs,
  SubscriptionPluginResultsArgs,
} from '../../../generated/schema.js';
import type { AttachmentView, ResultBatch } from '../../../service/plugins.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { connectionOfRows, pageOf } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

/** Plugins, what they find, and alerts. */
export const pluginResolvers = {
  Query: {
    plugins: typed<unknown, QueryPluginsArgs>((_root, { name }, { service, caller }) =>
      service.plugins.list(caller, name ?? null),
    ),
    alerts: typed<unknown, QueryAlertsArgs>((_root, { severity, session, ...args }, context, info) => {
      const { service, caller, variables } = context;
      const of = { severity: severity ?? null, session: session ?? null };
      return connectionOfRows(service.alerts.page(caller, { ...pageOf(args, info, variables), ...of }), context, info);
    }),
  },
  Mutation: {
    attachPlugin: typed<unknown, MutationAttachPluginArgs>(
      (_root, { session, plugin, options, restart }, { service, caller }) =>
        service.plugins.attach(caller, session, {
          name: plugin,
          options: options ?? null,
          restart: restart ?? 'NEVER',
        }),
    ),
    detachPlugin: typed<unknown, MutationDetachPluginArgs>((_root, { session, plugin }, { service, caller }) =>
      service.plugins.detach(caller, session, plugin),
    ),
    loadPlugin: typed<unknown, MutationLoadPluginArgs>(
      (_root, { input: { file, source, replace } }, { service, caller }) =>
        service.plugins.load(caller, { file, source, replace: replace ?? false }),
    ),
    reloadPlugin: typed<unknown, MutationReloadPluginArgs>((_root, { name }, { service, caller }) =>
      service.plugins.reload(caller, name),
    ),
    unloadPlugin: typed<unknown, MutationUnloadPluginArgs>(async (_root, { name }, { service, caller }) => {
      await service.plugins.unload(caller, name);
      return name;
    }),
  },
  Subscription: {
    pluginResults: {
      subscribe: typed<unknown, SubscriptionPluginResultsArgs>(
        (_root, { session, plugin, replay }, { service, caller }) =>
          service.plugins.follow(caller, session, plugin, replay ?? 0),
      ),
      resolve: (batch) => batch,
    },
    alerts: {
      subscribe: typed<unknown, SubscriptionAlertsArgs>((_root, { severity }, { service, caller }) =>
        service.alerts.follow(caller, severity ?? null),
      ),
      resolve: (alert) => alert,
    },
  },
  Session: {
    plugins: typed<SessionHandle>(({ id }, _args, { service, caller }) => service.plugins.of(caller, id)),
  },
  Alert: {
    plugin: typed(({ source }: { readonly source: string }, _args, { service, caller }) =>
      service.plugins.raising(caller, source),
    ),
  },
  SessionPlugin: {
    plugin: typed<AttachmentView>(({ name }, _args, { service, caller }) => service.plugins.byName(caller, name)),
    results: typed<AttachmentView, SessionPluginResultsArgs>((attachment, args, context, info) =>
      connectionOfRows(attachment.page(pageOf(args, info, context.variables)), context, info),
    ),
  },
  PluginResultBatch: {
    results: typed((batch: ResultBatch, _args, { service }) => service.plugins.resultsOf(batch)),
  },
} satisfies ResolverMap;
