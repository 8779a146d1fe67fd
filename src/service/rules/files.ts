import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { readTrusted } from '../../base/file.js';
import { packageFile } from '../../base/paths.js';
import type { RuleSource } from '../../rules/format.js';

/** The word for the rules that come with the package. */
export const BUILTIN = 'builtin';

/** Where the rules of a name or a path are. */
export function rulesDirectory(named: string): string {
  return named === BUILTIN ? packageFile('rules') : named;
}

/**
 * Reads the rule files of a folder, in the order of their names: *.yaml and *.yml, but no tests. Rejects with BAD_RULES for a folder or a
 * file that cannot be read, or that others could have written.
 */
export async function readRuleFolder(directory: string): Promise<readonly RuleSource[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw new EunomiaError('BAD_RULES', `${directory}: cannot be read: ${messageOf(error)}`, { cause: error });
  });
  return names
    .filter(isRuleFile)
    .sort()
    .map((name) => ruleFile(join(directory, name)));
}

export function isRuleFile(name: string): boolean {
  return ['.yaml', '.yml'].includes(extname(name)) && !name.startsWith('.') && !/\.test\.ya?ml$/.test(name);
}

/** Reads one rule file. Throws BAD_RULES as `readRuleFolder` does. */
export function ruleFile(path: string): RuleSource {
  try {
    return { name: path, text: readTrusted(path, 'CONFIG').toString() };
  } catch (error) {
    const message = messageOf(error);
    throw new EunomiaError(
      'BAD_RULES',
      error instanceof EunomiaError ? message : `${path}: cannot be read: ${message}`,
      { cause: error },
    );
  }
}
