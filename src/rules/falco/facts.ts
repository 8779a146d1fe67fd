import type { ImportFacts } from './compare.js';

/** The ids of users by their names, of a file as /etc/passwd. `from` is what notes call the file. */
export function readUsers(text: string, from: string): NonNullable<ImportFacts['users']> {
  const ids = new Map<string, number[]>();
  for (const line of text.split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    if (name === '' || !/^\d{1,10}$/.test(id)) continue;
    ids.set(name, [...(ids.get(name) ?? []), Number(id)]);
  }
  return { from, ids };
}

/** The addresses of hosts by their names, of a file as /etc/hosts. */
export function readHosts(text: string): ImportFacts['hosts'] {
  const hosts = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address = '', ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    for (const name of names) hosts.set(name, [...(hosts.get(name) ?? []), address]);
  }
  return hosts;
}
