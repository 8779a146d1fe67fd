// Lines of sources end at 140 columns. The formatters break code, but neither comments nor literals.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesUnder, root } from './setup/project.mjs';

const WIDTH = 140;
/** And the top level's own files. */
const FOLDERS = ['src', 'schema', 'bpf', 'scripts', 'test', 'bench', 'plugins', 'docker'];
const SOURCE = /\.(ts|mjs|c|h|graphql)$/;
const GENERATED = /^(src\/generated\/|scripts\/contract\/)/;

/** What may be longer, since it cannot be broken. */
const EXCEPTIONS = [
  { what: 'a URL', pattern: /https?:\/\/\S{60,}/ },
  { what: 'a regular expression on a line of its own', pattern: /^\s*\/[^*/].*\/[dgimsuvy]*[,;)]*$/ },
];

/** A sentence for each line that is too long. */
export function checkWidth() {
  return [...readdirSync(root), ...FOLDERS.flatMap((folder) => filesUnder(folder))]
    .filter((file) => SOURCE.test(file) && !GENERATED.test(file))
    .flatMap((file) =>
      readFileSync(join(root, file), 'utf8')
        .split('\n')
        .map((line, i) => [i + 1, [...line].length, line])
        .filter(([, columns, line]) => columns > WIDTH && !EXCEPTIONS.some(({ pattern }) => pattern.test(line)))
        .map(([at, columns]) => `${file}:${at}: the line has ${columns} columns; at most ${WIDTH} are allowed`),
    );
}
