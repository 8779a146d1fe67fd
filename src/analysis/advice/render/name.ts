import type { Advice } from '../../../event/advice.js';

/** A name for the container's profile in files: "web", else the image's, else "container". Lower-case letters, digits and dashes. */
export function profileName({ subject: { container, image } }: Advice): string {
  const last = (image ?? '').split('/').at(-1)?.split(/[:@]/)[0];
  return wordOf(container?.name) || wordOf(last) || 'container';
}

function wordOf(text: string | null | undefined): string {
  return (text ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 50);
}

/** "CAP_CHOWN" as engines write it: "CHOWN". */
export function shortCapability(name: string): string {
  return name.replace(/^CAP_/, '');
}
