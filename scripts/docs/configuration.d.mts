import type { defaultTextOf, variableOf } from '../../src/options/setting.js';
import type { SettingGroup } from '../../src/options/table.js';

export function configurationPage(table: {
  readonly settingGroups: readonly SettingGroup[];
  readonly variableOf: typeof variableOf;
  readonly defaultTextOf: typeof defaultTextOf;
}): string;
