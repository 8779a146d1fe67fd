import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { programOfNobody } from '../../test/support/program.js';
import { defaultConfig } from '../base/config.js';
import { errorTable, type ErrorEntry } from '../base/error-code.js';
import { root } from '../base/paths.js';
import { limitSettings } from './limit.js';
import { accessSettings, generalSettings } from './server.js';
import { variableOf } from './setting.js';
import { allSettings } from './table.js';

const program = programOfNobody();

describe('what messages and documentation name', () => {
  const commands = [program, ...program.commands.flatMap((each) => [each, ...each.commands])];
  const flags = new Set([
    ...commands.flatMap(({ options }) => options.flatMap(({ long }) => long ?? [])),
    '--help',
    '--no',
  ]);
  const variables = new Set([
    ...allSettings.map(variableOf),
    ...commands.flatMap(({ options }) => options.flatMap(({ envVar }) => envVar ?? [])),
  ]);
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.startsWith('generated'))
    // It writes command lines of other programs.
    .filter((name) => !name.startsWith('analysis/advice/render/'))
    // It sets a flag of V8.
    .filter((name) => name !== 'server/heap.ts')
    .map((name) => join('src', name));
  const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
    name.endsWith('.md'),
  );
  const textIn = (name: string): string => readFileSync(join(root, name), 'utf8');

  it.each(sources.filter((name) => /--[a-z]|EUNOMIA_/.test(textIn(name))))('in %s exists', (name) => {
    // A tracker's trigger is a command of other programs.
    const text = textIn(name).replace(/^ *trigger: .*$/m, '');
    const named = [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*[a-z]\b(?!\.\w|-\$)/g)].map(([flag]) => flag);
    expect(named.filter((flag) => !flags.has(flag) && !flags.has(flag.replace('--no-', '--')))).toEqual([]);
    const known = [...text.matchAll(/\bEUNOMIA_[A-Z_]*[A-Z]\b/g)].map(([variable]) => variable);
    expect(known.filter((variable) => !variables.has(variable))).toEqual([]);
  });

  it.each(pages)('in %s exists, where eunomia is called', (name) => {
    const named = [
      ...textIn(name).matchAll(/\beunomia (?:serve|run|export|replay|report|plugin|trackers|containers)\b[^\n`|]*/g),
    ]
      .flatMap(([line]) => [...line.matchAll(/(?<![\w-])--[a-z][a-z-]*[a-z]\b/g)])
      .map(([flag]) => flag);
    expect(named.filter((flag) => !flags.has(flag))).toEqual([]);
  });

  it('links the page of settings wherever a flag of serve is the remedy of an error', () => {
    const serve = new Set(allSettings.map(({ flag }) => `--${flag}`));
    const entries: readonly [string, ErrorEntry][] = Object.entries(errorTable);
    const remedies = entries.filter(([, { remedy }]) =>
      [...remedy.matchAll(/--[a-z][a-z-]*[a-z]/g)].some(([flag]) => serve.has(flag)),
    );
    expect(remedies.length).toBeGreaterThan(5);
    expect(remedies.filter(([, { remedy }]) => !remedy.includes('(configuration.md)')).map(([code]) => code)).toEqual(
      [],
    );
  });

  it('gives each limit that an error names a key, or it cannot be set', () => {
    const fixed = [
      'repeats',
      'lines',
      'values',
      'headers',
      'chunkExtensions',
      'bodies',
      'responses',
      'processList',
      'eventLists',
      'processEntries',
      'savedQueries',
      'silences',
      'alertChanges',
      'backups',
      'verifications',
      'rules',
      'time',
      'ruleTests',
    ];
    const text = sources.map(textIn).join('\n');
    const named = [
      ...[...text.matchAll(/limitExceeded\(\s*'(\w+)'/g)].map(([, limit]) => limit),
      ...[...text.matchAll(/details[:=\s]+\{\s*limit: '(\w+)'/g)].map(([, limit]) => limit),
    ];
    expect(named.length).toBeGreaterThan(7);
    const keys = new Set(Object.values(limitSettings).map(({ key }) => key));
    expect(named.filter((limit) => !keys.has(`limits.${limit}`) && !fixed.includes(`${limit}`))).toEqual([]);
    expect(fixed.filter((limit) => !named.includes(limit))).toEqual([]);
  });

  it('takes settings from the same table everywhere', () => {
    const own = commands.flatMap(({ options }) => options).filter(({ long }) => long === '--engine');
    expect(own.length).toBeGreaterThan(1);
    for (const { description } of own) expect(description).toContain(generalSettings.engines.text);
    expect(accessSettings.port.default).toBe(defaultConfig.port);
  });
});
