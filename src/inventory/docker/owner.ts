import { readFileSync, readlinkSync } from 'node:fs';
import { startTicks } from '../process.js';

/**
 * What is made in an engine for a rehearsal carries these labels, by which it is found and removed: also by the next server, when the one
 * that made it was killed.
 */
export const LABEL = 'eunomia.advice';
const OWNER = 'eunomia.advice.owner';
/** Seconds since 1970, after which nobody needs it any more. */
const UNTIL = 'eunomia.advice.until';

export type EngineLabels = Readonly<Record<string, string>>;

export function labelsOf(id: string, until: number): EngineLabels {
  return { [LABEL]: id, [OWNER]: ownerOf(process.pid) ?? '', [UNTIL]: String(Math.ceil(until / 1000)) };
}

/**
 * Whether nobody needs what carries these labels: its process, one of this machine and pid namespace, has ended; or its time is over, which
 * is all that can be told of a process elsewhere.
 */
export function isLeftOver(labels: EngineLabels, now: number): boolean {
  if (labels[LABEL] === undefined) return false;
  if (now > Number(labels[UNTIL] ?? 0) * 1000) return true;
  const [place, pid] = /^(.*):(\d+):\d+$/.exec(labels[OWNER] ?? '')?.slice(1) ?? [];
  return place === placeOf() && ownerOf(Number(pid)) !== labels[OWNER];
}

/** A process of this machine; null where there is none with this pid. */
function ownerOf(pid: number): string | null {
  const ticks = startTicks(pid);
  return ticks === null ? null : `${placeOf()}:${pid}:${ticks}`;
}

function placeOf(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot}:${readlinkSync('/proc/self/ns/pid')}`;
}
