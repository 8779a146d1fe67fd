import { resourceFromAttributes, type Resource } from '@opentelemetry/resources';
import type { Container } from '../../inventory/container.js';
import type { ResourceFacts } from './protocol.js';

/** Containers that are remembered with a resource of their own; they are made anew beyond it. */
const REMEMBERED = 1000;

/**
 * Who something is told of, by OpenTelemetry's semantic conventions: this server, and the container. Processes are no resources here:
 * backends index by resource, and there is no bound to pids.
 */
export class OtlpResources {
  readonly server: Resource;
  readonly #facts: ResourceFacts;
  readonly #byKey = new Map<string, Resource>();

  constructor(facts: ResourceFacts) {
    this.#facts = facts;
    this.server = resourceFromAttributes(facts);
  }

  /** The same object for the same facts: the encoder groups by it. */
  of(container: Partial<Container> | null): Resource {
    if (!container) return this.server;
    const { id = '', name, image, runtime, pod } = container;
    const key = JSON.stringify([id, name, image, runtime, pod?.uid, pod?.name]);
    const known = this.#byKey.get(key);
    if (known) return known;
    if (this.#byKey.size >= REMEMBERED) this.#byKey.clear();
    const { reference, tag } = imageOf(image ?? '');
    const made = resourceFromAttributes({
      ...this.#facts,
      'container.id': id,
      ...(name ? { 'container.name': name } : {}),
      ...(reference ? { 'container.image.name': reference } : {}),
      ...(tag ? { 'container.image.tags': [tag] } : {}),
      ...(runtime ? { 'container.runtime.name': runtime } : {}),
      ...(pod
        ? {
            'k8s.pod.name': pod.name,
            'k8s.namespace.name': pod.namespace,
            ...(pod.uid ? { 'k8s.pod.uid': pod.uid } : {}),
          }
        : {}),
    });
    this.#byKey.set(key, made);
    return made;
  }
}

/** "registry:5000/nginx:1.25@sha256:…" → "registry:5000/nginx", "1.25": a colon before a slash belongs to a port. */
export function imageOf(image: string): { readonly reference: string; readonly tag: string | null } {
  const [plain = ''] = image.split('@');
  const colon = plain.lastIndexOf(':');
  // An image may be known by its digest alone.
  if (colon < 0 || plain.includes('/', colon) || image.startsWith('sha256:'))
    return { reference: image.startsWith('sha256:') ? image : plain, tag: null };
  return { reference: plain.slice(0, colon), tag: plain.slice(colon + 1) };
}
