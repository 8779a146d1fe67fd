import { configDefaults, defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** A vitest project. Groups run one after the other. The limit only ends a test that hangs: no test is to depend on a machine's speed. */
function project(
  name: string,
  groupOrder: number,
  seconds: number,
  include = [`test/${name}/**/*.test.ts`],
  exclude: readonly string[] = [],
) {
  return {
    // graphql 16 ships twice; vite takes index.mjs, Node (and so each package that a test hands a schema to) index.js.
    resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
    test: {
      name,
      include,
      exclude: [...configDefaults.exclude, ...exclude],
      testTimeout: seconds * 1000,
      hookTimeout: seconds * 2000,
      sequence: { groupOrder },
      // Fresh modules and mocks for each file, also in a process that is kept for the next file (scripts/test.mjs).
      poolOptions: { forks: { isolate: true } },
    },
  };
}

/**
 * End-to-end tests that neither count what the whole machine does nor mind that it is busy: they build, install, ask a
 * database, or ask a server for few events.
 */
const beside = [
  'access',
  'cli',
  'configuration',
  'engine-hostile',
  'image',
  'influx',
  'influx-injection',
  'influx-outage',
  'influx-rollup',
  'new-tracker',
  'plugin-cli',
  'replay',
  'setup',
  'terminal',
  'token-file',
].map((name) => `test/e2e/${name}.test.ts`);

/**
 * Tests that a neighbour would disturb: they count all containers or disks of the machine, or watch it without a target and may lose
 * nothing. The other kernel and end-to-end tests have a target, a disk, a port, an engine or a name of their own.
 */
const alone = [
  'e2e/container-identity',
  'e2e/container-namespaces',
  'e2e/containers',
  'e2e/engine-silence',
  'e2e/history',
  'e2e/influx-server',
  'e2e/report',
  'e2e/short-containers',
  'e2e/storage-io',
  'e2e/stored',
  'e2e/witness',
  'kernel/pool',
].map((name) => `test/${name}.test.ts`);
const aloneIn = (folder: string): string[] => alone.filter((file) => file.includes(`/${folder}/`));

/** Those first: they take long, and others fill the time that they wait. */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => beside.some((file) => moduleId.endsWith(file));
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    pool: 'forks',
    // scripts/test.mjs runs `kernel` and `e2e` beside the first three; vitest 3 knows this only for all projects of a run.
    fileParallelism: false,
    sequence: { sequencer: LongFirst },
    projects: [
      project('unit', 1, 120, ['src/**/*.test.ts', 'scripts/**/*.test.ts', 'test/unit/**/*.test.ts']),
      project('api', 1, 120),
      project('e2e-beside', 1, 300, beside),
      project('kernel', 2, 180, undefined, alone),
      project('e2e', 3, 300, undefined, [...beside, ...alone]),
      project('kernel-alone', 4, 180, aloneIn('kernel')),
      project('e2e-alone', 5, 300, aloneIn('e2e')),
    ],
  },
});
