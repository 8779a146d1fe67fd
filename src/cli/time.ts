/** "2026-01-31T08:15:30Z" of a time with nanoseconds: what a person compares needs none. Empty for none. */
export function secondOf(time: string | null): string {
  return time?.replace(/\.\d+Z$/, 'Z') ?? '';
}
