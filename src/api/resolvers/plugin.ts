import { severities, type Alert } from '../../consumers/alerts/book.js';
import type { Attachment, Plugin, PluginRequest, PluginResult } from '../../consumers/plugins/index.js';
import { EunomiaError, invalid } from '../../errors.js';
import type {
  InputMaybe,
  MutationAttachPluginArgs,
  MutationDetachPluginArgs,
  MutationLoadPluginArgs,
  MutationReloadPluginArgs,
  MutationUnloadPluginArgs,
  PluginInput,
  QueryAlertsArgs,
  QueryPluginsArgs,
  SessionPluginResultsArgs,
  SubscriptionAlertsArgs,
  SubscriptionPluginResultsArgs,
} from '../../generated/schema.js';
import type { Session } from '../../pipeline/session.js';
import { inRange, textInRange } from '../check.js';
import { useSession } from './session.js';
import { typed, type ResolverMap } from './types.js';

const MAX_PAGE = 10_000;
const MAX_PLUGINS = 8;

/** The argument `input.plugins`, as far as the schema's types leave it open. Throws BAD_USER_INPUT. */
export function pluginRequests(plugins: InputMaybe<readonly PluginInput[]> | undefined): PluginRequest[] {
  if (plugins == null) return [];
  if (plugins.length > MAX_PLUGINS)
    throw invalid('input.plugins', `has ${plugins.length} entries; at most ${MAX_PLUGINS} are allowed`, {
      max: MAX_PLUGINS,
    });
  const seen = new Set<string>();
  return plugins.map(({ name, options, restart }, index) => {
    if (seen.has(name))
      throw invalid(
        `input.plugins[${index}].name`,
        `"${name}" is there already; a session has each plugin at most once`,
      );
    seen.add(name);
    return { name, options: options ?? null, restart: restart ?? 'NEVER' };
  });
}

function atLeast(severity: Alert['severity'] | null | undefined): (alert: Alert) => boolean {
  const least = severity == null ? 0 : severities.indexOf(severity);
  return (alert) => severities.indexOf(alert.severity) >= least;
}

function resultOf({ json, ...result }: PluginResult): object {
  return { ...result, value: JSON.parse(json) as unknown };
}

/** Plugins, what they find, and alerts. Whoever comes to a mutation that loads code is an admin: the engine has seen to it. */
export const pluginResolvers: ResolverMap = {
  Query: {
    plugins: typed<unknown, QueryPluginsArgs>((_root, { name }, { services }) =>
      services.plugins.list().filter(({ facts }) => name == null || facts.name === name),
    ),
    alerts: typed<unknown, QueryAlertsArgs>((_root, { first, severity, session }, { services }) => {
      const severe = atLeast(severity);
      return services.alerts.list(
        inRange('first', first ?? 100, 1, MAX_PAGE),
        (alert) => severe(alert) && (session == null || alert.session === session),
      );
    }),
  },
  Mutation: {
    attachPlugin: typed<unknown, MutationAttachPluginArgs>(
      (_root, { session: id, plugin, options, restart }, context) => {
        const session = useSession(id, context);
        if (session.state !== 'RUNNING')
          throw new EunomiaError(
            'NOT_RUNNING',
            `session: ${id} is ${session.state}; a plugin can be attached while it is RUNNING`,
          );
        return context.services.plugins.attach(
          session,
          { name: plugin, options: options ?? null, restart: restart ?? 'NEVER' },
          false,
        );
      },
    ),
    detachPlugin: typed<unknown, MutationDetachPluginArgs>((_root, { session, plugin }, context) =>
      context.services.plugins.detach(useSession(session, context).id, plugin),
    ),
    loadPlugin: typed<unknown, MutationLoadPluginArgs>((_root, { input: { file, source, replace } }, { services }) => {
      if (!/^[\w.-]+$/.test(textInRange('input.file', file, 200)))
        throw invalid('input.file', `"${file}" must be the name of a file: letters, digits, ".", "_" and "-"`);
      return services.plugins.upload(file, source, replace ?? false);
    }),
    reloadPlugin: typed<unknown, MutationReloadPluginArgs>((_root, { name }, { services }) =>
      services.plugins.reload(name),
    ),
    unloadPlugin: typed<unknown, MutationUnloadPluginArgs>(async (_root, { name }, { services }) => {
      await services.plugins.unload(name);
      return name;
    }),
  },
  Subscription: {
    pluginResults: {
      subscribe: typed<unknown, SubscriptionPluginResultsArgs>((_root, { session, plugin, replay }, context) => {
        const attachment = context.services.plugins.need(useSession(session, context).id, plugin);
        return attachment.results.follow(inRange('replay', replay ?? 0, 0, MAX_PAGE, 'results'));
      }),
      resolve: (batch) => batch,
    },
    alerts: {
      subscribe: typed<unknown, SubscriptionAlertsArgs>((_root, { severity }, { services }) =>
        services.alerts.follow(atLeast(severity)),
      ),
      resolve: (alert) => alert,
    },
  },
  Session: {
    plugins: typed<Session>(({ id }, _args, { services }) => services.plugins.of(id)),
  },
  Plugin: {
    name: typed(({ facts }: Plugin) => facts.name),
    version: typed(({ facts }: Plugin) => facts.version),
    summary: typed(({ facts }: Plugin) => facts.summary),
    file: typed(({ source }: Plugin) => source.file),
    trackers: typed(({ facts }: Plugin) => Object.keys(facts.reads)),
    fields: typed(({ facts }: Plugin) => [...new Set(Object.values(facts.reads).flat())]),
    where: typed(({ facts }: Plugin) => facts.where),
    options: typed(({ facts }: Plugin) => Object.entries(facts.options).map(([name, option]) => ({ name, ...option }))),
    sessions: typed((plugin: Plugin, _args, { services }) =>
      services.manager
        .list()
        .map(({ id }) => id)
        .filter((id) => services.plugins.of(id).some((each) => each.plugin.facts.name === plugin.facts.name)),
    ),
  },
  SessionPlugin: {
    name: typed(({ plugin }: Attachment) => plugin.facts.name),
    version: typed(({ plugin }: Attachment) => plugin.facts.version),
    stats: typed((attachment: Attachment) => ({
      ...attachment.counts,
      results: attachment.results.count,
      queued: attachment.queued,
      dropped: attachment.dropped,
    })),
    results: typed<Attachment, SessionPluginResultsArgs>(({ results }, { first, after }) => {
      const page = results.page(
        inRange('first', first ?? 100, 1, MAX_PAGE),
        inRange('after', after ?? 0, 0, 2 ** 31 - 1),
      );
      return { results: page.results.map(resultOf), hasNextPage: page.hasNext };
    }),
  },
  PluginResultBatch: {
    results: typed(({ items }: { readonly items: readonly PluginResult[] }) => items.map(resultOf)),
  },
};
