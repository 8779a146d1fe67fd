/** A date as HTTP writes it, also the old ways; `Date.parse` alone takes "0.001" for one. */
const DATE = /^[A-Z][a-z]{2,8},? /;
/** The header has whole seconds, so a second is the least that can be meant: a date may be a moment away. */
const LEAST_MS = 1000;

/** How long a `Retry-After` header asks to wait, in milliseconds, at least a second. Null for what is neither digits nor a date to come. */
export function retryAfterMs(value: string | null | undefined, now = Date.now()): number | null {
  const text = value?.trim() ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : DATE.test(text) ? Date.parse(text) - now : Number.NaN;
  return ms > 0 ? Math.max(ms, LEAST_MS) : null;
}
