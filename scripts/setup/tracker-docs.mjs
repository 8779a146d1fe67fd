// The contract, the trackers' definitions and their objects → docs/trackers.md and the table of README.md. Reads build/, so it comes
// after the compiler.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError, filesUnder, hashOf, isDone, markDone, root, say } from './project.mjs';
import { costsFile, costsSection, readCosts } from './tracker-costs.mjs';

const page = 'docs/trackers.md';
const readme = 'README.md';
/** What stands before the table of README.md, and behind it. */
const tableStart = '<!-- Written by `npm run build` from src/trackers/: edit these. -->\n';
const tableEnd = '<!-- The end of what is written. -->\n';
/** Written by `npm run samples`. */
export const samplesFile = 'docs/samples.json';

/** Writes docs/trackers.md and the table of README.md anew where what they tell of has changed. */
export async function writeTrackerDocs() {
  if (!existsSync(join(root, 'docs'))) return; // as in an image's build
  const sources = [
    ...filesUnder('src/trackers', (name) => !name.endsWith('.test.ts')),
    ...filesUnder('bpf'),
    'schema.graphql',
    'scripts/setup/tracker-docs.mjs',
    'scripts/setup/tracker-costs.mjs',
    'src/linux/hook-capability.ts',
    ...[samplesFile, costsFile].filter((file) => existsSync(join(root, file))),
  ];
  const inputs = () => hashOf([...sources, page, readme]);
  if (isDone('tracker-docs', inputs(), [page, readme])) return;
  const described = await describeTrackers();
  for (const [path, text] of [
    [page, trackersPage(described)],
    [readme, withTable(readFileSync(join(root, readme), 'utf8'), described)],
  ]) {
    if (existsSync(join(root, path)) && readFileSync(join(root, path), 'utf8') === text) continue;
    say(`writing ${path}`);
    writeFileSync(join(root, path), text);
  }
  markDone('tracker-docs', inputs());
}

/** The text of docs/trackers.md. */
export async function trackerDocs() {
  return trackersPage(await describeTrackers());
}

/** README.md with its table as it should be. */
export async function readmeWithTable(text) {
  return withTable(text, await describeTrackers());
}

/** The schema, and of each tracker what the catalogue, its definition and its object tell. */
async function describeTrackers() {
  const [{ contractSchema }, { Catalog }, { loadTrackers }, { createRuntime }, { capabilitiesFor }] = await Promise.all(
    [
      'api/graphql/schema.js',
      'catalog/catalog.js',
      'catalog/load.js',
      'record/runtime.js',
      'linux/hook-capability.js',
    ].map((file) => import(join(root, 'build', file))),
  );
  const schema = contractSchema();
  const runtimes = new Map(
    await Promise.all(
      (await loadTrackers()).map(async (definition) => [definition.name, await createRuntime(definition)]),
    ),
  );
  const { trackers } = new Catalog(
    schema,
    [...runtimes.values()].map(({ definition }) => definition),
    (tracker, field) => runtimes.get(tracker).onDemand.includes(field),
  );
  return {
    schema,
    trackers: trackers.map((tracker) => {
      const runtime = runtimes.get(tracker.name);
      return { tracker, runtime, capabilities: capabilitiesFor(runtime.hooks) };
    }),
  };
}

function withTable(text, { trackers }) {
  const [head, ...more] = text.split(tableStart);
  const [, tail, ...rest] = more.join('').split(tableEnd);
  if (more.length !== 1 || tail === undefined || rest.length > 0)
    throw new SetupError(`${readme} has not exactly one table between ${tableStart.trim()} and ${tableEnd.trim()}`);
  const oldest = /^- Linux (\d+\.\d+) or later/m.exec(text)?.[1];
  if (oldest === undefined) throw new SetupError(`${readme} does not tell which Linux is the oldest`);
  const entries = trackers.map(({ tracker, runtime, capabilities }) => {
    const { name, summary, minimumKernel, options } = tracker;
    const needs = [
      ...(isLater(minimumKernel, oldest) ? [`Linux ${minimumKernel}`] : []),
      ...(capabilities.includes('CAP_NET_ADMIN') ? ['needs `CAP_NET_ADMIN`'] : []),
    ];
    const watches = cell(runtime.definition.watches ?? summary.replace(/\.$/, ''));
    return [
      code(name),
      needs.length > 0 ? `${watches} (${needs.join(', ')})` : watches,
      options.map((option) => code(option.name)).join(', '),
    ];
  });
  const table = `| Tracker | What it reports | Options |\n| --- | --- | --- |\n${rows(entries)}\n`;
  return `${head}${tableStart}\n${table}\n${tableEnd}${tail}`;
}

function isLater(kernel, other) {
  const [major, minor] = kernel.split('.').map(Number);
  const [otherMajor, otherMinor] = other.split('.').map(Number);
  return major > otherMajor || (major === otherMajor && minor > otherMinor);
}

function trackersPage({ schema, trackers }) {
  const samples = existsSync(join(root, samplesFile)) ? JSON.parse(readFileSync(join(root, samplesFile), 'utf8')) : {};
  const costs = readCosts();
  const common = new Set(Object.keys(schema.getType('TraceEvent').getFields()));
  const isCommon = ({ path }) => common.has(path.split('.')[0]);
  const sections = trackers.map(({ tracker, runtime, capabilities }) =>
    section(
      tracker,
      runtime,
      capabilities,
      schema.getType(tracker.eventType).description,
      tracker.fields.filter((field) => !isCommon(field)),
      samples[tracker.name],
      tracker.name in costs,
    ),
  );
  const shared = Object.values(schema.getType('TraceEvent').getFields()).map(({ name, type, description }) => ({
    path: name,
    type: String(type),
    description,
  }));
  return `# Trackers

<!-- Written by \`npm run build\` from src/trackers/ and bpf/trackers/: edit these. -->

A tracker defines one kind of event that Eunomia can watch. \`eunomia trackers NAME\` shows the same information for a
running server, and what its kernel lacks; without a server, for this machine, as far as it can be told without loading BPF
programs. To add a tracker, see
[CONTRIBUTING.md](../CONTRIBUTING.md#adding-a-tracker).

| Tracker | What it watches | Linux |
| --- | --- | --- |
${rows(trackers.map(({ tracker }) => [`[${tracker.name}](#${tracker.name.toLowerCase()})`, cell(tracker.summary), tracker.minimumKernel]))}

All events have these fields:

${table(
  ['Field', 'Type'],
  shared.map(({ path, type, description }) => [code(path), code(type), cell(description)]),
)}

An on-demand field is null in an event if nobody selected it when the event was captured: see \`Capture\` in
[schema.graphql](../schema.graphql).

${costsSection(
  costs,
  trackers.map(({ tracker }) => tracker.name),
)}

${sections.join('\n')}`;
}

function section(tracker, { definition, hooks, layout }, capabilities, description, own, sample, isMeasured) {
  const { name, summary, minimumKernel, options, blindSpots } = tracker;
  const lacking = (definition.blindWithout ?? []).map(({ what, lacking: reason }) => `${what}: ${reason}.`);
  const parts = [
    `## ${name}\n\n${cell(summary)}\n\n${prose(description)}`,
    `Requires Linux ${minimumKernel} or later, and ${capabilities.map(code).join(', ')}. ` +
      `Hooks: ${hooks.map(code).join(', ')}. An event takes ${layout.size} ` +
      `bytes and its texts${isMeasured ? '; see [what it costs](#costs)' : ''}.`,
    options.length > 0
      ? table(
          ['Option', 'Type', 'Default'],
          options.map((option) => [
            code(option.name),
            code(option.type),
            option.default === null ? '' : code(JSON.stringify(option.default)),
            cell(option.description),
          ]),
        )
      : 'No options.',
    table(
      ['Field', 'Type', 'Captured'],
      own.map(({ path, type, onDemand, description: text }) => [
        code(path),
        code(type),
        onDemand ? 'on demand' : 'always',
        cell(text),
      ]),
    ),
    ...(tracker.reportSections.length > 0 ? [reporting(tracker)] : []),
    `Blind spots (what it does not see, or not exactly):\n\n${list(blindSpots)}`,
    ...(lacking.length > 0 ? [`Additional blind spots on kernels that lack a hook:\n\n${list(lacking)}`] : []),
    `\`\`\`graphql\n${example(tracker, definition)}\n\`\`\``,
    ...(sample
      ? [`\`${definition.trigger}\` made this event of it:`, `\`\`\`json\n${JSON.stringify(sample, null, 2)}\n\`\`\``]
      : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

function reporting({ reportSections, supersededBy }) {
  const instead =
    supersededBy.length > 0 ? ` In a session that also runs ${supersededBy.map(code).join(' or ')}, it does not.` : '';
  return `In a behaviour report it feeds ${reportSections.map(code).join(', ')}.${instead}`;
}

/** A query that runs the tracker for a moment and selects what a table would show. */
export function example({ name, eventType, columns }, { example: options = '{}' }) {
  const ownColumns = columns.filter((path) => !path.includes('.'));
  const nested = columns.filter((path) => path.startsWith('process.')).map((path) => path.slice('process.'.length));
  const who = ['pid', 'comm', ...nested].join(' ');
  return `mutation {
  trace(input: { trackers: [{ ${name}: ${options} }] }, for: "5s") {
    events { nodes { time container { name } process { ${who} } ... on ${eventType} { ${ownColumns.join(' ')} } } }
  }
}`;
}

function table(head, entries) {
  const titles = [...head, 'Meaning'];
  return `| ${titles.join(' | ')} |\n|${' --- |'.repeat(titles.length)}\n${rows(entries)}`;
}

function rows(entries) {
  return entries.map((entry) => `| ${entry.join(' | ')} |`).join('\n');
}

function list(texts) {
  return texts.length > 0 ? texts.map((text) => `- ${prose(text)}`).join('\n') : '- None known.';
}

function code(text) {
  return `\`${text.replaceAll('|', '\\|')}\``;
}

function cell(text) {
  return prose(text).replaceAll('|', '\\|');
}

/** On one line; what looks like HTML is none. */
function prose(text) {
  return (text ?? '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/<(?=[a-z/!])/gi, '&lt;');
}
