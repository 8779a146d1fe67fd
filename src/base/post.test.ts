import { expect, it } from 'vitest';
import { withoutPath } from './post.js';

it.each([
  [
    'failed: https://a.example/services/T0?token=x',
    'https://a.example/services/T0?token=x',
    'failed: https://a.example…',
  ],
  ['no /services/T0 there', 'https://a.example/services/T0?token=x', 'no … there'],
  ['?token=x', 'https://a.example/?token=x', '…'],
  ['connect ECONNREFUSED 127.0.0.1:9/', 'http://127.0.0.1:9/', 'connect ECONNREFUSED 127.0.0.1:9/'],
])('an error "%s" of %s is told as "%s"', (message, url, told) => expect(withoutPath(message, url)).toBe(told));
