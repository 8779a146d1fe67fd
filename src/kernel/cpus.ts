import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** CPU ids are below this; those that may be plugged in later are included. */
export function possibleCpus(): number {
  return (listCpus('possible').at(-1) ?? cpus().length - 1) + 1;
}

export function onlineCpus(): readonly number[] {
  return listCpus('online');
}

/** Sysfs writes lists like "0-3,8". */
function listCpus(which: 'possible' | 'online'): number[] {
  return readFileSync(`/sys/devices/system/cpu/${which}`, 'utf8')
    .trim()
    .split(',')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}
