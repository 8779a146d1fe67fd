/**
 * Globs, the same ones everywhere: `*` any characters including slashes, `?` one character, `[a-c]` a class, `[!a-c]` a negated one,
 * `{a,b}` alternatives, `\` takes the next character as it is. A glob matches the whole text, and case matters.
 *
 * All ways through the glob are followed at once (Thompson, "Regular Expression Search Algorithm", 1968): the time is at most the length
 * of the text times that of the glob, whatever a client writes. A backtracking regular expression may take exponential time, and
 * RE2JS some tens of milliseconds for the first texts, for which it builds an automaton.
 */

export type TextPredicate = (text: string) => boolean;
/** Reports an error in what a client wrote. */
type Fail = (message: string) => never;

/** Steps that are not one code point: any number of characters, any one, one of a class, and none, but going on elsewhere. */
const [STAR, ANY, CLASS, FORK] = [-1, -2, -3, -4];
type Class = (point: number) => boolean;
type Step = number | Class | number[];

/** Compiles a glob. Calls `fail`, else throws TypeError, with a message that begins with the quoted glob if it is invalid. */
export function compileGlob(glob: string, fail: Fail = refuse): TextPredicate {
  const steps = parse([...glob], (why) => fail(`"${shorten(glob)}" ${why}`));
  const end = steps.length;
  const kinds = Int32Array.from(steps, (step) =>
    typeof step === 'number' ? step : typeof step === 'function' ? CLASS : FORK,
  );
  // Most texts differ at their beginning, and the engine's own comparison is the fastest.
  const plain = kinds.findIndex((kind) => kind < 0);
  const start = plain < 0 ? end : plain;
  const head = String.fromCodePoint(...kinds.subarray(0, start));
  // The last star takes all that is left, whatever it is.
  const enough = kinds[end - 1] === STAR ? end - 1 : end + 1;
  // Each step is in a set once: it is marked with the set's number.
  const marks = new Float64Array(end + 2);
  let set = 0;
  let [now, next] = [new Int32Array(end + 1), new Int32Array(end + 1)];
  let size = 0;
  const add = (at: number): void => {
    if (marks[at] === set) return;
    marks[at] = set;
    if (kinds[at] === FORK) for (const to of steps[at] as number[]) add(to);
    else {
      next[size++] = at;
      if (kinds[at] === STAR) add(at + 1);
    }
  };
  const begin = (): void => {
    [now, next] = [next, now];
    set++;
    size = 0;
  };
  return (text) => {
    if (!text.startsWith(head)) return false;
    begin();
    add(start);
    for (const character of head === '' ? text : text.slice(head.length)) {
      if (marks[enough] === set) return true;
      if (size === 0) return false;
      const point = pointOf(character);
      const before = size;
      begin();
      for (let i = 0; i < before; i++) {
        const at = now[i] ?? end;
        const kind = kinds[at];
        if (kind === STAR) add(at);
        else if (kind === point || kind === ANY || (kind === CLASS && (steps[at] as Class)(point))) add(at + 1);
      }
    }
    return marks[end] === set;
  };
}

function parse(glob: readonly string[], fail: Fail): readonly Step[] {
  const steps: Step[] = [];
  /** Alternatives that are open: where they part, and the ends of those before, which go on behind them. */
  const open: { readonly starts: number[]; readonly ends: number[][] }[] = [];
  for (let at = 0; at < glob.length; at++) {
    const character = glob[at] ?? '';
    const inner = open.at(-1);
    if (character === '*') {
      if (steps.at(-1) !== STAR || glob[at - 1] !== '*') steps.push(STAR);
    } else if (character === '?') steps.push(ANY);
    else if (character === '\\') {
      const literal = glob[++at] ?? fail('ends with a \\ that takes nothing; write \\\\ for a backslash');
      steps.push(pointOf(literal));
    } else if (character === '[') {
      const { end, accepts } = classAt(glob, at, fail);
      steps.push(accepts);
      at = end;
    } else if (character === '{') {
      const starts = [steps.length + 1];
      steps.push(starts);
      open.push({ starts, ends: [] });
    } else if (character === ',' && inner) {
      const end: number[] = [];
      steps.push(end);
      inner.ends.push(end);
      inner.starts.push(steps.length);
    } else if (character === '}' && inner) {
      for (const end of inner.ends) end.push(steps.length);
      open.pop();
    } else steps.push(pointOf(character));
  }
  if (open.length > 0) fail('has a { without its }; write \\{ for the character');
  return steps;
}

function classAt(glob: readonly string[], start: number, fail: Fail): { end: number; accepts: Class } {
  const negated = glob[start + 1] === '!' || glob[start + 1] === '^';
  const first = start + (negated ? 2 : 1);
  // "]" as the first character is literal, as in a shell.
  const end = glob.indexOf(']', first + 1);
  if (end < 0) fail('has a [ without its ]; write \\[ for the character');
  const ranges: (readonly [from: number, to: number])[] = [];
  for (let at = first; at < end; at++) {
    const isRange = glob[at + 1] === '-' && at + 2 < end;
    const [from, to] = [pointOf(glob[at] ?? ''), pointOf(glob[isRange ? at + 2 : at] ?? '')];
    if (from > to)
      fail(`has the range ${glob.slice(at, at + 3).join('')}, which is empty; write ${glob[at + 2]}-${glob[at]}`);
    ranges.push([from, to]);
    if (isRange) at += 2;
  }
  return { end, accepts: (point) => ranges.some(([from, to]) => from <= point && point <= to) !== negated };
}

function refuse(message: string): never {
  throw new TypeError(message);
}

function pointOf(character: string): number {
  return character.codePointAt(0) ?? 0;
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
