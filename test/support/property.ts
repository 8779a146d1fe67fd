import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';

/**
 * `fc.assert` for a property that takes no promise, with turns of the event loop in between: vitest gives up a worker that did not
 * speak to it for a minute ("Timeout calling onTaskUpdate"), though no test failed.
 */
export async function holdsFor<Ts>(
  property: fc.IRawProperty<Ts, boolean>,
  parameters?: fc.Parameters<Ts>,
): Promise<void> {
  let last = performance.now();
  const breathing: fc.IRawProperty<Ts, true> = {
    isAsync: () => true,
    generate: (random, run) => property.generate(random, run),
    shrink: (value) => property.shrink(value),
    runBeforeEach: async () => property.runBeforeEach(),
    runAfterEach: async () => property.runAfterEach(),
    run: async (value) => {
      if (performance.now() - last > 100) {
        await turn();
        last = performance.now();
      }
      return property.run(value);
    },
  };
  await fc.assert(breathing, parameters);
}
