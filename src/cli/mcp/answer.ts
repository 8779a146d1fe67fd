import { counted } from '../../base/listed.js';

/** A model reads all of a result: more than this is cut. */
export const MOST_CHARACTERS = 24_000;
/** Of what is told besides the output. */
const MOST_TOLD = 4000;
const CUT = `(cut after ${counted(MOST_CHARACTERS, 'character')}: ask for less)`;

/** An answer of what was printed and, behind it, of what was told: the last lines of that, which say how many events were lost. */
export function answerOf(printed: string, told: readonly string[] = []): string {
  const last = lastOf(told);
  const room = MOST_CHARACTERS - last.reduce((sum, line) => sum + line.length + 1, 0);
  const isCut = printed.length > room;
  const text = isCut ? printed.slice(0, room - CUT.length - 1) : printed;
  return [text.trimEnd(), ...(isCut ? [CUT] : []), ...last].filter((part) => part !== '').join('\n');
}

function lastOf(told: readonly string[]): readonly string[] {
  const kept: string[] = [];
  let left = MOST_TOLD;
  for (const line of told.toReversed()) {
    const short = line.length > MOST_TOLD / 2 ? `${line.slice(0, MOST_TOLD / 2)}…` : line;
    left -= short.length + 1;
    if (left < 0) return [`(${counted(told.length - kept.length, 'line')} before)`, ...kept];
    kept.unshift(short);
  }
  return kept;
}
