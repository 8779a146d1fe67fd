import { visible } from './visible.js';

/**
 * Text as Markdown shows it: whatever it is called, what a container names is no markup, no character by its number (`&#8238;`), and no
 * address that becomes a link by itself.
 */
export function markdownText(text: string): string {
  return visible(text)
    .replace(/[\\|`*_<>[\]&~$]/g, (character) => `\\${character}`)
    .replace(/(?<=http|https|ftp)(?=:\/\/)|(?<=www)(?=\.)/gi, '\\');
}
