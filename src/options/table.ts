import { influxSettings } from './influx.js';
import { path } from './kind.js';
import { limitSettings } from './limit.js';
import { otlpSettings } from './otlp.js';
import { accessSettings, generalSettings, historySettings } from './server.js';
import { setting, type AnySetting } from './setting.js';

/**
 * Everything that an administrator can set, once: `serve --help`, the environment variables, the keys of a configuration file and
 * docs/configuration.md come from this table, and so does the reading of all of them.
 */

export const configSetting = setting({
  flag: 'config',
  key: null,
  kind: path(),
  default: null,
  text: 'a configuration file in YAML (docs/configuration.md); flags and variables take precedence',
  example: 'eunomia.yaml',
});

/** Settings that belong together, as help and documentation show them. */
export interface SettingGroup {
  readonly title: string;
  readonly settings: readonly AnySetting[];
}

const group = (title: string, settings: Readonly<Record<string, AnySetting>>): SettingGroup => ({
  title,
  settings: Object.values(settings),
});

export const accessGroup = group('Address and access', accessSettings);
export const limitGroup = group('Limits', limitSettings);

export const settingGroups: readonly SettingGroup[] = [
  group('Configuration file', { configSetting }),
  accessGroup,
  group('Sources and plugins', generalSettings),
  group('History', historySettings),
  limitGroup,
  group('InfluxDB', influxSettings),
  group('OpenTelemetry', otlpSettings),
];

export const allSettings: readonly AnySetting[] = settingGroups.flatMap(({ settings }) => settings);
