/**
 * The absolute path of one that starts at a directory, without "." and ".."; null where it is not known. Symbolic links are not followed,
 * so that ".." behind one leads elsewhere.
 */
export function absolutePath(directory: string | null | undefined, path: string | null | undefined): string | null {
  if (path == null || path === '') return null;
  const whole = path.startsWith('/') ? path : directory?.startsWith('/') ? `${directory}/${path}` : null;
  if (whole === null) return null;
  const kept: string[] = [];
  for (const name of whole.split('/')) {
    if (name === '..') kept.pop();
    else if (name !== '' && name !== '.') kept.push(name);
  }
  return `/${kept.join('/')}`;
}
