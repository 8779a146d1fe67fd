import { access, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Option, type Command } from 'commander';
import { packageFile } from '../base/paths.js';
import { EunomiaError, messageOf } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { UsageError } from './usage.js';
import type { World } from './world.js';

interface ListedPlugin {
  readonly name: string;
  readonly version: string;
  readonly origin: string;
  readonly trackers: readonly string[];
  readonly summary: string;
  readonly problem: string | null;
}

interface TestFlags {
  readonly replay: string;
  readonly options?: string;
  readonly sandbox: boolean;
}

const TEMPLATE = packageFile('plugins/template.ts');
/** The public entry's declarations and those that it imports: enough for an editor, without the package. */
const DECLARATIONS = ['plugin.d.ts', 'generated/plugin-event.d.ts'];
const PROJECT = {
  compilerOptions: {
    target: 'ES2022',
    lib: ['ES2023'],
    module: 'ES2022',
    moduleResolution: 'bundler',
    types: [],
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    paths: { 'eunomia/plugin': ['./eunomia/plugin.d.ts'] },
  },
  files: ['plugin.ts'],
};
const LIST = '{ plugins { name version origin trackers summary problem } }';
const LOAD = 'mutation ($input: LoadPluginInput!) { loadPlugin(input: $input) { name version } }';
const UNLOAD = 'mutation ($name: String!) { unloadPlugin(name: $name) }';

export function addPlugin(program: Command, world: World): void {
  const plugin = program.command('plugin').description('write, test, load and list plugins');
  plugin
    .command('new')
    .description('create a folder with a plugin to start from and a recording to test it with')
    .argument('<name>', 'lower-case letters, digits and hyphens')
    .action((name: string) => scaffold(name, world));
  plugin
    .command('test')
    .description(
      'run a plugin on recorded events, without a server or kernel; prints each result and alert as a line of JSON',
    )
    .argument('<plugin>', "the plugin's file, or a folder created by `plugin new`")
    .requiredOption('--replay <file>', 'events, one JSON object per line, as written by `eunomia export`')
    .option('--options <json>', "the plugin's options as a JSON object")
    .addOption(new Option('--sandbox', 'run it in the sandbox, like an uploaded plugin').default(false))
    .action((path: string, flags: TestFlags) => test(path, flags, world));
  // A server of its own would have no plugins, and forget those that it was sent.
  const question = 'which server has the plugins?';
  withServer(plugin.command('list'), question)
    .description("list the server's plugins")
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: ServerFlags & { readonly output: string }) =>
      withClient(world, flags, async (client) => {
        const { plugins } = await client.query<{ plugins: readonly ListedPlugin[] }>(LIST);
        if (flags.output === 'json') await world.output.write(`${JSON.stringify(plugins, null, 2)}\n`);
        else {
          const table = new Table(['name', 'version', 'origin', 'trackers', 'summary', 'problem'], world.output.width);
          await world.output.write(
            table.render(
              plugins.map((each) => [
                each.name,
                each.version,
                each.origin.toLowerCase(),
                each.trackers.join(','),
                each.summary,
                each.problem ?? '',
              ]),
            ),
          );
        }
      }),
    );
  withServer(plugin.command('load'), question)
    .description('upload a plugin to the server, where it runs in a sandbox; requires the role admin')
    .argument('<file>', 'TypeScript or JavaScript')
    .option('--replace', 'replace a plugin of the same name; its sessions continue with the new code', false)
    .action((file: string, flags: ServerFlags & { readonly replace: boolean }) =>
      withClient(world, flags, async (client) => {
        const input = { file: basename(file), source: await read(file), replace: flags.replace };
        const { loadPlugin } = await client.query<{ loadPlugin: { name: string; version: string } }>(LOAD, { input });
        await world.output.write(`loaded ${loadPlugin.name} ${loadPlugin.version}\n`);
      }),
    );
  withServer(plugin.command('unload'), question)
    .description('stop a plugin in all sessions and unload it; requires the role admin')
    .argument('<name>')
    .action((name: string, flags: ServerFlags) =>
      withClient(world, flags, async (client) => {
        await client.query(UNLOAD, { name });
        await world.output.write(`unloaded ${name}\n`);
      }),
    );
}

async function scaffold(name: string, world: World): Promise<void> {
  if (!/^[a-z][a-z0-9-]{0,49}$/.test(name))
    throw new UsageError(`${JSON.stringify(name)} is no name: lower-case letters, digits and hyphens, first a letter`);
  const there = await access(name).then(
    () => true,
    () => false,
  );
  if (there) throw new UsageError(`${name} is there already; choose another name, or remove it`);
  await mkdir(name);
  const template = (await readFile(TEMPLATE, 'utf8'))
    .replace("name: 'template'", `name: '${name}'`)
    .replace(
      /^ \* A template: .*\n.*\n/m,
      ` * ${name}: counts the programs that each container executes, and tells of those that cannot be. Needs the tracker exec.\n`,
    );
  const recorded = [
    { pid: 100, comm: 'sh', errno: null },
    { pid: 101, comm: 'ls', errno: null },
    { pid: 101, comm: 'sh', errno: 'ENOENT' },
  ];
  const process = { ppid: 1, uid: 0, gid: 0, startTime: '2026-01-31T08:15:30.000000000Z' };
  const lines = recorded.map(({ pid, comm, errno }, i) => ({
    tracker: 'exec',
    time: `2026-01-31T08:15:3${i}.000000000Z`,
    bootNs: String(1_000_000_000 * i),
    process: { ...process, pid, tid: pid, comm },
    container: { id: 'c0ffee', name: 'web', image: 'nginx:1.27', labels: [] },
    errno,
    filename: `/bin/${comm}`,
    executable: errno === null ? `/bin/${comm}` : null,
    args: [comm],
  }));
  await writeFile(join(name, 'plugin.ts'), template);
  await writeFile(join(name, 'tsconfig.json'), `${JSON.stringify(PROJECT, null, 2)}\n`);
  await mkdir(join(name, 'eunomia/generated'), { recursive: true });
  for (const file of DECLARATIONS) await copyFile(packageFile('dist', file), join(name, 'eunomia', file));
  await writeFile(
    join(name, 'events.ndjson'),
    [{ eunomia: 1 }, ...lines].map((line) => `${JSON.stringify(line)}\n`).join(''),
  );
  await writeFile(
    join(name, 'test.sh'),
    '#!/bin/sh\n# Runs the plugin over the recorded events and looks for what it must find.\nset -eu\ncd ' +
      `"$(dirname "$0")"\neunomia plugin test plugin.ts --replay events.ndjson --sandbox | grep '"web: ls":1'\n`,
    { mode: 0o755 },
  );
  await world.output.write(
    `${name}/plugin.ts: the plugin\n${name}/events.ndjson: events to test it on\n${name}/test.sh: the test\n` +
      `${name}/tsconfig.json, ${name}/eunomia/: types, for editors and tsc\nTry: eunomia plugin test ${name} ` +
      `--replay ${name}/events.ndjson\n`,
  );
}

async function test(path: string, { replay, options, sandbox }: TestFlags, world: World): Promise<void> {
  const file = /\.[mc]?[jt]s$/.test(path) ? path : join(path, 'plugin.ts');
  const request = {
    plugin: file,
    realm: sandbox ? ('SANDBOX' as const) : ('TRUSTED' as const),
    events: replay,
    options: options === undefined ? null : parse(options),
  };
  const summary = await world.testPlugin(request, async ({ results, alerts, logs }) => {
    for (const { kind, json } of results)
      await world.output.write(`{"result":${JSON.stringify(kind)},"value":${json}}\n`);
    // Where its event stands in a session means nothing here.
    for (const alert of alerts)
      await world.output.write(`${JSON.stringify({ alert: { ...alert, place: undefined } })}\n`);
    for (const text of logs) world.tell(`log: ${text}`);
  });
  const { name, version, events, discarded, failed, suppressed, errors } = summary;
  world.tell(
    `${name} ${version}: ${counted(events, 'event')}, ${discarded} not for it, ${failed} in calls that failed, ` +
      `${counted(suppressed, 'result')} left out`,
  );
  if (errors.length)
    throw new EunomiaError(
      'PLUGIN_FAILED',
      [...new Set(errors.map(({ at, message }) => (at === null ? message : `${at}: ${message}`)))].join('\n'),
    );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--options: is not JSON: ${messageOf(error)}`);
  }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
