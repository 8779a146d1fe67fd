import { type Config, type Limits, type Token } from '../base/config.js';
import { throwAll } from '../base/config-file.js';
import { EunomiaError } from '../base/errors.js';
import { UsageError } from '../base/usage.js';
import { influxOf } from './influx.js';
import { WrongValue } from './kind.js';
import { limitSettings } from './limit.js';
import { otlpOf } from './otlp.js';
import { accessSettings, generalSettings, historySettings } from './server.js';
import { variableOf } from './setting.js';
import { openConfig, SettingSources, type FlagValues, type EnvironmentVariables } from './sources.js';
import { allSettings, configSetting } from './table.js';

/** Flags, variables, and the configuration file that one of them names. Throws a UsageError, or BAD_CONFIG with line and column. */
export function readSources(flags: FlagValues, variables: EnvironmentVariables): SettingSources {
  const named = new SettingSources(flags, variables);
  const name = named.value(configSetting);
  if (name === null) return named;
  const given = named.from(configSetting) === 'variable' ? variableOf(configSetting) : `--${configSetting.flag}`;
  return new SettingSources(flags, variables, openConfig(name, given, allSettings));
}

/** What a server is configured with. Throws a UsageError or BAD_CONFIG; whether it is a safe one, the server checks. */
export function configOf(sources: SettingSources): Config {
  const directory = sources.value(historySettings.dataDir);
  const dataDirectory = directory === 'none' ? null : directory;
  const { access, history, ...rest } = allOf({
    access: () => accessOf(sources),
    engines: () => enginesOf(sources),
    history: () => historyOf(sources, dataDirectory),
    influx: () => influxOf(sources, dataDirectory),
    otlp: () => otlpOf(sources),
    plugins: () => sources.value(generalSettings.plugins),
    rules: () => sources.value(generalSettings.rules),
    ruleActions: () => sources.value(generalSettings.ruleActions),
    logLevel: () => sources.value(generalSettings.logLevel),
    metricsConfig: () => sources.value(generalSettings.metricsConfig),
    webhooks: () => sources.value(generalSettings.webhooks),
    nodeName: () => sources.value(generalSettings.nodeName),
    processTableBytes: () => sources.value(generalSettings.processTable),
    compression: () => sources.value(accessSettings.compression),
    trustedDocuments: () => trustedDocumentsOf(sources),
    limits: () => limitsOf(sources),
  });
  return { ...access, ...history, ...rest, localToken: null, dataDirectory, replay: null, watches: true };
}

function historyOf(
  sources: SettingSources,
  dataDirectory: string | null,
): Pick<Config, 'requireHistory' | 'retentionMs' | 'retentionBytes' | 'storeMemoryBytes'> {
  const { requireHistory, retentionAge, retentionBytes, storeMemory } = historySettings;
  for (const each of [requireHistory, retentionAge, retentionBytes, storeMemory]) {
    const from = sources.from(each);
    // What stands in the environment may be meant for another server.
    const set = (from === 'flag' || from === 'file') && sources.value<unknown, unknown>(each) !== false;
    if (dataDirectory === null && set)
      throw sources.error(each, 'is of the history, which --data-dir none switches off');
  }
  return {
    requireHistory: sources.value(requireHistory),
    retentionMs: sources.value(retentionAge),
    retentionBytes: sources.value(retentionBytes),
    storeMemoryBytes: sources.value(storeMemory),
  };
}

type Made<Makers> = { [Name in keyof Makers]: Makers[Name] extends () => infer Value ? Value : never };

/** What all of these make. Throws what is wrong with any of them at once: BAD_CONFIG if all of it is in a file, else a UsageError. */
function allOf<Makers extends Readonly<Record<string, () => unknown>>>(makers: Makers): Made<Makers> {
  const inFile: EunomiaError[] = [];
  const elsewhere: Error[] = [];
  const made = Object.entries(makers).map(([name, make]) => {
    try {
      return [name, make()];
    } catch (error) {
      if (error instanceof EunomiaError && error.code === 'BAD_CONFIG') inFile.push(error);
      else if (error instanceof UsageError) elsewhere.push(error);
      else throw error;
      return [name, undefined];
    }
  });
  const [only, ...more] = elsewhere;
  if (only && more.length + inFile.length === 0) throw only;
  if (only) throw new UsageError([...inFile, ...elsewhere].map(({ message }) => message).join('\n'));
  throwAll(inFile);
  return Object.fromEntries(made) as Made<Makers>;
}

/** Where a server listens and who may use it. Throws as `configOf`. */
export function accessOf(
  sources: SettingSources,
): Pick<Config, 'host' | 'port' | 'tls' | 'tokens' | 'insecureNoAuth' | 'allowedOrigins'> {
  const { tlsCert, tlsKey, insecureNoAuth, tokensFile } = accessSettings;
  const [certFile, keyFile] = [sources.value(tlsCert), sources.value(tlsKey)];
  if ((certFile === null) !== (keyFile === null))
    throw sources.error(
      certFile === null ? tlsKey : tlsCert,
      '--tls-cert and --tls-key belong together: give both or neither',
    );
  const open = sources.value(insecureNoAuth);
  const [tokens, file] = [sources.value(accessSettings.tokens), sources.value(tokensFile)];
  if (open && (tokens.length > 0 || file !== null))
    throw sources.error(insecureNoAuth, 'turns tokens off, and there are some: give one or the other');
  const allowedOrigins: readonly string[] = sources.value(accessSettings.allowedOrigins);
  if (allowedOrigins.length > 0 && tokens.length === 0 && file === null)
    throw sources.error(
      accessSettings.allowedOrigins,
      'needs --token or --tokens-file: without tokens, such a page could do whatever the owner of its browser may',
    );
  const twice = allowedOrigins.find((each, i) => allowedOrigins.indexOf(each) < i);
  if (twice !== undefined) throw sources.error(accessSettings.allowedOrigins, `has ${twice} twice`);
  return {
    host: sources.value(accessSettings.host),
    port: sources.value(accessSettings.port),
    tls: certFile !== null && keyFile !== null ? { certFile, keyFile } : null,
    tokens: distinct([...tokens, ...(file === null ? [] : readTokens(file, sources))], sources),
    insecureNoAuth: open,
    allowedOrigins,
  };
}

/** A secret of two roles would let in with either. */
function distinct(tokens: readonly Token[], sources: SettingSources): readonly Token[] {
  const known = new Map<string, Token>();
  for (const token of tokens) {
    const { role } = known.get(token.secret) ?? token;
    if (role !== token.role)
      throw sources.error(
        accessSettings.tokens,
        `has one secret for ${role} and for ${token.role}; give each a secret of its own`,
      );
    known.set(token.secret, token);
  }
  return tokens;
}

function trustedDocumentsOf(sources: SettingSources): Config['trustedDocuments'] {
  const file = sources.value(accessSettings.trustedDocuments);
  const only = sources.value(accessSettings.trustedDocumentsOnly);
  if (file === null && only)
    throw sources.error(accessSettings.trustedDocumentsOnly, 'needs --trusted-documents as well');
  return file === null ? null : { file, only };
}

export function limitsOf(sources: SettingSources): Limits {
  return {
    sessions: sources.value(limitSettings.sessions),
    evidenceSessions: sources.value(limitSettings.evidenceSessions),
    stoppedSessions: sources.value(limitSettings.stoppedSessions),
    stoppedBytes: sources.value(limitSettings.stoppedBytes),
    depth: sources.value(limitSettings.depth),
    cost: sources.value(limitSettings.cost),
    aliases: sources.value(limitSettings.aliases),
    tokens: sources.value(limitSettings.tokens),
    batch: sources.value(limitSettings.batch),
    bodyBytes: sources.value(limitSettings.bodyBytes),
    connections: sources.value(limitSettings.connections),
    identityConnections: sources.value(limitSettings.identityConnections),
    operations: sources.value(limitSettings.operations),
    strangers: sources.value(limitSettings.strangers),
    identifyMs: sources.value(limitSettings.identifyMs),
    stalledMs: sources.value(limitSettings.stalledMs),
    drainMs: sources.value(limitSettings.drainMs),
    subscriberBytes: sources.value(limitSettings.subscriberBytes),
  };
}

/** Null when none is set, empty for "none". Throws as `configOf`. */
export function enginesOf(sources: SettingSources): readonly string[] | null {
  const engines = sources.value(generalSettings.engines);
  if (engines === null || engines.length === 0) return null;
  if (!engines.includes('none')) return engines;
  if (engines.length > 1) throw sources.error(generalSettings.engines, '"none" excludes other engines');
  return [];
}

function readTokens(file: string, sources: SettingSources): readonly Token[] {
  const { kind } = accessSettings.tokens;
  return sources.secretLines(accessSettings.tokensFile, file).flatMap(({ line, where }) => {
    try {
      return kind.read([line], '');
    } catch (error) {
      throw error instanceof WrongValue ? new UsageError(`${where}: ${error.message}`) : error;
    }
  });
}
