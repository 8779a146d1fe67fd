// The pages of the package: those of the repository, with no link to what the package does not have (decisions, sources, pages for
// developers). Their text changes while npm packs, and is put back behind it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { SetupError, cache, filesUnder, root } from './project.mjs';

const kept = join(cache, 'pages');

/** Puts the package's text in the place of each page's, and keeps what was there. */
export function writeShippedPages() {
  restorePages();
  const files = shippedFiles();
  for (const page of files.filter((file) => file.endsWith('.md'))) {
    const text = readFileSync(join(root, page), 'utf8');
    const shipped = shippedText(page, text, files);
    if (shipped === text) continue;
    mkdirSync(dirname(join(kept, page)), { recursive: true });
    writeFileSync(join(kept, page), text);
    writeFileSync(join(root, page), shipped);
  }
}

/** Puts back what `writeShippedPages` kept, also of a run that was cut off; a page that was edited since stays as it is. */
export function restorePages() {
  if (!existsSync(kept)) return;
  const files = shippedFiles();
  for (const page of filesUnder('.cache/pages').map((file) => file.slice('.cache/pages/'.length))) {
    const text = readFileSync(join(kept, page), 'utf8');
    if (readFileSync(join(root, page), 'utf8') === shippedText(page, text, files))
      writeFileSync(join(root, page), text);
  }
  rmSync(kept, { recursive: true });
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
