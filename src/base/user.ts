import { homedir, userInfo } from 'node:os';

/** The user of this process. One of a systemd unit (DynamicUser) may be in no list of users, where `os` throws ENOENT. */

/** The user's home directory; the root directory where there is none. */
export function homeDirectory(read = homedir): string {
  return known(read) ?? '/';
}

/** The user's name; null where there is none. systemd tells it to a unit in the environment. */
export function userName(
  read = () => userInfo().username,
  { USER: told }: NodeJS.ProcessEnv = process.env,
): string | null {
  return known(read) ?? (told || null);
}

function known(read: () => string): string | null {
  try {
    return read();
  } catch {
    return null;
  }
}
