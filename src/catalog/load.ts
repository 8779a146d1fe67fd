import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { codeFolder } from '../base/paths.js';
import type { TrackerDefinition } from '../tracker/define.js';

const trackers = codeFolder('trackers');

/**
 * Every tracker: a file of src/trackers/, whose default export is a definition. Adding one needs no list to be edited.
 */
export async function loadTrackers(): Promise<readonly TrackerDefinition[]> {
  const files = (await readdir(trackers)).filter((file) => /^[a-z][a-z0-9_]*\.[jt]s$/.test(file));
  const modules = await Promise.all(
    files
      .sort()
      .map((file) => import(pathToFileURL(join(trackers, file)).href) as Promise<{ default: TrackerDefinition }>),
  );
  return modules.map((module) => module.default);
}
