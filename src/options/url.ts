import { fail, secret, text, type Kind } from './kind.js';

/** An http or https address, without a slash at its end. Messages never show it, since it may hold a password. */
export function address(example: string, credentials: string, hint = ''): Kind<string> {
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

/** The origin of web pages, as browsers send it (RFC 6454, 6.1). */
export function origin(): Kind<string> {
  const right = 'an origin as browsers send it, for example https://app.example.com or http://localhost:5173';
  return text('<origin>', right, (value) => {
    const url = URL.canParse(value) ? new URL(value) : null;
    if (url && ['http:', 'https:'].includes(url.protocol) && url.origin === value) return value;
    const near = url && url.origin !== 'null' ? `; did you mean ${url.origin}?` : '';
    return fail(`"${value.slice(0, 100)}" is not ${right}${near}`);
  });
}
