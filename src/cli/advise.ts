import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { messageOf } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { visible } from '../base/visible.js';
import type { Advice, AdviceDifference, AdviceFile } from '../event/advice.js';
import type { Client } from '../client/client.js';
import {
  checkVerifiable,
  ofVerification,
  sentOf,
  verified,
  withVerification,
  type VerifyFlags,
} from './advise-verify.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { UsageError } from './usage.js';
import { watched } from './watched.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags, VerifyFlags {
  readonly for: string;
  readonly wait?: boolean;
  readonly session?: string;
  readonly from?: string;
  readonly to?: string;
  readonly store?: string;
  readonly image?: string;
  readonly composeService?: string;
  readonly action: string;
  readonly out?: string;
  readonly merge?: readonly string[];
  readonly diff?: string;
  readonly output: 'markdown' | 'json';
}

/** What the command reads of an `Advice`. */
interface Advised {
  readonly files: readonly AdviceFile[];
  readonly changes: readonly AdviceDifference[] | null;
  readonly json: Advice;
  readonly coverage: { readonly complete: boolean; readonly reasons: readonly string[] };
}

/** Trackers that advice is made from, as far as this machine has them. All are cheap: those of calls and checks count in the kernel. */
export const adviceTrackers = [
  'syscount',
  'capability',
  'exec',
  'opencount',
  'fsop',
  'device',
  'bind',
  'tcp',
  'dns',
  'privilege',
  'seccomp',
];
export const adviceOptions: Readonly<Record<string, object>> = {
  syscount: { latency: false, arguments: true },
  privilege: { before: false },
};
/** The session holds what it saw until the advice is made. */
const BUFFER_BYTES = 512 << 20;
const DIFFERENCES = 'aspect what change before after';
const ADVICE = `files { name content } changes { ${DIFFERENCES} } json coverage { complete reasons }`;

export function addAdvise(program: Command, world: World): void {
  const command = withVerification(withConnection(program.command('advise')));
  checkFlags<Flags>(command, ({ session, from, merge, verify }, refuse) => {
    if (!verify) refuse(ofVerification, 'belongs to --verify');
    if (merge !== undefined)
      return refuse(
        ['for', 'wait', 'session', 'from', 'to', 'store', 'image', 'composeService', 'verify', ...ofVerification],
        'cannot be combined with --merge, which reads existing advice',
      );
    if (session !== undefined || from !== undefined)
      refuse(['for', 'wait'], 'watches from now on; leave it out for what was recorded');
    if (session === undefined && from === undefined) refuse(['to', 'store'], 'belongs to --session or --from');
  });
  command
    .description(
      'recommend the least that a container needs, by what it did: a seccomp profile, capabilities, mounts, user, network and limits, ' +
        'as files to use at once',
    )
    .argument('[container]', 'name, id or id prefix of the container')
    .option('--for <duration>', 'without --session, --from or --merge: watch for this time, up to 24h', '60s')
    .option('--wait', 'wait for a container that does not exist yet, so that its start is seen')
    .option('--session <id>', 'use what this session of the server given by --server saw')
    .option('--from <time>', 'use what was stored since this time (RFC 3339) on the server given by --server')
    .option('--to <time>', 'with --session or --from: only what happened before this time')
    .addOption(new Option('--store <store>', 'with --from: the store to read').choices(['embedded', 'influx']))
    .option('--image <image>', 'instead of a container: all containers of this image')
    .option('--compose-service <service>', 'instead of a container: all containers of this service of Docker Compose')
    .addOption(
      new Option('--action <action>', 'what the seccomp profile does with other calls')
        .choices(['errno', 'log', 'kill'])
        .default('errno'),
    )
    .option('--merge <files...>', 'merge existing advice (advice.json of several runs or replicas)')
    .option('--diff <file>', 'print what differs from this existing advice (advice.json)')
    .option('--out <directory>', 'write all files into this directory, which is made if it does not exist')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['markdown', 'json']).default('markdown'))
    .action((container: string | undefined, flags: Flags) => advise(container, flags, world));
}

async function advise(container: string | undefined, flags: Flags, world: World): Promise<void> {
  const { session, from, merge, server, image, composeService } = flags;
  const subjects = [container, image, composeService].filter((subject) => subject !== undefined);
  if (merge === undefined && subjects.length !== 1)
    throw new UsageError('whose rights? Name one container, or give --image or --compose-service');
  if (merge !== undefined && container !== undefined)
    throw new UsageError('--merge: leave the container out; its files tell whose advice it is');
  if ((session ?? from) !== undefined && server === undefined)
    throw new UsageError('--server: which server has recorded it? Give its URL, or EUNOMIA_SERVER');
  if (flags.verify && container === undefined)
    throw new UsageError('--verify: name one container; what is tried is a copy of it');
  const earlier = flags.diff === undefined ? null : await readAdvice('--diff', flags.diff);
  const given = merge && (await Promise.all(merge.map((file) => readAdvice('--merge', file))));
  return withClient(world, flags, async (client) => {
    const seen = given
      ? await merged(client, given, flags)
      : (session ?? from) !== undefined
        ? await recorded(client, container, flags)
        : await watch(client, container, flags, world);
    for (const reason of seen.coverage.reasons) world.tell(`not complete: ${visible(reason)}`);
    const advised =
      flags.verify && container !== undefined
        ? { ...seen, files: await verified(client, container, seen.json, flags, world) }
        : seen;
    if (flags.out !== undefined) await write(advised, flags.out, world);
    if (earlier !== null) return tellDifferences(client, earlier, advised, flags, world);
    const name = flags.output === 'json' ? 'advice.json' : 'advice.md';
    if (flags.out === undefined || flags.output === 'json')
      await world.output.write(advised.files.find((file) => file.name === name)?.content ?? '');
  });
}

async function recorded(client: Client, container: string | undefined, flags: Flags): Promise<Advised> {
  if (flags.verify && container !== undefined) await checkVerifiable(client, container, flags);
  return ask(client, container, flags, flags.session);
}

async function ask(
  client: Client,
  container: string | undefined,
  { from, to, store, image, composeService, action }: Flags,
  session: string | undefined,
): Promise<Advised> {
  const input = {
    container: container ?? null,
    image: image ?? null,
    composeService: composeService ?? null,
    session: session ?? null,
    from: from ?? null,
    to: to ?? null,
    store: store?.toUpperCase() ?? null,
    action: action.toUpperCase(),
  };
  const document = `query Advise($input: AdviseInput!) { advise(input: $input) { ${ADVICE} } }`;
  return (await client.query<{ advise: Advised }>(document, { input })).advise;
}

async function merged(client: Client, advice: readonly unknown[], { action }: Flags): Promise<Advised> {
  const document = `query Merge($advice: [JSON!]!, $action: SeccompDefaultAction) {
    mergeAdvice(advice: $advice, action: $action) { ${ADVICE} }
  }`;
  const variables = { advice, action: action.toUpperCase() };
  return (await client.query<{ mergeAdvice: Advised }>(document, variables)).mergeAdvice;
}

/** Watches for a time, and asks then. */
async function watch(client: Client, container: string | undefined, flags: Flags, world: World): Promise<Advised> {
  const { trackers } = await client.query<{
    trackers: readonly { readonly name: string; readonly available: boolean }[];
  }>('{ trackers { name available } }');
  const available = adviceTrackers.filter((name) => trackers.some((one) => one.name === name && one.available));
  const { image, composeService } = flags;
  const [project, service] = composeService?.includes('/') ? composeService.split('/') : [null, composeService];
  const labels = [
    ...(service === undefined ? [] : [{ name: 'com.docker.compose.service', value: service }]),
    ...(project === null || project === undefined ? [] : [{ name: 'com.docker.compose.project', value: project }]),
  ];
  const selector =
    container !== undefined
      ? /^[0-9a-f]{12,64}$/.test(container)
        ? { id: container }
        : { name: container }
      : image !== undefined
        ? { image }
        : { labels };
  const input = {
    trackers: available.map((name) => ({ [name]: adviceOptions[name] ?? {} })),
    target: { containers: [selector], waitForContainers: flags.wait === true },
    capture: 'DEFAULT',
    for: flags.for,
    ttl: '1m',
    bufferBytes: BUFFER_BYTES,
    name: `eunomia advise ${container ?? image ?? composeService}`.slice(0, 100),
  };
  return watched(client, input, world.signal, {
    started: async () => {
      // What would be refused afterwards is told now.
      if (flags.verify && container !== undefined) await checkVerifiable(client, container, flags);
      world.tell(`watching for ${flags.for}; Ctrl-C stops and recommends`);
    },
    ended: (id) => ask(client, container, flags, id),
  });
}

async function write({ files }: Advised, directory: string, world: World): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
    for (const { name, content } of files) await writeFile(join(directory, name), content);
  } catch (error) {
    throw new UsageError(`--out: ${messageOf(error)}; give a directory that can be written to`);
  }
  world.tell(`wrote ${counted(files.length, 'file')} to ${directory}`);
}

async function tellDifferences(
  client: Client,
  before: unknown,
  { json }: Advised,
  { output }: Flags,
  world: World,
): Promise<void> {
  const { diffAdvice } = await client.query<{ diffAdvice: readonly AdviceDifference[] }>(
    `query Diff($before: JSON!, $after: JSON!) { diffAdvice(before: $before, after: $after) { ${DIFFERENCES} } }`,
    { before, after: sentOf(json) },
  );
  if (output === 'json') return void (await world.output.write(`${JSON.stringify(diffAdvice, null, 2)}\n`));
  const signs = { ADDED: '+', REMOVED: '-', CHANGED: '~' };
  await world.output.write(
    diffAdvice
      .map(({ aspect, what, change, before: was, after: is }) => {
        const how = change === 'CHANGED' ? `: ${was} → ${is}` : '';
        return `${signs[change]} ${aspect} ${visible(what)}${visible(how)}\n`;
      })
      .join(''),
  );
  if (!diffAdvice.length) world.tell('no difference');
}

async function readAdvice(flag: string, file: string): Promise<unknown> {
  try {
    return sentOf(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    throw new UsageError(`${flag}: ${file}: ${messageOf(error)}; give an advice.json that eunomia advise wrote`);
  }
}
