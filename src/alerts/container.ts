import type { AlertContainer } from '../event/alert.js';
import { createContainer } from '../inventory/container.js';
import { compileSelector, type ContainerSelector } from '../inventory/selector.js';

/** Containers that are remembered with whether they match. */
const KNOWN = 1000;

/**
 * A predicate over the containers of alerts, as they were then: by name, id and image. Throws BAD_SELECTOR. Containers
 * repeat, so that what was said of the last ones is remembered.
 */
export function containerMatch(
  selector: Pick<ContainerSelector, 'name' | 'id' | 'image'>,
): (container: AlertContainer) => boolean {
  const matches = compileSelector([selector]);
  const known = new Map<string, boolean>();
  return (container) => {
    const { id, name, image } = container;
    const key = JSON.stringify([id, name, image]);
    const before = known.get(key);
    if (before !== undefined) return before;
    const matched = matches({ ...createContainer(id, 'unknown'), name, image });
    if (known.size >= KNOWN) known.clear();
    known.set(key, matched);
    return matched;
  };
}
