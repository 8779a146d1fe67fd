import { expect, it } from 'vitest';
import { markdownText } from './markdown.js';

it.each([
  ['/var/log/app.log', '/var/log/app.log'],
  ['a|b `c` *d* _e_ <f> [g](h)', 'a\\|b \\`c\\` \\*d\\* \\_e\\_ \\<f\\> \\[g\\](h)'],
  ['/tmp/&#x202e;gpj.sh &lt;b&gt;', '/tmp/\\&#x202e;gpj.sh \\&lt;b\\&gt;'],
  ['~~not~~ $x$', '\\~\\~not\\~\\~ \\$x\\$'],
  ['/tmp/https://example.com/x', '/tmp/https\\://example.com/x'],
  ['HTTP://a ftp://b www.c WWW.d', 'HTTP\\://a ftp\\://b www\\.c WWW\\.d'],
  ['a\nb\u202ec', 'a\\\\u000ab\\\\u202ec'],
])('%j is text and nothing else in Markdown', (text, expected) => {
  expect(markdownText(text)).toBe(expected);
});
