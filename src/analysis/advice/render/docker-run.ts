import type { Advice } from '../../../event/advice.js';
import { profileName, shortCapability } from './name.js';

/** The line by which Docker and Podman start the container with these rights. */
export function dockerRun(advice: Advice): string {
  const { rights, subject } = advice;
  const { memoryBytes, pids, cpus } = rights.limits;
  const options = [
    ...(rights.readOnlyRoot ? ['--read-only'] : []),
    ...rights.tmpfs.map(({ path, sizeBytes }) => `--tmpfs ${word(`${path}:size=${sizeBytes}`)}`),
    ...rights.volumes.map(({ path, writable }, i) => {
      const source = `${profileName(advice)}-${i + 1}`;
      return `--mount ${word(`type=volume,source=${source},target=${path}${writable ? '' : ',readonly'}`)}`;
    }),
    ...rights.devices.map(({ path, access }) => `--device ${word(`${path}:${path}:${access}`)}`),
    ...(rights.user === null ? [] : [`--user ${rights.user}`]),
    '--cap-drop ALL',
    ...rights.capabilities.map((name) => `--cap-add ${shortCapability(name)}`),
    '--security-opt seccomp=seccomp.json',
    ...(rights.noNewPrivileges ? ['--security-opt no-new-privileges'] : []),
    ...(memoryBytes === null ? [] : [`--memory ${memoryBytes}`]),
    ...(pids === null ? [] : [`--pids-limit ${pids}`]),
    ...(cpus === null ? [] : [`--cpus ${cpus}`]),
  ];
  return `docker run \\\n  ${[...options, word(subject.image ?? 'IMAGE')].join(' \\\n  ')}\n`;
}

/** A word of a shell. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
