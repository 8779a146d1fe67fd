import type {
  MutationAttachPluginArgs,
  MutationDetachPluginArgs,
  MutationLoadPluginArgs,
  MutationReloadPluginArgs,
  MutationUnloadPluginArgs,
  QueryPluginsArgs,
  SessionPluginResultsArgs,
  SubscriptionPluginResultsArgs,
} from '../../../generated/schema.js';
import type { AttachmentView, ResultBatch } from '../../../service/plugins.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { connectionOfRows, pageOf } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

/** Plugins, and what they find. */
export const pluginResolvers = {
  Query: {
    plugins: typed<unknown, QueryPluginsArgs>((_root, { name }, { service, caller }) =>
      service.plugins.list(caller, name ?? null),
    ),
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
  },
  Session: {
    plugins: typed<SessionHandle>(({ id }, _args, { service, caller }) => service.plugins.of(caller, id)),
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
