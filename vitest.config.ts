import { defineConfig } from 'vitest/config';

/** A folder of test/ as a vitest project. Groups run one after the other. */
function project(name: string, groupOrder: number, seconds: number) {
  return {
    // graphql 16 ships twice; vite takes index.mjs, Node (and so each package that a test hands a schema to) index.js.
    resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: seconds * 1000,
      hookTimeout: seconds * 2000,
      sequence: { groupOrder },
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    // Kernel and e2e tests count what the whole machine does: one file at a time. (vitest 3 knows this only for all projects.)
    fileParallelism: false,
    projects: [project('unit', 1, 10), project('api', 2, 20), project('kernel', 3, 60), project('e2e', 4, 120)],
  },
});
