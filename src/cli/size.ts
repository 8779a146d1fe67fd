import { UsageError } from './usage.js';

const SPANS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "24h" → the time so long ago, and a time as it is: a commander argument parser. The server checks the latter. */
export function momentOf(flag: string): (value: string) => string {
  const ago = ageOf(flag);
  return (value) => {
    if (/^\d{4}-\d\d-\d\dT/.test(value)) return value;
    if (!/^\d+[mhd]$/.test(value))
      throw new UsageError(
        `${flag}: ${JSON.stringify(value)} is neither a time like 2026-01-31T08:15:30Z nor a time ago like 90m, 24h or 7d`,
      );
    return new Date(Math.max(0, Date.now() - ago(value))).toISOString();
  };
}

/** "30d" → milliseconds: a commander argument parser. */
function ageOf(flag: string): (value: string) => number {
  return (value) => {
    const [, number, unit = ''] = /^(\d{1,6})([mhd])$/.exec(value) ?? [];
    const ms = Number(number) * (SPANS[unit] ?? Number.NaN);
    if (ms > 0) return ms;
    throw new UsageError(`${flag}: ${JSON.stringify(value)} is no time; write it as 90m, 12h or 30d`);
  };
}
