import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** strace as a witness of which system calls a program made. */

export function isInPath(tool: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** `strace -c`: "% time, seconds, usecs/call, calls, errors or nothing, name". It tells of the calls that do not end, too. */
export function straced(file: string): Map<string, { calls: number; errors: number }> {
  const rows = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  const counts = new Map<string, { calls: number; errors: number }>();
  for (const row of rows) {
    const name = row.at(-1) ?? '';
    if (!/^\d/.test(row[0] ?? '') || name === 'total' || name === 'exit' || name === 'exit_group') continue;
    counts.set(name, { calls: Number(row[3]), errors: row.length > 5 ? Number(row[4]) : 0 });
  }
  return counts;
}
