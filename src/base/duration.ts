const MILLISECONDS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const DURATION = /^(\d{1,15})(ns|us|ms|s|m|h)$/;

/** "500ms" → 500; null when it is not a duration. Milliseconds, with a fraction below one. */
export function parseDuration(text: string): number | null {
  const [, digits, unit] = DURATION.exec(text) ?? [];
  const factor = unit === undefined ? undefined : MILLISECONDS[unit];
  return digits === undefined || factor === undefined ? null : Number(digits) * factor;
}

/** 90_000 → "90s": the largest unit that leaves a whole number. */
export function formatDuration(ms: number): string {
  for (const unit of ['h', 'm', 's', 'ms', 'us', 'ns']) {
    const count = ms / (MILLISECONDS[unit] ?? 1);
    if (Number.isInteger(count)) return `${count}${unit}`;
  }
  return `${Math.round(ms * 1e6)}ns`;
}
