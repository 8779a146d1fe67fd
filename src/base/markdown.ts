import { visible } from './visible.js';

/** Text as Markdown shows it: whatever it is called, what a container names is no markup. */
export function markdownText(text: string): string {
  return visible(text).replace(/[\\|`*_<>[\]]/g, (character) => `\\${character}`);
}
