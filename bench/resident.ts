import { readFile } from 'node:fs/promises';

/** Resident memory of a process in bytes; 0 once it has ended. */
export async function residentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Looks at a process's resident memory five times a second; `most` is the largest that it saw. */
export function watchMemory(pid: number): { most(): number; stop(): void } {
  let most = 0;
  const look = async (): Promise<void> => {
    most = Math.max(most, await residentOf(pid));
  };
  const timer = setInterval(() => void look(), 200);
  return { most: () => most, stop: () => clearInterval(timer) };
}
