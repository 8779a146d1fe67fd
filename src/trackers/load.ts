import { readdir } from 'node:fs/promises';
import type { TrackerDefinition } from './define.js';

const notTrackers = new Set(['define', 'load', 'catalog']);

/** Every tracker of this folder: a file whose default export is a definition. Adding one needs no list to be edited. */
export async function loadTrackers(): Promise<readonly TrackerDefinition[]> {
  const files = (await readdir(new URL('.', import.meta.url))).filter(
    (f) => /^[a-z]+\.[jt]s$/.test(f) && !notTrackers.has(f.slice(0, -3)),
  );
  const modules = await Promise.all(
    files.sort().map((f) => import(new URL(f, import.meta.url).href) as Promise<{ default: TrackerDefinition }>),
  );
  return modules.map((m) => m.default);
}
