import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import type { Command } from 'commander';
import {
  buildSchema,
  getNamedType,
  GraphQLError,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  Kind,
  parse,
  validate,
  type DocumentNode,
  type GraphQLNamedType,
} from 'graphql';
import { describe, expect, it } from 'vitest';
import { errorTable } from '../../src/base/error-code.js';
import { eventTypeName } from '../../src/base/names.js';
import { root } from '../../src/base/paths.js';
import { programOfNobody } from '../support/program.js';
import { variableOf } from '../../src/options/setting.js';
import { allSettings } from '../../src/options/table.js';

// What the pages for users name exists. Decisions and the changelog describe the state of their own day, and are left out.
const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'schema.graphql', '.github/ISSUE_TEMPLATE/bug.md']
  .concat(readdirSync(join(root, 'docs')).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
};

/** Each finding as "PAGE: FINDING", so that a failure shows all of them. */
function findings(find: (text: string, path: string) => readonly string[]): readonly string[] {
  return pages.flatMap(({ path, text }) => find(text, path).map((finding) => `${path}: ${finding}`));
}

function blocks(text: string, language: string): readonly string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, block = '']) => block);
}

/** Code within a line of prose. */
function inline(text: string): readonly string[] {
  return [...text.replace(/^```.*?^```/gms, '').matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);
}

/** The lines of what a shell is given: blocks in sh, and indented ones; continued lines as one. */
function shellLines(text: string): readonly string[] {
  const indented = [...text.replace(/^```.*?^```/gms, '').matchAll(/^ {4}(\S.*)$/gm)].map(([, line = '']) => line);
  return [...blocks(text, 'sh').flatMap((block) => block.replaceAll('\\\n', ' ').split('\n')), ...indented];
}

describe('GraphQL in the documentation', () => {
  it('is valid', () => {
    expect(findings((text) => [...blocks(text, 'graphql'), ...requested(text)].flatMap(mistakes))).toEqual([]);
  });

  it('names fields of types that exist', () => {
    const wrong = findings((text) =>
      inline(text).filter((code) => {
        const [, name = '', field = ''] = /^([A-Z][A-Za-z]+)\.([a-z][A-Za-z]+)/.exec(code) ?? [];
        const type = schema.getType(name);
        if (!(isObjectType(type) || isInterfaceType(type) || isInputObjectType(type))) return false;
        return !(field in type.getFields()) && code !== 'Session.subscribe'; // the class of src/session/session.ts
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('names fields of events, options, processes and containers that exist', () => {
    const trackers = schema.getType('TrackerInput');
    const known = isInputObjectType(trackers) ? Object.keys(trackers.getFields()) : [];
    const typesOf = (first: string): readonly string[] =>
      known.includes(first)
        ? [eventTypeName(first), eventTypeName(first).replace(/Event$/, 'Options')]
        : [capital(first)];
    // These two tell of the names that others have.
    const ofOthers = ['docs/otlp.md', 'docs/rules-falco.md'];
    const wrong = findings((text, path) =>
      inline(text).filter((code) => {
        const [, first = '', rest = ''] = /^([a-z]\w*)\.([a-z]\w*(?:\.[a-z]\w*)*)$/.exec(code) ?? [];
        const isNamed = known.includes(first) || ['process', 'container'].includes(first);
        if (!isNamed || ofOthers.includes(path) || /\.(?:json|labels\..*)$/.test(code)) return false;
        return !typesOf(first).some((type) => leads(schema.getType(type), rest.split('.')));
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('names in camelCase what the schema or the sources have', () => {
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.tsx?$/.test(name) && !name.endsWith('.test.ts'))
      .map((name) => readFileSync(join(root, 'src', name), 'utf8'));
    const words = new Set(
      [readFileSync(join(root, 'schema.graphql'), 'utf8'), ...sources].flatMap((text) => text.match(/\w+/g) ?? []),
    );
    /** Kubernetes; clients of GraphQL; how names are written; a template of this page. */
    const ofOthers = ['fsGroup', 'persistedExchange', 'persistConfig', 'persistedDocuments', 'camelCase', 'netFlow'];
    const wrong = findings((text) =>
      inline(text).filter((code) => /^[a-z]+[A-Z]\w*$/.test(code) && !words.has(code) && !ofOthers.includes(code)),
    );
    expect(wrong).toEqual([]);
  });

  it('links codes of errors that exist', () => {
    const codes = findings((text) => [...text.matchAll(/\[`([A-Z_]+)`\]\(errors\.md\)/g)].map(([, code = '']) => code));
    expect(codes.filter((code) => !Object.keys(errorTable).some((known) => code.endsWith(`: ${known}`)))).toEqual([]);
    expect(codes.length).toBeGreaterThan(0);
  });
});

const capital = (name: string): string => `${name.charAt(0).toUpperCase()}${name.slice(1)}`;

/** Whether fields of these names lead on from a type. */
function leads(type: GraphQLNamedType | undefined, [name, ...rest]: readonly string[]): boolean {
  if (name === undefined) return true;
  if (!(isObjectType(type) || isInterfaceType(type) || isInputObjectType(type))) return false;
  const field = type.getFields()[name];
  return field !== undefined && leads(getNamedType(field.type), rest);
}

/** The documents that shell examples send. */
function requested(text: string): readonly string[] {
  return blocks(text, 'sh').flatMap((block) =>
    [...block.matchAll(/"query": ("(?:[^"\\]|\\.)*")/g)].map(([, query = '']) => JSON.parse(query) as string),
  );
}

/** Each operation alone: a page shows several without names. */
function mistakes(source: string): readonly string[] {
  let document: DocumentNode;
  try {
    document = parse(source);
  } catch (error) {
    return [`${error instanceof GraphQLError ? error.message : String(error)} in ${source}`];
  }
  const fragments = document.definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION);
  return document.definitions
    .filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
    .flatMap((operation) => validate(schema, { kind: Kind.DOCUMENT, definitions: [operation, ...fragments] }))
    .map(({ message }) => message);
}

/** The commands, which do nothing. */
function inert(): Command {
  const program = programOfNobody();
  for (const command of program.commands.flatMap((each) => [each, ...each.commands]))
    if (command.commands.length === 0) command.action(() => undefined);
  return program;
}

function commandLine(line: string): readonly string[] | null {
  const [, rest] = /^(?:[A-Z_]+=\S+ )*(?:eunomia|node dist\/main\.js)((?: .*)?)$/.exec(line.trim()) ?? [];
  const words = rest?.match(/'[^']*'|"[^"]*"|[^\s'"]+/g);
  if (!words) return null;
  const end = words.findIndex((word) => /^(?:#|\||>|&&|;)/.test(word));
  const given = end === -1 ? words : words.slice(0, end);
  return given.map((word) => word.replace(/^(['"])(.*)\1$/, '$2').replace(/^\[(\w+)\]$/, '$1'));
}

describe('commands in the documentation', () => {
  it('exist, with their flags and arguments', async () => {
    // What is in a line of prose may leave out what a command needs.
    const lines = pages.flatMap(({ path, text }) => [
      ...shellLines(text).map((line) => ({ path, line, whole: true })),
      ...inline(text).map((line) => ({ path, line, whole: false })),
    ]);
    const textOf = new Map(pages.map(({ path, text }) => [path, text]));
    const wrong: string[] = [];
    let tried = 0;
    for (const { path, line, whole } of lines) {
      const words = commandLine(line);
      if (!words?.length) continue;
      tried += 1;
      await inert()
        .parseAsync([...words], { from: 'user' })
        .catch((error: Error & { readonly code?: string }) => {
          if (error.code === 'commander.version' || (!whole && /missing/i.test(error.code ?? ''))) return;
          // Of a page that tells of the variable once for all of its commands.
          if (error.message.endsWith('or EUNOMIA_SERVER') && textOf.get(path)?.includes('`EUNOMIA_SERVER`')) return;
          wrong.push(`${path}: ${line}: ${error.message}`);
        });
    }
    expect(wrong).toEqual([]);
    expect(tried).toBeGreaterThan(30);
  });

  it('have the flags that are named alone', () => {
    const program = inert();
    const own = [program, ...program.commands.flatMap((each) => [each, ...each.commands])].flatMap((command) =>
      command.options.flatMap(({ long }) => long ?? []),
    );
    const others = [
      '--',
      '--NAME',
      '--no-NAME',
      '--version',
      '--help',
      '--changed',
      '--quick',
      '--json',
      '--out',
    ].concat(
      ['--network', '--pid', '--privileged', '--cgroupns', '--secret', '--build-arg'], // Docker's
    );
    const known = new Set([...own, ...others]);
    expect(
      findings((text) =>
        inline(text).filter((code) => code.startsWith('--') && !known.has(code.split(/[ =]/)[0] ?? '')),
      ),
    ).toEqual([]);
  });

  it('have the variables that are named', () => {
    const commands = inert().commands.flatMap((each) => [each, ...each.commands]);
    const variables = new Set([
      ...allSettings.map(variableOf),
      ...commands.flatMap(({ options }) => options.flatMap(({ envVar }) => envVar ?? [])),
    ]);
    const compose = readFileSync(join(root, 'docker/compose.yaml'), 'utf8');
    const wrong = findings((text) =>
      [...text.matchAll(/\bEUNOMIA_[A-Z_]+[A-Z]\b/g)]
        .map(([name]) => name)
        .filter((name) => !variables.has(name) && !compose.includes(name) && name !== 'EUNOMIA_FLIGHT_FILTERS'),
    );
    expect(wrong).toEqual([]);
  });

  it('of npm are in package.json', () => {
    const wrong = findings((text) =>
      [...text.matchAll(/\bnpm run (?:--silent )?([a-z][a-z-]*)/g)].flatMap(([line, name = '']) =>
        name in scripts ? [] : [line],
      ),
    );
    expect(wrong).toEqual([]);
  });
});

/** As GitHub makes anchors of headings. */
function anchors(text: string): ReadonlySet<string> {
  const headings = [...text.replace(/^```.*?^```/gms, '').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/\]\([^)]*\)/g, '')
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

describe('the documentation', () => {
  it('answers three questions by one short command each', () => {
    const [, section = ''] = /^## Three questions\n(.*?)^## /ms.exec(pages[0]?.text ?? '') ?? [];
    const commands = blocks(section, 'sh');
    expect(commands.map((command) => command.trimEnd().split('\n').length)).toEqual([1, 1, 1]);
    for (const command of commands) expect(command.trimEnd().length).toBeLessThanOrEqual(60);
    expect(blocks(section, 'text')).toHaveLength(3);
  });

  it('links what exists', () => {
    const wrong = findings((text, path) =>
      [...text.replace(/^```.*?^```/gms, '').matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link = '']) => link)
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => {
          const [file = '', anchor] = link.replaceAll('\n', '').split('#');
          const target = file === '' ? path : normalize(join(dirname(path), file));
          if (!existsSync(join(root, target))) return true;
          return anchor !== undefined && !anchors(readFileSync(join(root, target), 'utf8')).has(anchor);
        }),
    );
    expect(wrong).toEqual([]);
  });

  it('has one decision to a number, which its heading repeats', () => {
    const files = readdirSync(join(root, 'docs/decisions')).sort();
    const numbers = files.map((name) => name.slice(0, 3));
    expect(numbers).toEqual([...new Set(numbers)]);
    const wrong = files.filter(
      (name) => !readFileSync(join(root, 'docs/decisions', name), 'utf8').startsWith(`# ${name.slice(0, 3)}: `),
    );
    expect(wrong).toEqual([]);
  });

  it('names files that exist', () => {
    const file = /^(?:src|docs|test|bpf|plugins|docker|deploy|scripts|schema|bench)\/[\w./-]+$/;
    const wrong = findings((text) =>
      inline(text).filter(
        (code) => file.test(code) && !/net[-_]flow|NAME|PART/.test(code) && !existsSync(join(root, code)),
      ),
    );
    expect(wrong).toEqual([]);
  });
});
