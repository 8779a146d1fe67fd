// schema/ and src/trackers/*.graphql → schema.graphql → src/generated/; src/ → build/, checked, module by module, for benchmarks and
// scripts; bench/ → build/bench/. What runs is bundled into dist/ (bundle.mjs).
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError, filesUnder, hashOf, isDone, isSource, markDone, root, runTool, say } from './project.mjs';

const contract = 'schema.graphql';
const released = 'scripts/contract/released.graphql';
const generated = 'src/generated/schema.ts';
const pluginEvents = 'src/generated/plugin-event.ts';

/** Assembles schema.graphql where its parts changed. What somebody wrote into it is never overwritten: throws a SetupError then. */
export async function assembleContract() {
  const parts = ['schema', 'src/trackers'].flatMap((folder) => filesUnder(folder, (name) => name.endsWith('.graphql')));
  const inputs = () => hashOf([...parts, contract, 'scripts/setup/schema.mjs']);
  if (isDone('schema', inputs(), [contract])) return;
  // Only now: `graphql` is installed by the step before.
  const { assembleSchema, readParts } = await import('./schema.mjs');
  const text = assembleSchema(readParts());
  const path = join(root, contract);
  const before = existsSync(path) ? readFileSync(path, 'utf8') : null;
  if (before !== text) {
    if (before !== null && !isDone('assembled', hashOf([contract]), [])) {
      throw new SetupError(
        `${contract} is not what its parts give. It is assembled from schema/*.graphql and ` +
          'src/trackers/*.graphql: edit these, remove it, and build again.',
      );
    }
    say(`assembling ${contract}`);
    writeFileSync(path, text);
  }
  markDone('assembled', hashOf([contract]));
  markDone('schema', inputs());
}

/**
 * Raises the version of the schema where a release has less: who adds a tracker need not think of it. Not in CI, where a commit that lacks
 * it is to fail (scripts/contract.test.ts).
 */
export async function raiseApiVersion() {
  if (process.env.CI === 'true') return;
  const inputs = () => hashOf([contract, released, 'src/base/api-version.ts', 'scripts/contract.mjs']);
  if (!existsSync(join(root, released)) || isDone('api-version', inputs(), [])) return;
  // Only now: `graphql` is installed by the step before.
  const { raiseVersionOfSource } = await import('../contract.mjs');
  const raised = raiseVersionOfSource();
  if (raised !== null) say(`raising the version of the schema to ${raised}`);
  markDone('api-version', inputs());
}

export async function generateTypes() {
  const hash = hashOf(
    [contract, 'codegen.yml', 'scripts/setup/plugin-types.mjs'],
    packageVersion('@graphql-codegen/typescript-resolvers'),
  );
  if (isDone('codegen', hash, [generated, pluginEvents])) return;
  say('generating types from schema.graphql');
  const { ok, how, output } = await runTool('graphql-codegen', ['--config', 'codegen.yml', '--silent']);
  if (!ok) throw new SetupError(`schema.graphql gives no types (${how}):\n${output.trim()}`);
  // Only now: `graphql` is installed by the step before.
  const { pluginTypes } = await import('./plugin-types.mjs');
  writeFileSync(join(root, pluginEvents), pluginTypes(readFileSync(join(root, contract), 'utf8')));
  markDone('codegen', hash);
}

export async function compileSource() {
  removeStale();
  const configs = ['tsconfig.json', 'tsconfig.build.json', 'package.json'];
  const hash = hashOf([...filesUnder('src', isSource), ...configs], packageVersion('typescript'));
  if (isDone('typescript', hash, ['build/main.js'])) return;
  say('compiling src/');
  // Without its outputs, the compiler's memory of them would let it write none.
  if (!existsSync(join(root, 'build/main.js'))) rmSync(join(root, '.cache/src.tsbuildinfo'), { force: true });
  await compile('tsconfig.build.json', 'src/');
  markDone('typescript', hash);
}

/** Benchmarks are a program of their own, so that neither `npm start` nor a server carries them. */
export async function compileBench() {
  if (!existsSync(join(root, 'bench/tsconfig.json'))) throw new SetupError('there is no bench/ in this checkout.');
  const hash = hashOf([...filesUnder('bench'), ...filesUnder('src', isSource), 'tsconfig.json']);
  if (isDone('bench', hash, ['build/bench/main.js'])) return;
  say('compiling bench/');
  await compile('bench/tsconfig.json', 'bench/');
  markDone('bench', hash);
}

async function compile(config, what) {
  const { ok, how, output } = await runTool('tsc', ['-p', config]);
  if (!ok) throw new SetupError(`${what} does not compile (${how}):\n${output.trim()}`);
}

/** What was compiled from a source that is gone must not be importable any more. */
function removeStale() {
  const ours = filesUnder('build', (name) => /\.(js|js\.map|d\.ts)$/.test(name)).filter(
    (file) => !file.startsWith('build/bench/'),
  );
  for (const file of ours) {
    const source = file.replace(/^build\//, 'src/').replace(/\.(js|js\.map|d\.ts)$/, '.ts');
    if (!existsSync(join(root, source))) rmSync(join(root, file));
  }
}

/** Tests stand beside their source and are not compiled: a changed one leaves build/ as it is. */
function packageVersion(name) {
  return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
}
