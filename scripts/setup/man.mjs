// The commands as they are defined → dist/man/eunomia.1. Reads build/, so it comes after the compiler; `npm run package` ships it.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './project.mjs';

const page = join(root, 'dist/man/eunomia.1');

export async function writeManPage() {
  mkdirSync(dirname(page), { recursive: true });
  writeFileSync(page, await manPage());
}

export async function manPage() {
  const [{ createProgram }, { plainOutput }] = await Promise.all(
    ['cli/program.js', 'cli/output.js'].map((file) => import(join(root, 'build', file))),
  );
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const nobody = { output: plainOutput(async () => true), tell: () => undefined, signal: new AbortController().signal };
  const program = createProgram(version, nobody);
  return [
    // Without a date: a package that is made again is the same.
    `.TH EUNOMIA 1 "" "Eunomia ${version}" "Eunomia Manual"`,
    '.SH NAME',
    `eunomia \\- ${plain(program.description())}`,
    '.SH SYNOPSIS',
    '.B eunomia\n.I command\n.RI [ option ...]\n.RI [ argument ...]',
    '.SH COMMANDS',
    ...program.commands.flatMap(sections),
    '.SH EXIT STATUS',
    '0 on success, 1 on failure, 2 where the command line itself was wrong.',
    '.SH ENVIRONMENT',
    '.TP\n.B NO_COLOR\nIf it is set, nothing has colours.',
    '.PP\nVariables that stand for flags are named with these.',
    '',
  ].join('\n');
}

function sections(command) {
  if (command.commands.length) return command.commands.flatMap(sections);
  return [
    `.SS eunomia ${plain(`${pathOf(command)} ${command.usage()}`)}`,
    plain(command.description()),
    ...command.registeredArguments.flatMap((argument) => [
      '.TP',
      `.I ${plain(argument.name())}`,
      plain(argument.description + choices(argument)),
    ]),
    ...command.options
      .filter(({ hidden }) => !hidden)
      .flatMap((option) => [
        '.TP',
        `.B ${plain(option.flags)}`,
        plain(option.description + choices(option) + byDefault(option) + variable(option)),
      ]),
  ];
}

function pathOf(command) {
  return command.parent.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}

const choices = ({ argChoices }) => (argChoices ? ` (${argChoices.join(', ')})` : '');

const byDefault = ({ defaultValue }) =>
  ['string', 'number'].includes(typeof defaultValue) ? ` (default: ${defaultValue})` : '';

const variable = ({ envVar }) => (envVar ? ` (env: ${envVar})` : '');

/** Text of one line that roff takes as it is. */
function plain(text) {
  return text
    .replace(/\s+/g, ' ')
    .trim()
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/, '\\&');
}
