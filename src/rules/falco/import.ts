import { compileRules, type RuleContext } from '../compile.js';
import { guessesOf, writeDocument } from './document.js';
import { readFalcoFiles } from './file.js';
import { Resolver } from './resolve.js';
import { translateRules, type ImportOptions, type RuleOutcome } from './translate.js';

export type { ImportOptions } from './translate.js';

/** What became of one rule. */
export interface ImportedRule {
  /** Its name in Falco's file. */
  readonly rule: string;
  /** Where it is there: "falco_rules.yaml:12". */
  readonly place: string;
  /** Our rules, one for each tracker; empty where there is none. */
  readonly names: readonly string[];
  /** What they do not share with Falco's. */
  readonly notes: readonly string[];
  /** What was left out, with `approximate`. */
  readonly left: readonly string[];
  /** What had to be guessed. */
  readonly guesses: readonly string[];
  /** Why there is none. */
  readonly problems: readonly string[];
}

export interface ImportedRules {
  /** A rule file; it has no rules where none could be translated. */
  readonly text: string;
  readonly rules: readonly ImportedRule[];
  /** What of the files is no rule, macro or list, or cannot be read. */
  readonly problems: readonly string[];
}

/**
 * Translates Falco's rule files, of which later ones change what is in earlier ones. What is returned has been compiled. Throws
 * BAD_USER_INPUT for a text that is no file of rules.
 */
export function importFalco(
  files: readonly { readonly name: string; readonly text: string }[],
  options: ImportOptions,
  context: RuleContext,
): ImportedRules {
  const file = readFalcoFiles(files);
  const outcomes = translateRules(file, context.fields, options);
  const source = files.map(({ name }) => name).join(', ');
  const text = writeDocument(outcomes, new Resolver(file), source);
  compileRules([{ name: 'translation', text }], context);
  return { text, rules: outcomes.map(toldOf), problems: file.problems };
}

function toldOf({ rule, translated, problems }: RuleOutcome): ImportedRule {
  const all = (of: (each: RuleOutcome['translated'][number]) => readonly string[]): readonly string[] => [
    ...new Set(translated.flatMap(of)),
  ];
  return {
    rule: rule.name,
    place: rule.place,
    names: translated.map(({ name }) => name),
    notes: all(({ notes }) => notes),
    left: all(({ left }) => left),
    guesses: translated.length ? guessesOf(rule) : [],
    problems,
  };
}

/** For a person: a line for each rule that was not translated as it is, and the sum. */
export function reportOf({ rules, problems }: ImportedRules): string {
  const translated = rules.filter(({ names }) => names.length);
  const count = translated.reduce((sum, { names }) => sum + names.length, 0);
  return [
    ...problems.map((problem) => `passed over: ${problem}`),
    ...rules.flatMap(({ rule, place, names, left, guesses, problems: why }) => [
      ...(names.length ? [] : [`not translated: ${rule} (${place})`, ...why.map((one) => `    ${one}`)]),
      ...(left.length ? [`approximate: ${rule} (${place})`, ...left.map((one) => `    ${one}`)] : []),
      ...guesses.map((one) => `guessed: ${rule} (${place}): ${one}`),
    ]),
    `${translated.length} of ${rules.length} rules translated${count === translated.length ? '' : `, as ${count} rules`}`,
  ].join('\n');
}
