import { Option, type Command } from 'commander';
import { WrongValue } from '../options/kind.js';
import { defaultTextOf, variableOf, type AnySetting, type Setting } from '../options/setting.js';
import type { FlagValues } from '../options/sources.js';
import type { SettingGroup } from '../options/table.js';
import { UsageError } from './usage.js';

/** Adds the flags of settings. Their values stay texts: `givenFlags` collects them, `Sources` reads them. */
export function addSettings(command: Command, groups: readonly SettingGroup[]): void {
  for (const { title, settings } of groups) {
    for (const option of settings.flatMap(optionsOf)) command.addOption(option.helpGroup(`${title}:`));
  }
}

/** What was typed, and nothing else. */
export function givenFlags(command: Command, settings: readonly AnySetting[]): FlagValues {
  const given = new Map<string, string | readonly string[] | boolean>();
  for (const { flag } of settings) {
    const name = attributeOf({ flag });
    const value: unknown = command.getOptionValueSource(name) === 'cli' ? command.getOptionValue(name) : undefined;
    if (typeof value === 'string' || typeof value === 'boolean') given.set(flag, value);
    else if (Array.isArray(value)) given.set(flag, value.map(String));
  }
  return given;
}

/** A setting as a flag of another command, which has a text and a default of its own. */
export function flagOf<T, D>(setting: Setting<T, D>, text: string, byDefault?: T): Option {
  const option = new Option(`--${setting.flag} ${setting.kind.placeholder ?? ''}`.trim(), text).argParser((value) => {
    try {
      return setting.kind.parse(value);
    } catch (error) {
      throw error instanceof WrongValue ? new UsageError(`--${setting.flag}: ${error.message}`) : error;
    }
  });
  return byDefault === undefined ? option : option.default(byDefault);
}

/** A flag whose value may stand in a variable, too. An empty variable counts as none, as those of settings. */
export function orVariable(option: Option, variable: string): Option {
  return process.env[variable] === '' ? option : option.env(variable);
}

/** A switch has two: with "no-" it turns off what a variable or a file turned on. Help shows the one that changes the default. */
function optionsOf(setting: AnySetting): readonly Option[] {
  const { flag, kind } = setting;
  const text = `${setting.text}${notes(setting)}`;
  if (kind.placeholder === null) {
    const on = new Option(`--${flag}`, text);
    const off = new Option(`--no-${flag}`, `do not ${text}`);
    return setting.default === true ? [off, on.hideHelp()] : [on, off.hideHelp()];
  }
  const option = new Option(`--${flag} ${kind.placeholder}`, text);
  return [
    kind.repeatable
      ? option.argParser((value: string, previous: readonly string[] = []) => [...previous, value])
      : option,
  ];
}

function notes(setting: AnySetting): string {
  const shown = setting.kind.placeholder === null ? '' : defaultTextOf(setting);
  return ` (${shown === '' ? '' : `default: ${shown}, `}env: ${variableOf(setting)})`;
}

/** A flag's name in what commander parsed. */
export function attributeOf({ flag }: Pick<AnySetting, 'flag'>): string {
  return flag.replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}
