import type { Advice } from '../../../event/advice.js';
import { profileName, shortCapability } from './name.js';

/** The line by which Docker and Podman start the container with these rights. Each argument is a word of a shell, whatever is in it. */
export function dockerRun(advice: Advice): string {
  const { rights, subject } = advice;
  const { memoryBytes, pids, cpus } = rights.limits;
  const options: (readonly string[])[] = [
    ...(rights.readOnlyRoot ? [['--read-only']] : []),
    ...rights.tmpfs.map(({ path, sizeBytes }) => ['--tmpfs', `${path}:size=${sizeBytes}`]),
    ...rights.volumes.map(({ path, writable }, i) => {
      const source = `source=${profileName(advice)}-${i + 1}`;
      return ['--mount', record('type=volume', source, `target=${path}`, ...(writable ? [] : ['readonly']))];
    }),
    ...rights.devices.map(({ path, access }) => ['--device', `${path}:${path}:${access}`]),
    ...(rights.user === null ? [] : [['--user', rights.user]]),
    ['--cap-drop', 'ALL'],
    ...rights.capabilities.map((name) => ['--cap-add', shortCapability(name)]),
    ['--security-opt', 'seccomp=seccomp.json'],
    ...(rights.noNewPrivileges ? [['--security-opt', 'no-new-privileges']] : []),
    ...(memoryBytes === null ? [] : [['--memory', String(memoryBytes)]]),
    ...(pids === null ? [] : [['--pids-limit', String(pids)]]),
    ...(cpus === null ? [] : [['--cpus', String(cpus)]]),
    [imageOf(subject.image)],
  ];
  return `docker run \\\n  ${options.map((words) => words.map(word).join(' ')).join(' \\\n  ')}\n`;
}

/** No image begins with a dash: that would be an option. */
function imageOf(image: string | null): string {
  return image === null || image.startsWith('-') ? 'IMAGE' : image;
}

/** The value of `--mount`, which Docker reads as a record of CSV: a comma in a path would begin another option. */
function record(...fields: readonly string[]): string {
  return fields.map((field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(',');
}

/** A word of a shell. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
