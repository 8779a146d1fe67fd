import { fail, secret, text, type SettingKind } from './kind.js';

/** An http or https address, without a slash at its end. Messages never show it, since it may hold a password. */
export function address(example: string, credentials: string, hint = ''): SettingKind<string> {
  const right = `an address like ${example}`;
  return {
    ...secret('<url>', right, (value) => {
      const url = URL.canParse(value) ? new URL(value) : null;
      if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) return fail(`give ${right}${hint}`);
      if (url.username || url.password)
        return fail(`holds a name or a password, which would be logged; ${credentials}`);
      if (url.search || url.hash) return fail('ends with a query or a fragment; give the address alone');
      return value.replace(/\/+$/, '');
    }),
    right,
  };
}

/** What the host of a URL may be, of all that URLs can hold. */
const HOST = /^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)$/;

/** The origin of web pages, as browsers send it (RFC 6454, 6.1). */
export function origin(): SettingKind<string> {
  const right = 'an origin as browsers send it, for example https://app.example.com or http://localhost:5173';
  return text('<origin>', right, (value) => {
    const url = URL.canParse(value) ? new URL(value) : null;
    const own = url && HOST.test(url.hostname) && url.origin !== 'null' ? url.origin : null;
    if (own === value && url && ['http:', 'https:'].includes(url.protocol)) return value;
    if (url?.hostname.includes('*'))
      return fail(
        `"${value.slice(0, 100)}" has a wildcard, and would let in pages of anybody who gets such a name; name each origin`,
      );
    const near = own === null ? '' : `; did you mean ${own}?`;
    return fail(`"${value.slice(0, 100)}" is not ${right}${near}`);
  });
}
