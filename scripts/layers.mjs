// The layers of src/: one table, from which the import check of `npm run lint`, the table in docs/architecture.md and the test of the
// layers come. A folder may import from those above it in this table, unless `only` narrows that; `why` is told with each refusal.
//   node scripts/layers.mjs [--docs]
import { readFileSync, writeFileSync } from 'node:fs';
import { join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesUnder, root } from './setup/project.mjs';

/** `packages`: modules that no folder but these may import. `pure`: no module of Node. */
export const layers = [
  { folder: 'base', what: 'errors, names, the log, paths of the package', why: 'the vocabulary is below every folder' },
  {
    folder: 'linux',
    what: 'names and numbers of the kernel’s interface',
    why: 'facts about Linux depend on nothing',
    pure: true,
  },
  {
    folder: 'event',
    what: 'what flows: events, gaps, demand, metrics, reports',
    why: 'types that everybody shares import nobody',
    pure: true,
  },
  {
    folder: 'btf',
    what: 'BTF, record layout, kinds of values',
    why: 'layouts are computed from bytes, without a kernel',
    pure: true,
  },
  {
    folder: 'kernel',
    what: 'libbpf, rings and their thread',
    why: 'pointers and file descriptors stay here; what an object means is decided above',
    packages: ['koffi'],
    not: ['event'],
  },
  {
    folder: 'lock',
    what: 'files that one process has at a time',
    why: 'flock(2) takes an open descriptor, and Node has no call for it',
    only: ['base', 'linux'],
    packages: ['koffi'],
  },
  {
    folder: 'symbols',
    what: 'user stacks: unwound, and their functions named, by the files of programs',
    why: 'a program’s file may be anybody’s: what reads it is given bytes and paths, and knows neither records nor sessions',
    only: ['base', 'linux'],
  },
  {
    folder: 'tracker',
    what: 'what a definition of a tracker is, and what several of them share',
    why: 'a definition must be readable and testable by itself: no I/O, no kernel',
    pure: true,
    not: ['btf', 'kernel'],
  },
  {
    folder: 'trackers',
    what: 'the definitions, one file a tracker: data and pure functions',
    why: 'a definition must be readable and testable by itself: no I/O, no kernel',
    pure: true,
    not: ['btf', 'kernel'],
  },
  {
    folder: 'catalog',
    what: 'what trackers are to a client',
    why: 'it describes trackers and runs none',
    not: ['kernel'],
  },
  {
    folder: 'filter',
    what: 'what clients write, checked, compiled, pushed down',
    why: 'a filter is pure',
    pure: true,
    not: ['kernel', 'btf'],
  },
  {
    folder: 'inventory',
    what: 'who acted: containers and processes',
    why: 'it names what acted, with or without a kernel program',
    packages: ['dockerode'],
    not: ['btf', 'tracker', 'trackers', 'catalog', 'filter'],
  },
  {
    folder: 'record',
    what: 'bytes → events → JSON',
    why: 'it decodes records, and knows neither sessions nor readers',
  },
  {
    folder: 'session',
    what: 'sessions, sources, targets, streams',
    why: 'sessions know readers only by their interface',
  },
  {
    folder: 'snapshot',
    what: 'what there is now: processes, sockets, open files, mounts',
    why: 'a snapshot is read from the kernel when somebody asks, and knows no session',
  },
  {
    folder: 'graph',
    what: 'what an event touches: the table of processes, and what containers use',
    why: 'it is asked by whoever shows an event, and knows no reader',
  },
  {
    folder: 'analysis',
    what: 'computations over batches',
    why: 'an analysis reads batches; it never reaches into the kernel',
    not: ['kernel'],
  },
  {
    folder: 'formats',
    what: 'NDJSON, CSV, Parquet, recordings',
    why: 'a format writes and reads files of events',
    not: ['kernel'],
  },
  {
    folder: 'storage',
    what: 'the store’s contract, DuckDB, InfluxDB',
    why: 'a store is a reader that can be queried',
    not: ['kernel'],
    packages: ['@duckdb/node-api', '@influxdata/influxdb-client'],
  },
  {
    folder: 'plugins',
    what: 'users’ analyses, in threads of their own',
    why: 'a plugin sees events, and nothing of the server',
    not: ['kernel', 'storage', 'formats'],
  },
  {
    folder: 'alerts',
    what: 'what was raised',
    why: 'alerts outlive who raised them',
    not: ['kernel', 'storage', 'plugins'],
  },
  {
    folder: 'rules',
    what: 'users’ rules: read, compiled, evaluated',
    why: 'a rule is evaluated on events of any source, in a test as on a server: no session, no kernel',
    only: ['base', 'linux', 'event', 'catalog', 'filter'],
  },
  {
    folder: 'telemetry',
    what: 'Prometheus and OTLP',
    why: 'it tells others what is there, and changes nothing',
    not: ['kernel', 'storage', 'plugins', 'alerts', 'rules'],
    packages: ['prom-client'],
  },
  {
    folder: 'webhook',
    what: 'alerts, sent to others by HTTP',
    why: 'it reads the book of alerts, and nothing that raises them',
    only: ['base', 'event', 'alerts'],
  },
  {
    folder: 'access',
    what: 'identities and roles',
    why: 'who may do what is decided apart from what is done',
    not: ['kernel', 'session', 'storage'],
  },
  {
    folder: 'options',
    what: 'what an administrator can set: one table, and the reading of flags, variables and a file',
    why: 'settings say what is possible; who uses them decides nothing about how they are written',
    only: ['base', 'inventory', 'access'],
  },
  {
    folder: 'service',
    what: 'the use cases, each with its caller',
    why: 'whatever asks, the same is checked and done: it knows no request, no operation and no socket',
    not: ['btf', 'kernel', 'tracker', 'trackers'],
  },
  {
    folder: 'api',
    what: 'GraphQL, text, HTTP and WebSocket',
    why: 'it is protocol: what is asked of the server is asked of its service, and decided there',
    only: ['base', 'event', 'record', 'access', 'service'],
    packages: ['graphql-yoga', 'graphql-ws', 'ws'],
  },
  {
    folder: 'client',
    what: 'GraphQL clients',
    why: 'a client speaks to any server, and is part of none',
    only: ['base', 'event'],
    packages: ['graphql-ws', 'ws'],
  },
  {
    folder: 'cli',
    what: 'the command line',
    why: 'it speaks GraphQL, as any client',
    only: ['base', 'linux', 'event', 'client', 'access', 'options'],
    packages: ['commander'],
  },
  { folder: 'server', what: 'the composition', why: 'it puts the parts together, and no part knows it', not: ['cli'] },
];

const generated = 'generated';
/** Files beside the folders: `plugin.ts` is the public entry `eunomia/plugin`, `main.ts` the program. */
const files = {
  'plugin.ts': { only: [], why: 'the public entry promises little, so that it can keep it' },
  'main.ts': { only: ['base', 'cli', 'server'], why: 'it reads argv, and the server puts the parts together' },
};

/** Folders that a folder may import from, itself included. */
export function allowedFor(folder) {
  const at = layers.findIndex((layer) => layer.folder === folder);
  const { only, not = [] } = layers[at];
  return [
    ...layers
      .slice(0, at)
      .map((layer) => layer.folder)
      .filter((name) => (only ? only.includes(name) : !not.includes(name))),
    folder,
  ];
}

/** Why a file of src/ (its path below it) may not import `source`; null when it may. */
export function refusal(file, source) {
  const [folder, ...rest] = file.split('/');
  const own = rest.length ? layers.find((layer) => layer.folder === folder) : files[file];
  if (!own) return `src/${file}: there is no folder "${folder}" in the table of scripts/layers.mjs`;
  if (!source.startsWith('.')) {
    const name = source.startsWith('@') ? source.split('/').slice(0, 2).join('/') : source.split('/')[0];
    const owners = layers.filter((layer) => layer.packages?.includes(name));
    if (owners.length && !owners.includes(own))
      return `src/${file} imports "${source}": only ${owners.map((layer) => `src/${layer.folder}/`).join(' and ')} may: ${owners[0].why}`;
    return own.pure && source.startsWith('node:') ? `src/${file} imports "${source}": ${own.why}` : null;
  }
  const target = posix.normalize(posix.join(posix.dirname(file), source));
  const [to, ...inside] = target.split('/');
  if (target.startsWith('..')) return `src/${file} imports "${source}", which is outside of src/`;
  if (to === generated) return null;
  if (!inside.length) return target === 'plugin.js' ? null : `src/${file} imports "${source}": ${files['main.ts'].why}`;
  const allowed = rest.length ? allowedFor(folder) : own.only;
  return allowed.includes(to) ? null : `src/${file} imports "${source}": ${own.why}`;
}

const specifier = /(?:^|[\s;}(])(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g;

/** Why a file may not look for the package by its own place; null when it does not. */
export function whereabouts(file, text) {
  const own = /\bimport\.meta\.\w+|\b__(?:dir|file)name\b/.exec(text)?.[0];
  return own && file !== 'base/paths.ts'
    ? `src/${file} has ${own}: only src/base/paths.ts knows where the package lies; packageFile, codeFolder, workerFile give what is in it`
    : null;
}

/** Every import of src/ that the table refuses, a sentence each. */
export function checkLayers() {
  const problems = [];
  for (const path of filesUnder('src', (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))) {
    if (path.startsWith('src/generated/')) continue;
    const text = readFileSync(join(root, path), 'utf8');
    for (const [, source] of text.matchAll(specifier)) {
      const why = refusal(path.slice('src/'.length), source);
      if (why) problems.push(why);
    }
    const where = whereabouts(path.slice('src/'.length), text);
    if (where) problems.push(where);
  }
  return problems;
}

const BEGIN = '<!-- layers: made by scripts/layers.mjs -->';
const END = '<!-- end of layers -->';

/** The table for docs/architecture.md. */
export function layerTable() {
  const rows = layers.map(({ folder, what, why }) => {
    const above = layers
      .slice(
        0,
        layers.findIndex((layer) => layer.folder === folder),
      )
      .map((layer) => layer.folder);
    const not = above.filter((name) => !allowedFor(folder).includes(name));
    const may =
      above.length === 0
        ? 'nothing'
        : not.length === 0
          ? 'all above'
          : not.length < above.length - not.length
            ? `all above but ${not.join(', ')}`
            : allowedFor(folder).slice(0, -1).join(', ') || 'nothing';
    return `| \`src/${folder}/\` | ${what} | ${may} | ${why} |`;
  });
  return [BEGIN, '| Folder | What it is | May import | Why |', '| --- | --- | --- | --- |', ...rows, END].join('\n');
}

export function withTable(text) {
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  return from < 0 || to < 0 ? text : text.slice(0, from) + layerTable() + text.slice(to + END.length);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--docs')) {
    const path = join(root, 'docs/architecture.md');
    writeFileSync(path, withTable(readFileSync(path, 'utf8')));
  } else {
    const problems = checkLayers();
    for (const problem of problems) process.stdout.write(`${problem}\n`);
    process.exitCode = problems.length ? 1 : 0;
  }
}
