// src/ → dist/, what runs, in few files: main.js, the entries of worker threads, the trackers, and chunks/ with what several of them
// share, packages included. A server that loads 1,300 modules one by one spends most of its start on finding and reading them
// (docs/decisions/076-bundle.md). The types that an editor needs for plugins come along.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SetupError, cache, filesUnder, hashOf, isDone, isSource, markDone, root, say } from './project.mjs';

/** The program, and what plugins import. */
const entries = ['src/main.ts', 'src/plugin.ts'];
const licences = 'LICENSES/third-party';
/** Left in node_modules: what brings a library or another file that it finds by its own place. */
const external = ['koffi', '@duckdb/node-bindings', '@jitl/quickjs-wasmfile-release-sync', 'quickjs-emscripten-core'];
/**
 * What dockerode and its docker-modem load at once, at three quarters of their cost, and need for one thing each: gRPC to build images with
 * BuildKit, SSH, and certificates (whose package has no licence to ship). They stay in node_modules, and are loaded when they are called.
 */
const ofModem =
  "require('node:module').createRequire(require('node:module').createRequire(require.resolve('dockerode')).resolve('docker-modem'))";
const calledLate = {
  'dockerode/lib/docker.js': { './session': "require('dockerode/lib/session')" },
  'docker-modem/lib/modem.js': { './ssh': `${ofModem}('./ssh')`, 'split-ca': `${ofModem}('split-ca')` },
};
/** GraphiQL for browsers: page.js and page.css. */
const page = 'src/api/http/graphiql-page.mjs';
const types = ['plugin.d.ts', 'generated/plugin-event.d.ts'];
const notices = 'dist/THIRD-PARTY-LICENSES.txt';
/** The contract, parsed: src/api/graphql/contract.ts reads it. */
const contract = 'dist/schema.json';
/** The files of the last build. */
const list = join(cache, 'bundle.json');
/** By repository, or by name: licences of packages whose npm packages hold none. */
const texts = {
  'ardatan/graphql-tools': `${licences}/graphql-tools.txt`,
  'ardatan/whatwg-node': `${licences}/whatwg-node.txt`,
  'client-only': `${licences}/react.txt`,
  'facebook/react': `${licences}/react.txt`,
  'sudodoki/toggle-selection': `${licences}/toggle-selection.txt`,
  'tailwindlabs/headlessui': `${licences}/headlessui.txt`,
  'theKashey/react-remove-scroll-bar': `${licences}/react-remove-scroll-bar.txt`,
};

export async function bundleSource() {
  // Threads start from files of their own, and trackers are looked up in their folder.
  const workers = filesUnder('src', (name) => name === 'worker.ts');
  const trackers = filesUnder('src/trackers', isSource);
  const hash = hashOf([
    ...filesUnder('src', isSource),
    page,
    ...filesUnder(licences),
    'schema.graphql',
    'package-lock.json',
    'scripts/setup/bundle.mjs',
  ]);
  if (
    isDone('bundle', hash, [
      'dist/main.js',
      'dist/chunks',
      'dist/kernel/worker.js',
      contract,
      'dist/graphiql/page.js',
      ...types.map((file) => `dist/${file}`),
    ])
  )
    return;
  say('bundling src/');
  // Only now: it is installed by the step before.
  const { build, stop } = await import('esbuild');
  const out = join(cache, 'bundle');
  rmSync(out, { recursive: true, force: true });
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...entries, ...workers, ...trackers],
    outdir: out,
    outbase: 'src',
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    external,
    plugins: [lateCalls],
    // CommonJS packages ask for Node's own modules.
    banner: {
      js: "import { createRequire as eunomiaRequire } from 'node:module'; const require = eunomiaRequire(import.meta.url);",
    },
    legalComments: 'none', // the texts of the licences are in one file
    metafile: true,
    logLevel: 'silent',
  }).catch((error) => {
    throw new SetupError(`src/ cannot be bundled:\n${error.message}`);
  });
  const browser = await build({
    absWorkingDir: root,
    entryPoints: [
      { in: page, out: 'page' },
      { in: 'graphiql/graphiql.css', out: 'page' },
    ],
    outdir: join(out, 'graphiql'),
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome100', 'firefox100', 'safari15.4'],
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.woff2': 'dataurl', '.ttf': 'dataurl' },
    legalComments: 'none',
    metafile: true,
    logLevel: 'silent',
  }).catch((error) => {
    throw new SetupError(`${page} cannot be bundled:\n${error.message}`);
  });
  await stop(); // else its process stays as long as this one, which may go on as the server
  checkLateImports(metafile.inputs);
  // A server that runs from here imports some chunks late: what it has is removed by the build after the next one.
  const files = filesUnder('.cache/bundle').map((file) => file.replace('.cache/bundle/', 'dist/'));
  const isChunk = (file) => file.startsWith('dist/chunks/');
  for (const file of [...files.filter(isChunk), ...files.filter((one) => !isChunk(one))])
    copy(file.replace('dist/', '.cache/bundle/'), file);
  const written = [...files, ...types.map((file) => `dist/${file}`), notices, contract];
  const kept = new Set([...written, ...filesBefore().filter(isChunk)]);
  for (const file of filesUnder('dist')) if (!file.startsWith('dist/bpf/') && !kept.has(file)) rmSync(join(root, file));
  writeFileSync(list, JSON.stringify(written));
  for (const file of types) copy(`build/${file}`, `dist/${file}`);
  // Compiled by the step before.
  const { parseContract } = await import(join(root, 'build/api/graphql/contract.js'));
  writeFileSync(
    join(root, contract),
    JSON.stringify(parseContract(readFileSync(join(root, 'schema.graphql'), 'utf8'))),
  );
  writeFileSync(join(root, notices), noticesOf(Object.keys({ ...metafile.inputs, ...browser.metafile.inputs })));
  chmodSync(join(root, 'dist/main.js'), 0o755); // it is the program `eunomia`
  markDone('bundle', hash);
}

/** Each module of `calledLate` is a function that loads it. */
const lateCalls = {
  name: 'late-calls',
  setup({ onResolve, onLoad, onEnd }) {
    const met = new Set();
    onResolve({ filter: /^dockerode\/lib\// }, ({ path }) => ({ path, external: true }));
    onResolve({ filter: /^(\.\/|split-ca$)/ }, ({ path, importer }) => {
      const from = Object.keys(calledLate).find((file) => importer.endsWith(`node_modules/${file}`));
      const expression = from && calledLate[from][path];
      if (!expression) return null;
      met.add(from);
      return { path: `${from}:${path}`, namespace: 'late', pluginData: expression };
    });
    onLoad({ filter: /./, namespace: 'late' }, ({ pluginData }) => ({
      contents: `module.exports = (...given) => ${pluginData}(...given);`,
    }));
    onEnd(() => {
      const errors = Object.keys(calledLate)
        .filter((file) => !met.has(file))
        .map((file) => ({ text: `${file} does not load what scripts/setup/bundle.mjs wants to be loaded late` }));
      return { errors };
    });
  },
};

function copy(from, to) {
  mkdirSync(dirname(join(root, to)), { recursive: true });
  copyFileSync(join(root, from), join(root, to));
}

/** In a bundle, `await import('package')` of a CommonJS package has no named exports: a module of ours imports it, and is imported late. */
function checkLateImports(inputs) {
  for (const [file, { imports }] of Object.entries(inputs)) {
    const late = imports.find(
      ({ kind, path, external: left }) => kind === 'dynamic-import' && !left && path.includes('node_modules/'),
    );
    if (file.startsWith('src/') && late)
      throw new SetupError(
        `${file} imports the package ${late.original} late: import it in a module of its own, and that one late.`,
      );
  }
}

/** The licence and notice of each package that is part of the bundle. Throws a SetupError for one that has none. */
function noticesOf(inputs) {
  const folders = new Set(
    inputs.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file) ?? []),
  );
  const parts = [...folders].sort().map((folder) => {
    const { name, version, repository } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const own = readdirSync(join(root, folder)).filter((entry) => /^(licen[cs]e|notice)/i.test(entry));
    const [, of] = /([^/:]+\/[^/]+?)(?:\.git)?$/.exec(repository?.url ?? repository ?? '') ?? [];
    const files = own.length ? own.map((entry) => join(folder, entry)) : [texts[of ?? name]];
    if (!files[0]) throw new SetupError(`${folder} is part of the bundle, and has no licence.`);
    const text = files.map((file) => readFileSync(join(root, file), 'utf8').trim()).join('\n\n');
    return `${name} ${version}\n\n${text}\n`;
  });
  return `${basename(notices)}: the packages that are part of the files in this folder.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

function filesBefore() {
  return existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : [];
}
