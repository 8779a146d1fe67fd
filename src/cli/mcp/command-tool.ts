import type { Command, Option } from 'commander';
import { isRepeatable } from '../usage.js';
import { plainOutput } from '../output.js';
import type { World } from '../world.js';
import { answerOf, MOST_CHARACTERS } from './answer.js';
import type { Answer, Tool } from './tool.js';

/** A command of the command line as a tool: its arguments and flags are the tool's arguments. */
export interface Exposed {
  readonly tool: string;
  /** The command's words. */
  readonly command: readonly string[];
  /** What the tool does; the command's description where it fits an agent. */
  readonly description?: string;
  /** Flags that are always given; the tool has no argument of these names. */
  readonly fixed?: Readonly<Record<string, string>>;
  /** Given unless the agent gives them: what a terminal has no need for. */
  readonly defaults?: Readonly<Record<string, string>>;
  readonly without?: readonly string[];
  /** It changes something that lasts. */
  readonly changes?: true;
  /** It asks for what only a running server has. */
  readonly needsServer?: true;
}

/** Which server, how its output looks, and what never ends is not the agent's to say. */
const NEVER = ['server', 'token', 'ca', 'engine', 'log-level', 'output', 'follow', 'help', 'version'];

type Run = (argv: readonly string[], world: World) => Promise<number>;

/** `program`: of all commands. `common`: flags that each call has, if its command knows them. */
export function commandTool(
  { tool, command: words, description, fixed = {}, defaults = {}, without = [], changes }: Exposed,
  program: Command,
  {
    common,
    run,
    world,
  }: { readonly common: Readonly<Record<string, string>>; readonly run: Run; readonly world: World },
): Tool {
  const command = words.reduce<Command>((above, word) => {
    const found = above.commands.find((each) => each.name() === word);
    if (!found) throw new RangeError(`there is no command ${words.join(' ')}`);
    return found;
  }, program);
  const options = new Map(command.options.map((option) => [nameOf(option), option]));
  const given = { ...Object.fromEntries(Object.entries(common).filter(([name]) => options.has(name))), ...fixed };
  const own = new Map(
    [...options].filter(
      ([name, { hidden }]) => !hidden && ![...NEVER, ...without, ...Object.keys(fixed)].includes(name),
    ),
  );
  const positional = command.registeredArguments.filter((argument) => !without.includes(argument.name()));
  const properties = {
    ...Object.fromEntries(
      positional.map((argument) => [
        argument.name(),
        { ...typeOf(argument.variadic), description: argument.description },
      ]),
    ),
    ...Object.fromEntries([...own].map(([name, option]) => [name, propertyOf(option, defaults[name])])),
  };
  return {
    name: tool,
    description: description ?? command.description(),
    inputSchema: {
      type: 'object',
      properties,
      required: [
        ...positional.filter(({ required }) => required).map((argument) => argument.name()),
        ...[...own].filter(([, { mandatory }]) => mandatory).map(([name]) => name),
      ],
      additionalProperties: false,
    },
    changes: changes === true,
    async call(args, signal) {
      const flags = Object.entries({ ...given, ...defaults, ...args }).flatMap(([name, value]) => {
        const option = options.get(name);
        return option ? flagsOf(name, option, value) : [];
      });
      const places = positional.flatMap((argument) => textsOf(args[argument.name()]));
      return captured(world, signal, (own) => run([...words, ...flags, '--', ...places], own));
    },
  };
}

function nameOf(option: Option): string {
  return (option.long ?? option.short ?? '').replace(/^-+/, '');
}

function isSwitch({ required, optional }: Option): boolean {
  return !required && !optional;
}

function typeOf(isList: boolean): object {
  return isList ? { type: 'array', items: { type: 'string' } } : { type: 'string' };
}

function propertyOf(option: Option, byDefault: string | undefined): object {
  const { description, argChoices, defaultValue } = option;
  const standard: unknown = byDefault ?? defaultValue;
  const text =
    standard === undefined || standard === false ? description : `${description} (default: ${String(standard)})`;
  if (isSwitch(option)) return { type: 'boolean', description: text };
  if (argChoices) return { type: 'string', enum: argChoices, description: text };
  return { ...typeOf(isRepeatable(option)), description: text };
}

/** Of an argument that was checked: a text, a number or a list of these. */
function textsOf(value: unknown): readonly string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

function flagsOf(name: string, option: Option, value: unknown): readonly string[] {
  if (isSwitch(option)) return value === true || value === 'true' ? [`--${name}`] : [];
  return textsOf(value).map((text) => `--${name}=${text}`);
}

/** Runs a command whose output is the answer: what it prints, and behind it what it tells. */
async function captured(world: World, signal: AbortSignal, run: (own: World) => Promise<number>): Promise<Answer> {
  let text = '';
  const told: string[] = [];
  const decoder = new TextDecoder();
  const code = await run({
    ...world,
    signal: AbortSignal.any([world.signal, signal]),
    tell: (line) => {
      // A person at a terminal is told how to end it.
      if (!line.endsWith('Ctrl-C stops')) told.push(line);
    },
    output: plainOutput((piece) => {
      const added = typeof piece === 'string' ? piece : decoder.decode(piece, { stream: true });
      // One character more tells that there is more.
      text += added.slice(0, Math.max(0, MOST_CHARACTERS + 1 - text.length));
      return Promise.resolve(text.length <= MOST_CHARACTERS);
    }),
  });
  return { text: answerOf(text, told), isError: code !== 0 };
}
