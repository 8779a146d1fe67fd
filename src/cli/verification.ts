import { counted } from '../base/listed.js';
import { markdownText } from '../base/markdown.js';
import { visible } from '../base/visible.js';
import type { Rights } from '../event/advice.js';

/** What `verifyAdvice` tells of copies of a container. */
export interface Verified {
  readonly verified: boolean;
  readonly rights: Rights;
  readonly widened: readonly string[];
  readonly problems: readonly string[];
  readonly outside: readonly Attempt[];
  readonly rounds: readonly Round[];
}

interface Attempt {
  readonly kind: string;
  readonly what: string;
  readonly refused: boolean;
}

interface Round {
  readonly started: boolean;
  readonly check: { readonly check: string; readonly passed: boolean; readonly output: string } | null;
  readonly refusals: readonly Refusal[];
}

interface Refusal {
  readonly kind: string;
  readonly what: string;
  readonly argument: number | null;
  readonly call: string | null;
  readonly errno: string | null;
  readonly comm: string;
  readonly pid: number;
  readonly stack: readonly string[] | null;
}

/** A refusal in one line: what was refused, to which process, and how the call ended. */
export function refusalLine({ kind, what, argument, call, errno, comm, pid }: Refusal): string {
  const how = [call, errno].filter((part) => part !== null).join(' = ');
  return `${kind.toLowerCase()} ${[what, argument ?? []].flat().join(' ')}: ${comm} (${pid})${how === '' ? '' : ` ${how}`}`;
}

/** How a copy did, in one line. */
export function roundLine({ started, check, refusals }: Round): string {
  return (
    `${started ? 'started' : 'did not start'}${check ? `, ${check.check} ${check.passed ? 'passed' : 'failed'}` : ''}` +
    `, ${counted(refusals.length, 'refusal')}`
  );
}

export function attemptLine({ kind, what, refused }: Attempt): string {
  return `${kind.toLowerCase()} ${what} ${refused ? 'was refused' : 'was NOT refused'}`;
}

/** What the attempts outside of the rights show: one that was verified may have made none, or some in vain. */
export function outsideLine(outside: readonly Attempt[]): string {
  if (outside.length === 0) return 'nothing outside of them was attempted';
  const open = outside.filter(({ refused }) => !refused).length;
  return open === 0
    ? 'what was attempted outside of them was refused'
    : `${open} of ${counted(outside.length, 'attempt')} outside of them ${open === 1 ? 'was' : 'were'} NOT refused`;
}

/** The verification for people: each copy, each refusal with the whole stack, what was added, and the proof. */
export function verificationMarkdown(container: string, { rounds, widened, outside, problems }: Verified): string {
  return [
    `# Verification of the advice for ${markdownText(container)}`,
    '',
    `A copy ran under the rights of these files, its check passed, and ${outsideLine(outside)}.`,
    ...rounds.flatMap((round, i) => [
      '',
      `## Copy ${i + 1}: ${markdownText(roundLine(round))}`,
      ...round.refusals.flatMap((refusal) => [
        '',
        `- ${markdownText(refusalLine(refusal))}`,
        // Indented code, below the item.
        ...(refusal.stack?.length ? ['', ...refusal.stack.map((frame) => `      ${visible(frame)}`)] : []),
      ]),
    ]),
    ...section('Added', widened),
    ...section('Outside', outside.map(attemptLine)),
    ...section('Problems', problems),
    '',
  ].join('\n');
}

function section(title: string, items: readonly string[]): readonly string[] {
  return items.length === 0 ? [] : ['', `## ${title}`, '', ...items.map((item) => `- ${markdownText(item)}`)];
}
