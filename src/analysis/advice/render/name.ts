import { sha256 } from '../../../base/hash.js';
import type { Advice } from '../../../event/advice.js';

/** What people call the container in files: "web", else the image's name, else "container". Lower-case letters, digits and dashes. */
export function plainName({ subject: { container, image } }: Advice): string {
  const last = (image ?? '').split('/').at(-1)?.split(/[:@]/)[0];
  return wordOf(container?.name) || wordOf(last) || 'container';
}

/**
 * The same for what stands beside others' on one machine: profiles, rules, volumes. Where the plain name says less than what it is made of,
 * a digest of that follows: "web.1" and "web-1" have profiles of their own.
 */
export function profileName(advice: Advice): string {
  const { container, image } = advice.subject;
  const word = plainName(advice);
  const whole = container?.name ?? image ?? '';
  if (whole === word || whole === '') return word;
  return `${word.slice(0, MAX_WORD - DIGEST - 1).replace(/-+$/, '')}-${sha256(whole).slice(0, DIGEST)}`;
}

const MAX_WORD = 50;
const DIGEST = 6;

function wordOf(text: string | null | undefined): string {
  return (text ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, MAX_WORD)
    .replace(/-+$/, '');
}

/** "CAP_CHOWN" as engines write it: "CHOWN". */
export function shortCapability(name: string): string {
  return name.replace(/^CAP_/, '');
}
