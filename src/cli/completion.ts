import { Argument, type Command, type Option } from 'commander';
import { trackerModules } from '../base/paths.js';
import type { World } from './world.js';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

const where: Readonly<Record<Shell, string>> = {
  bash: 'eunomia completion bash > /etc/bash_completion.d/eunomia',
  zsh: 'source <(eunomia completion zsh)   # in ~/.zshrc, behind compinit',
  fish: 'eunomia completion fish > ~/.config/fish/completions/eunomia.fish',
};

export function addCompletion(program: Command, world: World): void {
  program
    .command('completion')
    .description('print what makes a shell complete commands, flags, trackers and values')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .addHelpText('after', `\n${Object.values(where).join('\n')}`)
    .action(async (shell: Shell) => void (await world.output.write(completionOf(program, shell))));
}

/** A word that may come next, and what it is. */
interface Word {
  readonly text: string;
  readonly help: string;
}

/** What may follow a command: words, and for flags that take a value its choices, or null for any text or file. */
interface Place {
  /** "", "run", "alerts show". */
  readonly path: string;
  readonly words: readonly Word[];
  readonly valued: readonly { readonly flags: readonly string[]; readonly choices: readonly string[] | null }[];
}

/** A script for a shell, made of the commands as they are defined. It starts no process when it completes. */
export function completionOf(program: Command, shell: Shell): string {
  const places = placesOf(program, '');
  if (shell === 'fish') return fish(places);
  const bash = `${bashFunction(places)}complete -o bashdefault -o default -F _eunomia eunomia\n`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function placesOf(command: Command, path: string): readonly Place[] {
  const options = [command, ...defaultOf(command)].flatMap((each) => each.options).filter(({ hidden }) => !hidden);
  const below = command.commands.map((child) => ({ child, path: `${path} ${child.name()}`.trim() }));
  const flags = options.flatMap((option) =>
    namesOf(option).map((text) => ({ text, help: firstLine(option.description) })),
  );
  const place: Place = {
    path,
    words: [
      ...below.map(({ child }) => ({ text: child.name(), help: firstLine(child.description()) })),
      ...command.registeredArguments.flatMap(valuesOf),
      ...flags.filter(({ text }) => text.startsWith('--')),
      { text: '--help', help: 'display help' },
    ],
    valued: options
      .filter(({ required }) => required)
      .map((option) => ({ flags: namesOf(option), choices: option.argChoices ?? null })),
  };
  return [place, ...below.flatMap(({ child, path: deeper }) => placesOf(child, deeper))];
}

/** The command that runs where none is named: `eunomia alerts --rule NAME` is `eunomia alerts list --rule NAME`. */
function defaultOf(command: Command): readonly Command[] {
  // Commander tells nobody else.
  const { _defaultCommandName: name } = command as Command & { readonly _defaultCommandName?: string | null };
  return command.commands.filter((child) => child.name() === name);
}

function namesOf({ short, long }: Option): readonly string[] {
  return [long, short].filter((name) => name !== undefined);
}

function valuesOf(argument: Argument): readonly Word[] {
  const values = argument.name() === 'tracker' ? [...trackerModules().keys()] : (argument.argChoices ?? []);
  return values.map((text) => ({ text, help: argument.name() }));
}

function firstLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

function bashFunction(places: readonly Place[]): string {
  const paths = places.flatMap(({ path }) => (path === '' ? [] : [quoted(path)]));
  return `# Made by "eunomia completion".
_eunomia() {
  local IFS=$' \\t\\n' current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command='' words='' prefix='' i
  # "--output=json" is three words in bash, and one in zsh.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  elif [[ $current == --*=* ]]; then
    prefix="\${current%%=*}=" previous=\${current%%=*} current=\${current#*=}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${command:+$command }\${COMP_WORDS[i]}" in
    ${paths.join(' | ')}) command="\${command:+$command }\${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  # Options of a tracker, "open:failedOnly": bash splits there, too.
  [[ $current == ':' || $previous == ':' ]] && return
  case "$command/$previous" in
${places.flatMap(bashValues).join('\n')}
  *)
    case "$command" in
${places.map(({ path, words }) => `    ${quoted(path)}) words=${quoted(words.map(({ text }) => text).join(' '))} ;;`).join('\n')}
    esac
    ;;
  esac
  COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "$current"))
}
`;
}

/** What follows flags that take a value. Where there are no choices, the shell completes files. */
function bashValues({ path, valued }: Place): readonly string[] {
  const pattern = (flags: readonly string[]): string => flags.map((flag) => quoted(`${path}/${flag}`)).join(' | ');
  const free = valued.flatMap(({ flags, choices }) => (choices === null ? flags : []));
  return [
    ...(free.length ? [`  ${pattern(free)}) return ;;`] : []),
    ...valued.flatMap(({ flags, choices }) =>
      choices === null ? [] : [`  ${pattern(flags)}) words=${quoted(choices.join(' '))} ;;`],
    ),
  ];
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, valued }) => {
    const condition = `-n ${quoted(`__eunomia_at ${path}`.trim())}`;
    return [
      ...words
        .filter(({ text }) => !text.startsWith('-'))
        .map(({ text, help }) => `complete -c eunomia ${condition} -f -a ${quoted(text)} -d ${quoted(help)}`),
      ...words
        .filter(({ text }) => text.startsWith('--'))
        .map(({ text, help }) => {
          const value = valued.find(({ flags }) => flags.includes(text));
          const short = value?.flags.find((flag) => !flag.startsWith('--'));
          const takes = value ? ` -r${value.choices ? ` -f -a ${quoted(value.choices.join(' '))}` : ''}` : '';
          return `complete -c eunomia ${condition} -l ${text.slice(2)}${short ? ` -s ${short.slice(1)}` : ''}${takes} -d ${quoted(help)}`;
        }),
    ];
  });
  return `# Made by "eunomia completion".
function __eunomia_at
  set -l command
  for word in (commandline -opc)[2..]
    contains -- (string join -- ' ' $command $word) ${places.flatMap(({ path }) => (path === '' ? [] : [quoted(path)])).join(' ')}
    and set -a command $word
  end
  test "$command" = "$argv"
end
${lines.join('\n')}
`;
}

/** A word of any of the three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", `'\\''`)}'`;
}
