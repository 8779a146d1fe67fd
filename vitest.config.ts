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
      // Of a bash that is nobody's child and whose standard input is a socket, as Node's pipes are, bash thinks that a remote shell started
      // it, and runs ~/.bashrc first: what that does would be in the sessions that watch it.
      env: { SHLVL: '2' },
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
  'alerts-cli',
  'cli',
  'clients',
  'configuration',
  'data-directory',
  'engine-hostile',
  'graphiql',
  'image',
  'influx',
  'influx-injection',
  'influx-outage',
  'influx-rollup',
  'influx3-client',
  'mcp',
  'new-tracker',
  'operate',
  'other-origin',
  'package',
  'pages',
  'plugin-cli',
  'replay',
  'rules-benign',
  'rules-lasting',
  'sessions-cli',
  'setup',
  'terminal',
  'tmux',
  'token-file',
].map((name) => `test/e2e/${name}.test.ts`);

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
    // Kernel and most e2e tests count what the whole machine does: one file at a time. vitest 3 knows this only for all
    // projects: scripts/test.mjs runs the first three side by side.
    fileParallelism: false,
    sequence: { sequencer: LongFirst },
    projects: [
      project('unit', 1, 300, ['{src,scripts,docker}/**/*.test.ts', 'test/{unit,support}/**/*.test.ts']),
      project('api', 1, 300),
      project('e2e-beside', 1, 600, beside),
      project('kernel', 2, 300),
      project('e2e', 3, 600, undefined, beside),
    ],
  },
});
