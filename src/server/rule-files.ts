import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { EunomiaError, messageOf } from '../base/errors.js';
import { throwInOrder, type RuleSource } from '../rules/format.js';
import { rulesDirectory } from '../service/rules/files.js';

/** What lies at some paths, each file once, in the order of the paths and then of their names. */
export interface RuleFiles {
  readonly rules: readonly RuleSource[];
  /** Tests beside them. */
  readonly tests: readonly RuleSource[];
}

const MAX_FILES = 1000;
const MAX_FILE_BYTES = 4 << 20;
const MAX_BYTES = 64 << 20;
const OF_RULES = /\.ya?ml$/;
const OF_TESTS = /\.test\.ya?ml$/;

/**
 * Reads rule files: those of a directory (`*.yaml`, `*.yml`, but none whose name begins with a dot, and not those of its directories) or
 * single ones. "builtin" is the directory of those that come with the package. Tests are those of a directory, `NAME.test.yaml` beside
 * `NAME.yaml`, or single ones, which are run on the rules of their directory. Rejects with BAD_RULES, which names all that cannot be read.
 * Never waits, not for a FIFO either.
 */
export async function readRuleFiles(paths: readonly string[]): Promise<RuleFiles> {
  const errors: EunomiaError[] = [];
  const rules = new Map<string, string>();
  const tests = new Map<string, string>();
  const add = (to: Map<string, string>, files: readonly string[]): void => {
    for (const file of files) if (!to.has(resolve(file))) to.set(resolve(file), file);
  };
  for (const named of paths) {
    const path = rulesDirectory(named);
    try {
      const found = await filesAt(path);
      add(rules, found.rules);
      add(tests, found.tests);
    } catch (error) {
      errors.push(error instanceof EunomiaError ? error : bad(path, `cannot be read: ${messageOf(error)}`));
    }
  }
  const left = { bytes: MAX_BYTES };
  const read = async (files: Iterable<string>): Promise<readonly RuleSource[]> => {
    const sources: RuleSource[] = [];
    for (const file of files) {
      try {
        sources.push({ name: file, text: await readRuleFile(file, left) });
      } catch (error) {
        errors.push(error instanceof EunomiaError ? error : bad(file, `cannot be read: ${messageOf(error)}`));
      }
    }
    return sources;
  };
  const files = { rules: await read(rules.values()), tests: await read(tests.values()) };
  throwInOrder(errors);
  return files;
}

/** Names of files. */
interface Found {
  readonly rules: readonly string[];
  readonly tests: readonly string[];
}

async function filesAt(path: string): Promise<Found> {
  const facts = await stat(path);
  if (facts.isDirectory()) {
    const found = await filesIn(path);
    if (found.rules.length === 0) throw bad(path, 'the directory has no rule file: *.yaml or *.yml');
    return found;
  }
  if (OF_TESTS.test(path)) return { rules: (await filesIn(dirname(path))).rules, tests: [path] };
  const beside = await filesIn(dirname(path));
  const stem = path.replace(OF_RULES, '');
  return {
    rules: [path],
    tests: beside.tests.filter((test) => resolve(test).replace(OF_TESTS, '') === resolve(stem)),
  };
}

async function filesIn(directory: string): Promise<Found> {
  const names = (await readdir(directory)).filter((name) => OF_RULES.test(name) && !name.startsWith('.')).sort();
  if (names.length > MAX_FILES)
    throw bad(directory, `the directory has ${names.length} rule files; at most ${MAX_FILES} are read`);
  const files = names.map((name) => join(directory, name));
  return { rules: files.filter((file) => !OF_TESTS.test(file)), tests: files.filter((file) => OF_TESTS.test(file)) };
}

async function readRuleFile(path: string, left: { bytes: number }): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      throw error.code === 'ELOOP' ? bad(path, 'is a symbolic link; give the file itself') : error;
    },
  );
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw bad(path, 'is no regular file');
    if (facts.size > MAX_FILE_BYTES) throw bad(path, `has more than ${MAX_FILE_BYTES >> 20} MiB, which is the most`);
    left.bytes -= facts.size;
    if (left.bytes < 0) throw bad(path, `with it, the files have more than ${MAX_BYTES >> 20} MiB, which is the most`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function bad(path: string, message: string): EunomiaError {
  return new EunomiaError('BAD_RULES', `${path}: ${message}`, { details: { file: path } });
}
