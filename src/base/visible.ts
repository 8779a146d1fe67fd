/**
 * Characters that act on a terminal, or that nobody sees: C0 and C1 controls, format characters (bidirectional
 * overrides, zero-width ones, tags), line and paragraph separators, halves of surrogate pairs. What a process calls
 * itself must not drive the terminal of the one who watches it.
 */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
/** The same without what lays out a text: a tab, a line feed, a carriage return before one. */
const HIDDEN_IN_LINES = /(?![\t\n]|\r\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * The text on one line, with each such character as `\u001b`: as JSON writes it, so that JSON stays JSON of the same
 * value. Never confused with a byte, which is `\xff`.
 */
export function visible(text: string): string {
  return text.replace(HIDDEN, escaped);
}

/** As `visible`; the text keeps its lines and tabs. */
export function visibleLines(text: string): string {
  return text.replace(HIDDEN_IN_LINES, escaped);
}

function escaped(character: string): string {
  let out = '';
  for (let i = 0; i < character.length; i++) out += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return out;
}
