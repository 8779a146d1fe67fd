import type { ProgramEntry, ReportSections } from '../../../event/report.js';
import type { ProgramFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

interface Program {
  readonly path: string | null;
  readonly errno: string | null;
  readonly args: string[];
  readonly parents: string[];
}

// Of a program: lists of arguments that are shown as samples, and how much of each.
const MOST_LISTS = 20;
const MOST_ARGS = 32;
const LONGEST_ARG = 256;

/** Programs that were executed, and failed attempts. */
export class Programs implements SectionCounter<'programs'> {
  readonly #programs = new Tally<Program>();

  add({ path, errno, args, parent }: ProgramFact): void {
    const program = this.#programs.add(`${path} ${errno}`, () => ({ path, errno, args: [], parents: [] }));
    if (!program) return;
    if (args)
      sample(
        program.args,
        JSON.stringify(args.slice(0, MOST_ARGS).map((arg) => arg.slice(0, LONGEST_ARG))),
        MOST_LISTS,
      );
    if (parent !== null) sample(program.parents, parent);
  }

  build(top: number): Pick<ReportSections, 'programs'> {
    const programs = this.#programs.section(top, ({ args, ...entry }, count): ProgramEntry => {
      return { ...entry, count, args: args.map((text) => JSON.parse(text) as string[]) };
    });
    return { programs };
  }
}
