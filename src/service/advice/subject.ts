import { EunomiaError, invalid } from '../../base/errors.js';
import type { AdviseInput } from '../../generated/schema.js';
import type { ContainerRegistry } from '../../inventory/registry.js';
import type { StoredContainer } from '../../storage/store.js';
import { pick } from '../report.js';

type Choice = Pick<AdviseInput, 'container' | 'image' | 'composeService'>;

/** Which argument names the containers, and what it says. Throws BAD_USER_INPUT unless it is exactly one. */
export function checkChoice({ container, image, composeService }: Choice): {
  readonly argument: string;
  readonly value: string;
} {
  const given = Object.entries({ container, image, composeService }).filter(([, value]) => value != null);
  const [[argument, value] = ['container', null], another] = given;
  if (another || value == null)
    throw invalid('container', 'give exactly one of `container`, `image` and `composeService`');
  if (value === '') throw invalid(argument, 'is empty; give a name');
  return { argument, value };
}

/**
 * The containers that advice is about: one, or all of an image or of a service. Throws BAD_USER_INPUT, UNKNOWN_CONTAINER or
 * AMBIGUOUS_CONTAINER.
 */
export function chosenContainers(
  all: readonly StoredContainer[],
  choice: Choice,
  registry: Pick<ContainerRegistry, 'list'>,
): readonly StoredContainer[] {
  const { argument, value } = checkChoice(choice);
  const { container, image } = choice;
  const distinct = [...new Map(all.map((one) => [one.id, one])).values()];
  if (container != null) return [pick(distinct, container)];
  const services = new Map(
    registry
      .list()
      .map(({ id, composeProject, composeService: service }) => [id, [service, `${composeProject}/${service}`]]),
  );
  const found = distinct.filter((one) => (image != null ? one.image === image : services.get(one.id)?.includes(value)));
  if (found.length) return found;
  const there = [
    ...new Set(
      image != null
        ? distinct.flatMap((one) => one.image ?? [])
        : distinct.flatMap((one) => services.get(one.id)?.[0] ?? []),
    ),
  ];
  throw new EunomiaError(
    'UNKNOWN_CONTAINER',
    `${argument}: no container of "${value.slice(0, 100)}" was seen; there are ${there.slice(0, 10).join(', ') || 'none'}`,
    { details: { argument } },
  );
}
