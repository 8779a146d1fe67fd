// RFC 3339; up to nine digits of a second, since the kernel's clock has no more.
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/;

/** RFC 3339 in any time zone → the same time in UTC with nine digits of a second; null when it is none. */
export function parseDateTime(text: string): string | null {
  const [, date, time, fraction = '', zone = ''] = DATE_TIME.exec(text) ?? [];
  if (date === undefined || time === undefined) return null;
  const at = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  // Date.parse takes February 31st for March 3rd.
  if (
    Number.isNaN(at) ||
    Number.isNaN(Date.parse(`${date}T00:00:00Z`)) ||
    new Date(`${date}T00:00:00Z`).toISOString().slice(0, 10) !== date
  )
    return null;
  return `${new Date(at).toISOString().slice(0, 19)}.${fraction.padEnd(9, '0')}Z`;
}
