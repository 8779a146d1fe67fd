import type { SettingKind } from './kind.js';

/** What an administrator can set. `T`: what its values are; `D`: what it is when nothing sets it. */
export interface Setting<T, D> {
  /** Without the dashes. */
  readonly flag: string;
  /** Where it stands in a configuration file: "limits.sessions". Null: it cannot stand there. */
  readonly key: string | null;
  /** When it is not that of the flag. */
  readonly variable?: string;
  readonly kind: SettingKind<T>;
  readonly default: D;
  /** How the documentation shows the default; otherwise it is shown itself, and null as nothing. */
  readonly defaultText?: string;
  readonly text: string;
  /** A configuration file that has one may be read by its owner and group only. */
  readonly secret?: true;
  /** Another valid value than the default, as a configuration file has it. */
  readonly example: unknown;
}

export type AnySetting = Setting<unknown, unknown>;

/** Infers both types, and checks them. */
export function setting<T, const D>(spec: Setting<T, D>): Setting<T, D> {
  return spec;
}

/** The environment variable of a setting: EUNOMIA_MAX_SESSIONS for `--max-sessions`. */
export function variableOf({ flag, variable }: Pick<AnySetting, 'flag' | 'variable'>): string {
  return variable ?? `EUNOMIA_${flag.replaceAll('-', '_').toUpperCase()}`;
}

/** The default as the documentation shows it; empty when there is none. */
export function defaultTextOf({ default: value, defaultText }: AnySetting): string {
  if (defaultText !== undefined) return defaultText;
  if (value === null || value === false || (Array.isArray(value) && value.length === 0)) return '';
  return String(value);
}
