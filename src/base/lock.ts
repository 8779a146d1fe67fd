import { constants } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { openPrivate } from './file.js';

/**
 * Takes the lock that a file is, for this process: until `releaseLock`, or until it ends, however it ends. Returns null, or the pid of the
 * process that has it. Rejects with what `openPrivate` rejects with.
 */
export async function takeLock(path: string): Promise<number | null> {
  const file = await openPrivate(path, constants.O_RDWR | constants.O_CREAT);
  try {
    const [pid = '', start = ''] = (await file.readFile('utf8')).split(' ');
    if (/^\d+$/.test(pid) && (await startOf(Number(pid))) === start) return Number(pid);
    await file.truncate(0);
    await file.write(`${process.pid} ${await startOf(process.pid)}`, 0);
    return null;
  } finally {
    await file.close();
  }
}

export async function releaseLock(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** When a process started: a pid alone may be another's by now. Null when there is none. */
async function startOf(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat === null ? null : (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '');
}
