/** More names of one directory than this are one entry: those of temporary files differ each time. */
export const MOST_NAMES = 500;

/** What stands for all names in the directory of a path: the directory with a slash at its end, as no path of an entry is. */
export function namesIn(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

/** Whether a path stands for all names in a directory. */
export function isNames(path: string): boolean {
  return path.length > 1 && path.endsWith('/');
}

/** A path for people. */
export function shownPath(path: string): string {
  return isNames(path) ? `${path}* (more than ${MOST_NAMES} names)` : path;
}
