// The pages of the package: those of the repository, with no link to what the package does not have (decisions, sources, pages for
// developers). Their text changes while npm packs, and is put back behind it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { SetupError, cache, filesUnder, root } from './project.mjs';

const kept = join(cache, 'pages');
/** Of each page: what it was, and what was put in its place. */
const [WAS, SHIPPED] = ['was', 'shipped'];

/** Puts the package's text in the place of each page's, and keeps what was there. */
export function writeShippedPages() {
  restorePages();
  const files = shippedFiles();
  for (const page of files.filter((file) => file.endsWith('.md'))) {
    const text = readFileSync(join(root, page), 'utf8');
    const shipped = shippedText(page, text, files);
    if (shipped === text) continue;
    keep(SHIPPED, page, shipped);
    keep(WAS, page, text);
    replace(page, shipped);
  }
}

/** Puts back what `writeShippedPages` kept, also of a run that was cut off; a page that was edited since stays as it is. */
export function restorePages() {
  for (const file of filesUnder(`.cache/pages/${WAS}`)) {
    const page = file.slice(`.cache/pages/${WAS}/`.length);
    if (textOf(join(root, page)) === textOf(join(kept, SHIPPED, page))) replace(page, textOf(join(kept, WAS, page)));
  }
  rmSync(kept, { recursive: true, force: true });
}

function keep(what, page, text) {
  const path = join(kept, what, page);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Whole or not at all, wherever it is cut off. */
function replace(page, text) {
  writeFileSync(join(cache, 'page.new'), text);
  renameSync(join(cache, 'page.new'), join(root, page));
}

/** Null where there is no such file any more. */
function textOf(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

/** The text of a page without its links to what is not among the files: the words stay, an entry of a list of links goes. */
export function shippedText(page, text, files) {
  const has = (link) => {
    if (/^(?:[a-z]+:|#)/.test(link)) return true;
    const target = normalize(join(dirname(page), link.replace(/#.*$/, ''))).replace(/\/$/, '');
    return files.some((file) => file === target || file.startsWith(`${target}/`));
  };
  return text
    .split(/(^```.*?^```$)/ms)
    .map((part, index) => {
      if (index % 2 === 1) return part; // a block of code
      return part
        .replace(/ · \[[^\]]*\]\(([^)\s]+)\)(?= · |\n)/g, (whole, link) => (has(link) ? whole : ''))
        .replace(/\[([^\]]*)\]\(([^)\s]+)\)/g, (whole, label, link) => (has(link) ? whole : label));
    })
    .join('');
}

/** What npm puts into the package. */
function shippedFiles() {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new SetupError(`npm does not tell what it packs: ${stderr}`);
  return JSON.parse(stdout)[0].files.map(({ path }) => path);
}
