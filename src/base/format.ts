/** The format of a file, a whole number from 1 that stands in it: what this version cannot read has a greater one. */

const REMEDY = 'use that version, or move it away';

/** Why a file is left as it is that has this number as its format; null where it is no newer one. */
export function newerFormat(found: unknown, known: number): string | null {
  const format: unknown = typeof found === 'object' && found !== null ? Reflect.get(found, 'format') : found;
  return typeof format === 'number' && format > known
    ? `it was written by a newer version of Eunomia (format ${format}, and this one knows ${known}); ${REMEDY}`
    : null;
}
