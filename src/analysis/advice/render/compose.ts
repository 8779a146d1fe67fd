import { stringify } from 'yaml';
import type { Advice } from '../../../event/advice.js';
import { plainName, profileName, shortCapability } from './name.js';

/** A file for `docker compose -f compose.yaml -f compose.override.yaml`. */
export function compose(advice: Advice): string {
  const { rights } = advice;
  const name = profileName(advice);
  const volumes = rights.volumes.map(({ path, writable }, i) => ({
    type: 'volume',
    source: `${name}-${i + 1}`,
    target: path,
    ...(writable ? {} : { read_only: true }),
  }));
  const { memoryBytes, pids, cpus } = rights.limits;
  const service = {
    cap_drop: ['ALL'],
    ...(rights.capabilities.length ? { cap_add: rights.capabilities.map(shortCapability) } : {}),
    security_opt: ['seccomp:seccomp.json', ...(rights.noNewPrivileges ? ['no-new-privileges:true'] : [])],
    read_only: rights.readOnlyRoot,
    ...(rights.tmpfs.length ? { tmpfs: rights.tmpfs.map(({ path, sizeBytes }) => `${path}:size=${sizeBytes}`) } : {}),
    ...(volumes.length ? { volumes } : {}),
    ...(rights.devices.length
      ? { devices: rights.devices.map(({ path, access }) => `${path}:${path}:${access}`) }
      : {}),
    ...(rights.user === null ? {} : { user: rights.user }),
    ...(memoryBytes === null ? {} : { mem_limit: memoryBytes }),
    ...(pids === null ? {} : { pids_limit: pids }),
    ...(cpus === null ? {} : { cpus }),
  };
  return interpolated({
    services: { [plainName(advice)]: service },
    ...(volumes.length ? { volumes: Object.fromEntries(volumes.map(({ source }) => [source, {}])) } : {}),
  });
}

/** YAML in which no `$` of a text stands for a variable: Compose replaces those in all values. */
function interpolated(value: object): string {
  return stringify(value, (_key, each: unknown) => (typeof each === 'string' ? each.replaceAll('$', '$$$$') : each));
}
