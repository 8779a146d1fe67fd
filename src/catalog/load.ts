import { pathToFileURL } from 'node:url';
import { trackerModules } from '../base/paths.js';
import type { TrackerDefinition } from '../tracker/define.js';

/**
 * Every tracker: a file of src/trackers/, whose default export is a definition. Adding one needs no list to be edited.
 */
export async function loadTrackers(): Promise<readonly TrackerDefinition[]> {
  const modules = await Promise.all(
    [...trackerModules().values()].map(
      (file) => import(pathToFileURL(file).href) as Promise<{ default: TrackerDefinition }>,
    ),
  );
  return modules.map((module) => module.default);
}
