// schema.graphql → src/generated/, src/ → dist/, bench/ → dist/bench/.
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError, filesUnder, hashOf, isDone, markDone, root, runTool, say } from './project.mjs';

const generated = 'src/generated/schema.ts';

export async function generateTypes() {
  const hash = hashOf(['schema.graphql', 'codegen.yml'], packageVersion('@graphql-codegen/typescript-resolvers'));
  if (isDone('codegen', hash, [generated])) return;
  say('generating types from schema.graphql');
  const { ok, how, output } = await runTool('graphql-codegen', ['--config', 'codegen.yml', '--silent']);
  if (!ok) throw new SetupError(`schema.graphql gives no types (${how}):\n${output.trim()}`);
  markDone('codegen', hash);
}

export async function compileSource() {
  removeStale();
  const configs = ['tsconfig.json', 'tsconfig.build.json', 'package.json'];
  const hash = hashOf([...filesUnder('src', isTypeScript), ...configs], packageVersion('typescript'));
  if (isDone('typescript', hash, ['dist/main.js'])) return;
  say('compiling src/');
  // Without its outputs, the compiler's memory of them would let it write none.
  if (!existsSync(join(root, 'dist/main.js'))) rmSync(join(root, '.cache/src.tsbuildinfo'), { force: true });
  await compile('tsconfig.build.json', 'src/');
  chmodSync(join(root, 'dist/main.js'), 0o755); // it is the program `eunomia`
  markDone('typescript', hash);
}

/** Benchmarks are a program of their own, so that neither `npm start` nor a server carries them. */
export async function compileBench() {
  if (!existsSync(join(root, 'bench/tsconfig.json'))) throw new SetupError('there is no bench/ in this checkout.');
  const hash = hashOf([...filesUnder('bench'), ...filesUnder('src', isTypeScript), 'tsconfig.json']);
  if (isDone('bench', hash, ['dist/bench/main.js'])) return;
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
  const ours = filesUnder('dist', (name) => /\.(js|js\.map|d\.ts)$/.test(name)).filter(
    (file) => !file.startsWith('dist/bench/'),
  );
  for (const file of ours) {
    const source = file.replace(/^dist\//, 'src/').replace(/\.(js|js\.map|d\.ts)$/, '.ts');
    if (!existsSync(join(root, source))) rmSync(join(root, file));
  }
}

function isTypeScript(name) {
  return name.endsWith('.ts');
}

function packageVersion(name) {
  return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
}
