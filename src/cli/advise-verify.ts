import { Option, type Command } from 'commander';
import { EunomiaError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { Advice, AdviceFile } from '../event/advice.js';
import type { Client } from '../client/client.js';
import { UsageError } from './usage.js';
import {
  attemptLine,
  outsideLine,
  refusalLine,
  roundLine,
  verificationMarkdown,
  type Verified,
} from './verification.js';
import type { World } from './world.js';

export interface VerifyFlags {
  readonly verify?: boolean;
  readonly check?: string;
  readonly probe?: string;
  readonly rounds?: string;
  readonly checkTimeout?: string;
}

/** What only makes sense with --verify. */
export const ofVerification = ['check', 'probe', 'checkTimeout'];

const VERIFY = `mutation Verify($input: VerifyAdviceInput!) {
  verifyAdvice(input: $input) {
    verified rights widened problems outside { kind what refused errno observed }
    rounds {
      started check { check passed output }
      refusals { kind what argument call errno time pid comm executable args stack }
    }
  }
}`;

export function withVerification(command: Command): Command {
  return command
    .option(
      '--verify',
      'try it with copies of the container, widen it by what they are refused, and show that it holds; the container itself is only read',
    )
    .addOption(
      new Option(
        '--check <command>',
        'with --verify: it passes if this command of a shell in the copy ends with 0',
      ).conflicts('probe'),
    )
    .option('--probe <url>', 'with --verify: it passes if this URL answers; its host stands for the copy')
    .option('--check-timeout <duration>', 'with --verify: how long the check may take, 1s to 5m', '30s');
}

const ANY_RIGHTS = { seccomp: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [] } };

/** Rejects as a verification would that cannot begin: for want of a role, of an engine, of a check that makes sense. */
export async function checkVerifiable(
  client: Client,
  container: string,
  flags: VerifyFlags & { readonly wait?: boolean },
): Promise<void> {
  const input = { container, rights: ANY_RIGHTS, rounds: 0, ...checkInput(flags) };
  try {
    await client.query('mutation Check($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified } }', {
      input,
    });
  } catch (error) {
    // It is waited for.
    if (!flags.wait || !(error instanceof EunomiaError) || error.code !== 'UNKNOWN_CONTAINER') throw error;
  }
}

function checkInput({ check, probe, checkTimeout }: VerifyFlags): object {
  const none = check === undefined && probe === undefined;
  return { check: none ? null : { command: check && ['sh', '-c', check], probe }, timeout: checkTimeout };
}

/** What a server reads of advice: what it was made from. With thousands of files, all of it would be more than servers take. */
export function sentOf(advice: unknown): unknown {
  if (typeof advice !== 'object' || advice === null || !('observation' in advice)) return advice;
  return { observation: advice.observation };
}

/** Tries rights with copies of a container; returns the files of what they became. Tells what happened, round by round. */
export async function verified(
  client: Pick<Client, 'query'>,
  container: string,
  advice: Advice,
  flags: VerifyFlags,
  world: Pick<World, 'tell'>,
): Promise<readonly AdviceFile[]> {
  const { verifyAdvice: result } = await client.query<{ verifyAdvice: Verified }>(VERIFY, {
    input: {
      container,
      rights: advice.rights,
      ...checkInput(flags),
    },
  });
  for (const line of linesOf(result)) world.tell(visible(line));
  if (!result.verified) throw new UsageError('the recommendation could not be verified; nothing was written');
  const { adviceWithRights } = await client.query<{ adviceWithRights: { readonly files: readonly AdviceFile[] } }>(
    'query Tried($advice: JSON!, $rights: JSON!) { adviceWithRights(advice: $advice, rights: $rights) { files { name content } } }',
    { advice: sentOf(advice), rights: result.rights },
  );
  return [
    ...adviceWithRights.files,
    { name: 'verification.md', content: verificationMarkdown(container, result) },
    { name: 'verification.json', content: `${JSON.stringify(result, null, 2)}\n` },
  ];
}

/** The callers nearest to the call: an interpreter has a hundred. verification.md has all of them. */
const SHOWN_FRAMES = 20;

function linesOfStack(stack: readonly string[]): readonly string[] {
  const left = stack.length - SHOWN_FRAMES;
  return [
    ...stack.slice(0, SHOWN_FRAMES).map((frame) => `    ${frame.startsWith('(cut') ? frame : `at ${frame}`}`),
    ...(left > 0 ? [`    … ${left} more in verification.md`] : []),
  ];
}

function linesOf({ verified: holds, rounds, widened, outside, problems }: Verified): readonly string[] {
  const last = rounds.at(-1);
  return [
    ...rounds.flatMap((round, i) => [
      `copy ${i + 1}: ${roundLine(round)}`,
      ...round.refusals
        .slice(0, 10)
        .flatMap((refusal) => [`  ${refusalLine(refusal)}`, ...linesOfStack(refusal.stack ?? [])]),
    ]),
    ...(holds || !last?.check?.output ? [] : [last.check.output.trimEnd()]),
    ...(widened.length > 0 ? [`added: ${widened.join(', ')}`] : []),
    ...outside.map((attempt) => `outside: ${attemptLine(attempt)}`),
    ...problems.map((problem) => `problem: ${problem}`),
    holds ? `verified: a copy ran under these rights, its check passed, and ${outsideLine(outside)}` : 'not verified',
  ];
}
