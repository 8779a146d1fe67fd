import type { ASTNode } from '@marcbachmann/cel-js';
import { suggest } from '../base/errors.js';
import { ALWAYS, and, NEVER, or, START, type Comparison, type Filter, type Operator, type Scalar } from './ast.js';
import { FilterBudget } from './budget.js';
import { findField, namesOf, qualified, type Reference } from './cel-field.js';
import { pairOf } from './cel-pair.js';
import { parseSyntax } from './cel-syntax.js';
import { ageOf, element, joinedOf, lengthOf, type FilterField, type FilterFields } from './field.js';
import { comparison, emptyRange, show } from './literal.js';
import { syntaxOf, type Definitions } from './definitions.js';
import type { Fail } from './pattern.js';
import { errorAt } from './position.js';

type Symbol = '==' | '!=' | '<' | '<=' | '>' | '>=';

const OPERATORS: Readonly<Record<Symbol, Operator>> = {
  '==': 'eq',
  '!=': 'ne',
  '<': 'lt',
  '<=': 'lte',
  '>': 'gt',
  '>=': 'gte',
};
const FLIPPED: Readonly<Record<Symbol, Symbol>> = {
  '==': '==',
  '!=': '!=',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};
const METHODS: Readonly<Record<string, Operator>> = {
  startsWith: 'prefix',
  endsWith: 'suffix',
  contains: 'contains',
  matches: 'regex',
  glob: 'glob',
};
/** The CEL notation of the operators in the schema's filter types. */
const WRITTEN: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.entries(OPERATORS).map(([symbol, op]) => [op, symbol])),
  ...Object.fromEntries(Object.entries(METHODS).map(([method, op]) => [op, `.${method}()`])),
  cidr: 'cidr().containsIP()',
  isNull: '== null',
  has: '"…" in',
  any: '.exists()',
  length: 'size()',
  joined: '.join(" ")',
};

const OF_PROCESSES =
  'is a list of processes; write process.ancestors.exists(p, p.comm == "sshd"), or compare it with null';

/** A constant. `time` is true if it was written as timestamp("…"), `duration` as duration("…"). */
interface Constant {
  readonly value: unknown;
  readonly time: boolean;
  readonly duration?: boolean;
}

/**
 * Converts a CEL expression into a filter for events of these trackers. Unlike in other uses of CEL, `errno != "EPERM"`
 * is false for null, as everywhere in a filter. Throws BAD_USER_INPUT with the position of the error, also for valid
 * CEL that a filter does not support. `definitions`: what it may name besides fields; a field or a tracker of the name comes first.
 */
export function parseCel(
  text: string,
  fields: FilterFields,
  trackers: readonly string[],
  path = 'expr',
  budget = new FilterBudget(),
  definitions: Definitions | null = null,
): Filter {
  return new Converter({ text, fields, trackers, path, budget, definitions }).filter(parseSyntax(text, path));
}

interface Context {
  readonly text: string;
  readonly fields: FilterFields;
  readonly trackers: readonly string[];
  readonly path: string;
  readonly budget: FilterBudget;
  readonly definitions: Definitions | null;
}

class Converter {
  readonly #context: Context;
  /** What the variables of enclosing `exists` over lists of constants are. */
  readonly #bound: ReadonlyMap<string, Scalar>;
  /** The variable of the enclosing `exists`; null outside of one. */
  readonly #variable: string | null;
  /** The list whose elements the variable stands for. */
  readonly #list: FilterField | null;

  constructor(
    context: Context,
    variable: string | null = null,
    list: FilterField | null = null,
    bound: ReadonlyMap<string, Scalar> = new Map(),
  ) {
    this.#context = context;
    this.#bound = bound;
    this.#variable = variable;
    this.#list = list;
  }

  filter(node: ASTNode, depth = 0): Filter {
    this.#context.budget.condition(depth, this.#failAt(node));
    switch (node.op) {
      case '&&':
      case '||':
        return this.#junction(node, node.op, depth);
      case '!_':
        return { kind: 'not', filter: this.filter(node.args, depth + 1) };
      case '==':
      case '!=':
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.#relation(node, node.op, node.args);
      case 'in':
        return this.#membership(node, node.args);
      case 'rcall':
        return this.#method(node, node.args, depth);
      case 'call':
        return this.#call(node, node.args);
      case 'value':
        if (typeof node.args === 'boolean') return node.args ? ALWAYS : NEVER;
        return this.#fail(node, `${show(node.args)} is no condition; compare it with a field`);
      case 'id':
      case '.':
      case '[]': {
        const macro = node.op === 'id' && this.#variable === null && this.#context.definitions?.macros.get(node.args);
        if (macro) return new Converter({ ...this.#context, ...macro }).filter(syntaxOf(macro), depth + 1);
        const reference = this.#reference(node);
        if (reference.field.type === 'boolean')
          return qualified(reference, this.#compare(reference.field, 'eq', true, node));
        return this.#fail(
          node,
          `"${reference.field.path || this.#variable}" is no condition; compare it, for example with == or with != null`,
        );
      }
      default:
        return this.#fail(node, beyond(node));
    }
  }

  /** Flattens a chain of operators in a loop, because the tree of a chain is as deep as the chain is long. */
  #junction(node: ASTNode, op: '&&' | '||', depth: number): Filter {
    const operands: ASTNode[] = [];
    let left = node;
    while (left.op === op) {
      operands.push(left.args[1]);
      left = left.args[0];
    }
    operands.push(left);
    operands.reverse();
    const filters = operands.map((operand) => this.filter(operand, depth + 1));
    const joined = op === '&&' ? and(filters) : or(filters);
    const empty = emptyRange(joined);
    return empty ? this.#fail(node, empty) : joined;
  }

  #relation(node: ASTNode, symbol: Symbol, [left, right]: readonly [ASTNode, ASTNode]): Filter {
    const constants = [this.#constant(left), this.#constant(right)] as const;
    if (constants[0] && constants[1]) return this.#fail(node, 'compares two constants; one side must be a field');
    if (!constants[0] && !constants[1]) {
      const names = [left, right].every((side) => namesOf(side));
      const defined = [right, left].find((side) => this.#isDefined(side));
      if (defined) return this.#fail(defined, this.#misused(defined));
      const word = names && [right, left].find((side) => this.#isWord(side));
      if (word) {
        const text = JSON.stringify(word.args);
        return this.#fail(word, `${text} is no field; a text is written in quotes: ${text}`);
      }
      if (names) return this.#pair(node, symbol, [left, right]);
      return this.#fail(
        node,
        `one side must be a field, the other a constant or a field; ${beyond(namesOf(left) ? right : left)}`,
      );
    }
    const [subject, constant, op] = constants[1]
      ? [left, constants[1], symbol]
      : [right, constants[0], FLIPPED[symbol]];
    if (!constant) return this.#fail(node, 'one side must be a constant');
    const reference = this.#subject(subject);
    const { field } = reference;
    if (constant.value === null) {
      if (op !== '==' && op !== '!=')
        return this.#fail(node, `nothing is ordered before or after null; ask with == null or != null`);
      return qualified(reference, this.#compare(field, 'isNull', op === '==', node));
    }
    if (constant.time && field.type !== 'time')
      return this.#fail(constants[1] ? right : left, `"${field.path}" is no time`);
    if (constant.duration && field.type !== 'age')
      return this.#fail(
        constants[1] ? right : left,
        `"${field.path}" is compared with no duration; write time - ${START} < duration("5s")`,
      );
    // A boolean has no `ne`: there is only one other value.
    if (field.type === 'boolean' && op === '!=' && typeof constant.value === 'boolean')
      return qualified(reference, this.#compare(field, 'eq', !constant.value, node));
    return qualified(reference, this.#compare(field, OPERATORS[op], constant.value, node, constants[1] ? right : left));
  }

  /** Two fields of one event. */
  #pair(node: ASTNode, symbol: Symbol, [left, right]: readonly [ASTNode, ASTNode]): Filter {
    const made = pairOf(this.#reference(left), this.#reference(right), symbol, this.#variable ?? '');
    return typeof made === 'string' ? this.#fail(node, made) : made;
  }

  #membership(node: ASTNode, [left, right]: readonly [ASTNode, ASTNode]): Filter {
    const listed = this.#listOf(right);
    if (listed) {
      const reference = this.#subject(left);
      const values = listed.map((value) => (typeof value === 'number' ? BigInt(value) : value));
      return qualified(reference, this.#compare(reference.field, 'in', values, node, right));
    }
    if (right.op === 'list') {
      const reference = this.#subject(left);
      const values = right.args.map((item) => {
        const constant = this.#constant(item) ?? this.#fail(item, 'is no constant; a list holds constants only');
        if (constant.value === null) return this.#fail(item, 'null cannot be in the list; write … || x == null');
        if (constant.time && reference.field.type !== 'time')
          return this.#fail(item, `"${reference.field.path}" is no time`);
        return constant.value;
      });
      return qualified(reference, this.#compare(reference.field, 'in', values, node, right, right.args));
    }
    const constant = this.#constant(left);
    const names = namesOf(right);
    if (!constant && right.op === 'id' && this.#context.definitions)
      return this.#fail(
        right,
        `there is no list "${right.args}"${suggest(right.args, this.#context.definitions.lists.keys())}`,
      );
    if (!constant || !names)
      return this.#fail(node, '"in" needs a field and a list of constants, or a text and a field that is a list');
    if (this.#variable === null && names.join('.') === 'container.labels') {
      const label = typeof constant.value === 'string' ? this.#context.fields.label(constant.value) : undefined;
      return label
        ? this.#compare(label, 'isNull', false, node)
        : this.#fail(left, 'needs the name of a label as a text');
    }
    const reference = this.#reference(right);
    const { field } = reference;
    if (field.type === 'processes') return this.#fail(right, OF_PROCESSES);
    if (field.type !== 'strings')
      return this.#fail(
        right,
        `"${field.path}" is not a list; write ${field.path || this.#variable} in [${show(constant.value)}]`,
      );
    return qualified(reference, this.#any(field, this.#compare(element(field), 'eq', constant.value, left)));
  }

  #method(
    node: ASTNode,
    [name, receiver, args]: readonly [string, ASTNode, readonly ASTNode[]],
    depth: number,
  ): Filter {
    const [argument] = args;
    const op = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    if (op) {
      if (!argument || args.length !== 1) return this.#fail(node, `${name}() takes one text`);
      const reference = this.#subject(receiver);
      const constant = this.#constant(argument) ?? this.#fail(argument, `${name}() takes a constant text`);
      if (reference.field.type === 'strings')
        return this.#fail(
          node,
          `"${reference.field.path}" is a list; write "…" in ${reference.field.path}, or ${reference.field.path}.exists(x, x.${name}("…"))`,
        );
      return qualified(reference, this.#compare(reference.field, op, constant.value, node, argument));
    }
    if (name === 'exists') return this.#exists(node, receiver, args, depth);
    if (name === 'containsIP') return this.#containsIP(node, receiver, args);
    if (name === 'all') return this.#fail(node, 'all() is beyond a filter; write !list.exists(x, !(…))');
    if (name === 'size') return this.#fail(node, 'is no condition; compare it with a number');
    if (name === 'join') return this.#fail(node, 'is no condition; compare it with a text');
    return this.#fail(
      node,
      `there is no method ${name}() in a filter; there are ${Object.keys(METHODS).join(', ')}, exists, size, join and cidr("…").containsIP`,
    );
  }

  #exists(node: ASTNode, receiver: ASTNode, [variable, predicate, more]: readonly ASTNode[], depth: number): Filter {
    const listed = this.#listOf(receiver);
    if (listed) return this.#existsIn(node, listed, [variable, predicate, more], depth);
    const reference = this.#reference(receiver);
    if (reference.field.type !== 'strings' && reference.field.type !== 'processes')
      return this.#fail(receiver, `"${reference.field.path || this.#variable}" is not a list; exists() is for lists`);
    if (!predicate || more || variable?.op !== 'id')
      return this.#fail(node, 'exists() takes a name and a condition: args.exists(a, a.startsWith("-"))');
    return qualified(
      reference,
      this.#any(
        reference.field,
        new Converter(this.#context, variable.args, reference.field, this.#bound).filter(predicate, depth + 1),
      ),
    );
  }

  /** Of a list of constants: the condition with each of them in it. */
  #existsIn(
    node: ASTNode,
    listed: readonly Scalar[],
    [variable, predicate, more]: readonly (ASTNode | undefined)[],
    depth: number,
  ): Filter {
    if (!predicate || more || variable?.op !== 'id')
      return this.#fail(node, 'exists() takes a name and a condition: dirs.exists(d, path.startsWith(d))');
    return or(
      listed.map((value) =>
        new Converter(
          this.#context,
          this.#variable,
          this.#list,
          new Map([...this.#bound, [variable.args, value]]),
        ).filter(predicate, depth + 1),
      ),
    );
  }

  /** The constants of a list that is named; null where the node is no such name. */
  #listOf(node: ASTNode): readonly Scalar[] | null {
    return (node.op === 'id' && this.#context.definitions?.lists.get(node.args)) || null;
  }

  #containsIP(node: ASTNode, receiver: ASTNode, [argument, more]: readonly ASTNode[]): Filter {
    const networks = receiver.op === 'call' && receiver.args[0] === 'cidr' ? receiver.args[1] : [];
    const network = networks.length === 1 ? networks[0] : undefined;
    const constant = network && this.#constant(network);
    if (!argument || more || !network || !constant)
      return this.#fail(node, 'write cidr("10.0.0.0/8").containsIP(ADDRESS)');
    const reference = this.#subject(argument);
    return qualified(reference, this.#compare(reference.field, 'cidr', constant.value, node, network));
  }

  #call(node: ASTNode, [name, [argument, more]]: readonly [string, readonly ASTNode[]]): Filter {
    if (name === 'has' && argument && !more) {
      const reference = this.#reference(argument);
      return qualified(reference, this.#compare(reference.field, 'isNull', false, node));
    }
    if (name === 'size' || name === 'timestamp' || name === 'duration' || name === 'cidr')
      return this.#fail(node, `${name}() is no condition; compare it`);
    return this.#fail(
      node,
      `there is no function ${name}() in a filter; there are has, size, timestamp, duration and cidr`,
    );
  }

  /** A field, its length, its texts joined, or the age of the process. */
  #subject(node: ASTNode): Reference {
    if (node.op === '-') return this.#age(node, node.args);
    if (node.op === 'rcall' && node.args[0] === 'join') return this.#joined(node, node.args[1], node.args[2]);
    const list =
      node.op === 'call' && node.args[0] === 'size' && node.args[1].length === 1
        ? node.args[1][0]
        : node.op === 'rcall' && node.args[0] === 'size' && node.args[2].length === 0
          ? node.args[1]
          : undefined;
    if (!list) return this.#reference(node);
    const { field, tracker } = this.#reference(list);
    if (field.type === 'processes') return this.#fail(list, OF_PROCESSES);
    if (field.type !== 'strings')
      return this.#fail(list, `"${field.path || this.#variable}" is not a list; size() is for lists`);
    return { field: lengthOf(field), tracker };
  }

  #age(node: ASTNode, [time, start]: readonly [ASTNode, ASTNode]): Reference {
    const { fields } = this.#context;
    const field = fields.shared.get(START);
    if (this.#variable !== null || !field || namesOf(time)?.join('.') !== 'time' || namesOf(start)?.join('.') !== START)
      return this.#fail(node, `a filter calculates only the age of a process: time - ${START} < duration("5s")`);
    return { field: ageOf(field), tracker: null };
  }

  #joined(node: ASTNode, list: ASTNode, [separator, more]: readonly ASTNode[]): Reference {
    if (more || separator?.op !== 'value' || separator.args !== ' ')
      return this.#fail(node, 'a filter joins texts with a space: write args.join(" ")');
    const { field, tracker } = this.#reference(list);
    if (field.type === 'processes') return this.#fail(list, OF_PROCESSES);
    if (field.type !== 'strings')
      return this.#fail(list, `"${field.path || this.#variable}" is not a list; join() is for lists`);
    return { field: joinedOf(field), tracker };
  }

  #reference(node: ASTNode): Reference {
    const names = namesOf(node) ?? this.#fail(node, `a field is expected here; ${beyond(node)}`);
    const { fields, trackers, definitions } = this.#context;
    const found = findField(names, fields, trackers, this.#variable, this.#list, definitions?.readsProcesses);
    if (typeof found !== 'string') return found;
    if (this.#isDefined(node)) return this.#fail(node, this.#misused(node));
    const [only = '', more] = names;
    const near =
      more === undefined && definitions
        ? suggest(only, [...definitions.macros.keys(), ...definitions.lists.keys()])
        : '';
    return this.#fail(node, `${found}${near}`);
  }

  /** A macro or a list. */
  #isDefined(node: ASTNode): node is ASTNode & { readonly op: 'id' } {
    const { definitions } = this.#context;
    return node.op === 'id' && (definitions?.macros.has(node.args) || definitions?.lists.has(node.args)) === true;
  }

  #misused({ args: name }: ASTNode & { readonly op: 'id' }): string {
    return this.#context.definitions?.macros.has(name)
      ? `"${name}" is a macro: a condition by itself, which is compared with nothing`
      : `"${name}" is a list; write FIELD in ${name}, or ${name}.exists(x, FIELD.startsWith(x))`;
  }

  /** A single name that no field and no tracker has: a text without its quotes. */
  #isWord(node: ASTNode): boolean {
    if (node.op !== 'id' || node.args === this.#variable) return false;
    const { fields, trackers } = this.#context;
    const isField = fields.among(trackers, node.args) ?? fields.own(node.args);
    return !isField && ![...fields.shared.keys()].some((path) => path.startsWith(`${node.args}.`));
  }

  #constant(node: ASTNode): Constant | null {
    const bound = node.op === 'id' ? this.#bound.get(node.args) : undefined;
    if (bound !== undefined) return { value: typeof bound === 'number' ? BigInt(bound) : bound, time: false };
    if (node.op === 'value') {
      const value = node.args;
      return {
        value: typeof value === 'object' && value !== null && 'value' in value ? value.value : value,
        time: false,
      };
    }
    if (node.op === '-_') {
      const inner = this.#constant(node.args)?.value;
      return typeof inner === 'bigint' || typeof inner === 'number' ? { value: -inner, time: false } : null;
    }
    const [made = '', [text, more] = []] = node.op === 'call' ? node.args : [];
    if (made === 'duration' && !more && text?.op === 'value' && typeof text.args === 'string')
      return { value: text.args, time: false, duration: true };
    if (made === 'duration') return this.#fail(node, 'duration() takes a constant text, for example duration("5s")');
    if (made !== 'timestamp') return null;
    if (more || text?.op !== 'value' || typeof text.args !== 'string')
      return this.#fail(node, 'timestamp() takes a constant text, for example timestamp("2026-01-31T08:15:30Z")');
    return { value: text.args, time: true };
  }

  #any(list: FilterField, filter: Filter): Filter {
    return { kind: 'any', path: list.path, filter };
  }

  /** `operand` is the node of the constant and `items` are those of its elements, for positions of errors. */
  #compare(
    field: FilterField,
    op: Operator,
    value: unknown,
    node: ASTNode,
    operand: ASTNode = node,
    items: readonly ASTNode[] = [],
  ): Comparison {
    if (!field.operators.includes(op)) {
      const takes = field.operators.map((known) => WRITTEN[known] ?? known).join(', ');
      return this.#fail(
        node,
        `${WRITTEN[op] ?? op} does not apply to "${field.path || this.#variable}" (${field.filterType}); it takes ${takes}`,
      );
    }
    const fail: Fail = (message, index) => this.#fail(items[index ?? -1] ?? operand, message);
    const made = comparison(field, op, value, fail);
    this.#context.budget.take(made, fail);
    return made;
  }

  #failAt(node: ASTNode): Fail {
    return (message) => this.#fail(node, message);
  }

  #fail(node: ASTNode, message: string): never {
    throw errorAt(this.#context.path, this.#context.text, node, message);
  }
}

/** CEL features that filters do not support. */
function beyond({ op, args }: ASTNode): string {
  if (op === '[]') return 'a filter selects no element of a list; write "…" in LIST, or LIST.exists(x, x == "…")';
  if (op === 'call' || op === 'rcall') {
    const conditions = Object.keys(METHODS).map((name) => `.${name}()`);
    return `a filter has no value ${String(args[0])}(); compare the field itself, or write a condition: ${conditions.join(', ')}`;
  }
  if (op === '?:') return 'a filter has no "? :"; join conditions with && and ||';
  if (op === 'list') return 'a list stands only on the right of "in"';
  if (op === 'map') return 'a filter has no maps';
  if (['+', '-', '*', '/', '%', '-_'].includes(op))
    return `a filter does not calculate ("${op.charAt(0)}"); write the value`;
  if (['&&', '||', '!_', '==', '!=', '<', '<=', '>', '>=', 'in'].includes(op))
    return 'a condition cannot be compared; join conditions with && and ||';
  return 'this is beyond a filter';
}
