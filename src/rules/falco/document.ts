import { Document, Scalar, type YAMLMap, type YAMLSeq } from 'yaml';
import { suggest } from '../../base/errors.js';
import { comparisonsIn, print, type CelTree, type Names } from './expression.js';
import type { FalcoRule } from './file.js';
import type { Resolver } from './resolve.js';
import type { RuleOutcome, TranslatedRule } from './translate.js';

/** Names of lists and macros begin with this, so that those of an imported file are not those of another one. */
const PREFIX = 'falco_';
const SEVERITIES: Readonly<Record<string, string>> = {
  emergency: 'CRITICAL',
  alert: 'CRITICAL',
  critical: 'CRITICAL',
  error: 'HIGH',
  warning: 'MEDIUM',
  notice: 'LOW',
  informational: 'INFO',
  info: 'INFO',
  debug: 'INFO',
};
const TACTICS: Readonly<Record<string, string>> = {
  reconnaissance: 'TA0043',
  resource_development: 'TA0042',
  initial_access: 'TA0001',
  execution: 'TA0002',
  persistence: 'TA0003',
  privilege_escalation: 'TA0004',
  defense_evasion: 'TA0005',
  credential_access: 'TA0006',
  discovery: 'TA0007',
  lateral_movement: 'TA0008',
  collection: 'TA0009',
  exfiltration: 'TA0010',
  command_and_control: 'TA0011',
  impact: 'TA0040',
};
const ATTACK = /^(?:T\d{4}(?:\.\d{3})?|TA\d{4})$/;
const MOST_TAGS = 32;
const WIDTH = 120;
/** Conditions that are longer go on several lines. */
const LINE = 90;

const severityOf = (priority: string): string | undefined => SEVERITIES[priority.trim().toLowerCase()];

/** What had to be guessed of a rule. */
export function guessesOf({ priority }: Pick<FalcoRule, 'priority'>): readonly string[] {
  if (severityOf(priority) !== undefined) return [];
  const near = suggest(priority.trim().toLowerCase(), Object.keys(SEVERITIES));
  const what = priority.trim() === '' ? 'it has no priority' : `"${priority.trim()}" is no priority of Falco${near}`;
  return [`${what}: the severity is MEDIUM`];
}

/** The name of a list or macro in our files. */
export function nameOf(name: string): string {
  return `${PREFIX}${name
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, '_')
    .slice(0, 90)}`;
}

/** The rule file: lists and macros that the rules name, and the rules, each with what it does not share with Falco's. */
export function writeDocument(outcomes: readonly RuleOutcome[], resolver: Resolver, source: string): string {
  const rules = outcomes.flatMap(({ translated }) => translated);
  const conditions = rules.flatMap(({ condition, exceptions }) => [
    condition,
    ...exceptions.map((one) => one.condition),
  ]);
  const macros = macrosOf(conditions);
  const names: Names = { list: nameOf, macro: (name) => (macros.has(name) ? nameOf(name) : null) };
  const lists = [...new Set(conditions.flatMap(comparisonsIn).flatMap(({ lists: own }) => own))];
  const document = new Document({});
  const translated = outcomes.filter((outcome) => outcome.translated.length).length;
  document.commentBefore = [
    ` Translated from ${source} by \`eunomia rules import falco\`: ${translated} of ${outcomes.length} rules.`,
    ' Names, descriptions, messages and lists are that file’s; its licence applies to them.',
  ].join('\n');
  if (lists.length)
    document.set(
      'lists',
      document.createNode(Object.fromEntries(lists.map((list) => [nameOf(list), resolver.list(list)]))),
    );
  if (macros.size) {
    const written = document.createNode({}) as YAMLMap;
    for (const [name, of] of macros) written.set(nameOf(name), block(lines(of, names)));
    document.set('macros', written);
  }
  const nodes = document.createNode([]) as YAMLSeq;
  rules.forEach((rule, i) => {
    const node = ruleNode(document, rule, names);
    node.spaceBefore = i > 0;
    nodes.add(node);
  });
  document.set('rules', nodes);
  return document.toString({ lineWidth: WIDTH, flowCollectionPadding: false });
}

function ruleNode(
  document: Document,
  { rule, name, tracker, condition, exceptions, message, notes, left }: TranslatedRule,
  names: Names,
): YAMLMap {
  const tags = rule.tags.filter((tag) => !ATTACK.test(tag) && tacticOf(tag) === undefined);
  const attack = [...new Set(rule.tags.flatMap((tag) => (ATTACK.test(tag) ? [tag] : (tacticOf(tag) ?? []))))];
  const node = document.createNode({
    name,
    description: rule.description.replace(/\s+/g, ' ').trim() || rule.name,
    severity: severityOf(rule.priority) ?? 'MEDIUM',
    ...(tags.length ? { tags: tags.slice(0, MOST_TAGS) } : {}),
    ...(attack.length ? { attack: attack.slice(0, MOST_TAGS) } : {}),
    ...(rule.enabled ? {} : { enabled: false }),
    trackers: tracker,
    condition: block(lines(condition, names)),
    ...(exceptions.length
      ? { exceptions: exceptions.map((one) => ({ name: one.name, condition: block(lines(one.condition, names)) })) }
      : {}),
    message,
  }) as YAMLMap;
  for (const key of ['tags', 'attack']) {
    const list = node.get(key, true) as YAMLSeq | undefined;
    if (list) list.flow = true;
  }
  node.commentBefore = [
    ` ${rule.name} (${rule.place})`,
    ...left.map((one) => ` FIRES MORE OFTEN: ${one}`),
    ...[...guessesOf(rule), ...notes].map((note) => ` - ${note}`),
  ]
    .map((line) => line.replace(/\s+/g, ' ').replace(/^(?! )/, ' '))
    .join('\n');
  return node;
}

function tacticOf(tag: string): string | undefined {
  return tag.startsWith('mitre_') ? TACTICS[tag.slice('mitre_'.length)] : undefined;
}

/** A condition on as many lines as it needs to be read. */
function lines(expression: CelTree, names: Names, indent = ''): string {
  const whole = print(expression, names);
  if (indent.length + whole.length <= LINE) return whole;
  if (expression.kind === 'not') return `!(${inside(expression.of, names, indent)})`;
  if (expression.kind !== 'and' && expression.kind !== 'or') return whole;
  const joint = expression.kind === 'and' ? '&&' : '||';
  return expression.of
    .map((part) => {
      const grouped = part.kind === 'and' || part.kind === 'or';
      return grouped ? `(${inside(part, names, indent)})` : lines(part, names, indent);
    })
    .join(` ${joint}\n${indent}`);
}

/** What is in parentheses: on the same line, or on lines of its own. */
function inside(expression: CelTree, names: Names, indent: string): string {
  const text = lines(expression, names, `${indent}  `);
  return text.includes('\n') || indent.length + text.length > LINE ? `\n${indent}  ${text}\n${indent}` : text;
}

function block(text: string): Scalar {
  const scalar = new Scalar(text);
  if (text.includes('\n')) scalar.type = 'BLOCK_LITERAL';
  return scalar;
}

/**
 * The macros that stay macros: those that mean the same in all rules that name them. One whose meaning depends on the event, or that is a
 * single comparison, is written out.
 */
function macrosOf(conditions: readonly CelTree[]): ReadonlyMap<string, CelTree> {
  const meanings = new Map<string, { readonly texts: Set<string>; readonly of: CelTree }>();
  const inline: Names = { list: nameOf, macro: () => null };
  const walk = (expression: CelTree): void => {
    switch (expression.kind) {
      case 'and':
      case 'or':
        return expression.of.forEach(walk);
      case 'not':
        return walk(expression.of);
      case 'macro': {
        walk(expression.of);
        const known = meanings.get(expression.name) ?? { texts: new Set(), of: expression.of };
        known.texts.add(print(expression.of, inline));
        meanings.set(expression.name, known);
        return;
      }
      default:
    }
  };
  conditions.forEach(walk);
  // Names that are the same once they are written as ours.
  const taken = new Set<string>();
  return new Map(
    [...meanings].flatMap(([name, { texts, of }]): [string, CelTree][] => {
      if (texts.size !== 1 || !isJunction(of) || taken.has(nameOf(name))) return [];
      taken.add(nameOf(name));
      return [[name, of]];
    }),
  );
}

function isJunction({ kind }: CelTree): boolean {
  return kind === 'and' || kind === 'or';
}
