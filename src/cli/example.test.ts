import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { nobody } from '../../test/support/program.js';
import { examples } from './example.js';
import { createProgram } from './program.js';

const program = createProgram('1', nobody);
const below = (command: Command, name: string): Command | undefined =>
  command.commands.find((each) => each.name() === name);

/** As a shell splits them. */
const wordsOf = (line: string): readonly string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');

it.each(Object.entries(examples))('the examples of %s are of that command, with flags that it has', (name, lines) => {
  for (const line of lines) {
    const [eunomia, first = '', second = '', ...rest] = wordsOf(line);
    expect([eunomia, first]).toEqual(['eunomia', name]);
    const command = below(program, first);
    const own = command && below(command, second);
    const words = own ? rest : [second, ...rest];
    const known = [command, own, command && below(command, 'list')].flatMap((each) => each?.options ?? []);
    for (const flag of words.filter((word) => word.startsWith('-')))
      expect([flag, known.some(({ long, short }) => flag === long || flag === short)]).toEqual([flag, true]);
    const needed = (own ?? command)?.options.filter(({ mandatory }) => mandatory) ?? [];
    for (const { long } of needed) expect(words).toContain(long);
  }
});

it('each command has some', () => {
  // `completion` has those of each shell.
  const without = program.commands.map((command) => command.name()).filter((name) => !(name in examples));
  expect(without).toEqual(['completion']);
});

it('are shown by --help', () => {
  let shown = '';
  const run = below(createProgram('1', nobody), 'run');
  run?.configureOutput({ writeOut: (text) => (shown += text) }).outputHelp();
  expect(shown).toContain(`\nExamples:\n  ${examples['run']?.[0]}\n`);
});
