import { readdir, stat } from 'node:fs/promises';
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
    throw new EunomiaError('BAD_RULES', `--rules ${directory}: cannot be read: ${messageOf(error)}`, { cause: error });
  });
  return names
    .filter(isRuleFile)
    .sort()
    .map((name) => ruleFile(join(directory, name)));
}

/** Differs when a rule file of the folder is another one, also behind links: a folder may be one, and lead elsewhere from now on. */
export async function signatureOf(directory: string): Promise<string> {
  const names = (await readdir(directory).catch(() => [])).filter(isRuleFile).sort();
  const facts = names.map(async (name) => {
    const found = await stat(join(directory, name)).catch(() => null);
    return [name, found?.dev, found?.ino, found?.size, found?.mtimeMs, found?.ctimeMs];
  });
  return JSON.stringify(await Promise.all(facts));
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
