const NANOSECONDS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 6e10, h: 3.6e12 };
const DURATION = /^(\d{1,15})(ns|us|ms|s|m|h)$/;

/** "500ms" → 500; null when it is not a duration. Milliseconds, with a fraction below one. */
export function parseDuration(text: string): number | null {
  const [, digits, unit] = DURATION.exec(text) ?? [];
  const factor = unit === undefined ? undefined : NANOSECONDS[unit];
  return digits === undefined || factor === undefined ? null : (Number(digits) * factor) / 1e6;
}

/** 90_000 → "90s": the largest unit that leaves a whole number. `parseDuration` returns the same duration. */
export function formatDuration(ms: number): string {
  const ns = Math.round(ms * 1e6);
  if (ns === 0) return '0s';
  for (const unit of ['h', 'm', 's', 'ms', 'us']) {
    const count = ns / (NANOSECONDS[unit] ?? 1);
    if (Number.isInteger(count)) return `${count}${unit}`;
  }
  return `${ns}ns`;
}
