import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ConfigFile } from '../base/config-file.js';
import { parseWebhooks } from './config.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-webhooks-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string, mode = 0o600): void {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
}

function parse(text: string) {
  write('webhooks.yaml', text);
  return parseWebhooks(
    ConfigFile.read(join(folder, 'webhooks.yaml'), { code: 'BAD_WEBHOOKS', setting: '--webhooks' }, 'SECRET'),
  );
}

function told(text: string): string {
  try {
    parse(text);
  } catch (error) {
    return (error as Error).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('nothing was wrong');
}

it('a webhook has what its file says, and the usual for the rest', () => {
  write('key', 'a secret of 16 bytes\n');
  write('headers', 'Authorization: Bearer x\n');
  expect(
    parse(`webhooks:
  - { name: a, url: 'http://127.0.0.1:9/x?y=z' }
  - { name: b, url: 'https://h', template: falcosidekick }
  - name: c
    url: https://h/hook
    template: slack
    secretFile: key
    headersFile: headers
    severity: HIGH
    rules: [shell-*]
    sources: ['rule:*']
    on: [raised, acknowledged]
`),
  ).toEqual([
    {
      ...{ name: 'a', url: 'http://127.0.0.1:9/x?y=z', template: 'eunomia', secret: null, headers: {}, ca: null },
      ...{ severity: 'INFO', rules: null, sources: null, on: ['raised', 'resolved'] },
    },
    expect.objectContaining({ url: 'https://h/', on: ['raised'] }),
    {
      ...{ name: 'c', url: 'https://h/hook', template: 'slack', secret: Buffer.from('a secret of 16 bytes'), ca: null },
      ...{ headers: { authorization: 'Bearer x' }, severity: 'HIGH', rules: ['shell-*'], sources: ['rule:*'] },
      on: ['raised', 'acknowledged'],
    },
  ]);
  expect(parse('webhooks: []')).toEqual([]);
});

it.each([
  ['- { url: "http://h" }', '2:3: webhooks[0].name: is missing'],
  ['- { name: A, url: "http://h" }', '2:11: webhooks[0].name: is 1 to 64 lower-case'],
  ['- { name: a, url: "ftp://secret" }', 'webhooks[0].url: is not an address like'],
  ['- { name: a, url: "http://me:secret@h" }', 'webhooks[0].url: holds a name or a password'],
  [
    '- { name: a, url: "http://h", tempalte: slack }',
    'webhooks[0].tempalte: there is no such setting; did you mean "template"?',
  ],
  ['- { name: a, url: "http://h", template: teams }', 'webhooks[0].template: is to be one of eunomia, slack'],
  ['- { name: a, url: "http://h", severity: high }', 'webhooks[0].severity: is to be one of INFO'],
  ['- { name: a, url: "http://h", on: [raised, gone] }', 'webhooks[0].on[1]: is to be one of raised'],
  ['- { name: a, url: "http://h", on: [] }', 'webhooks[0].on: is empty'],
  ['- { name: a, url: "http://h", rules: ["a[b"] }', 'webhooks[0].rules[0]: "a[b" has a [ without its ]'],
  ['- { name: a, url: "http://h", rules: [] }', 'webhooks[0].rules: has 0 entries'],
  [
    '- { name: a, url: "http://h", template: falcosidekick, on: [resolved] }',
    'falcosidekick knows alerts that are raised',
  ],
  ['- { name: a, url: "http://h", secretFile: none }', 'webhooks[0].secretFile: ENOENT'],
  ['- { name: a, url: "http://h", secretFile: open }', 'is open to everybody'],
  ['- { name: a, url: "http://h", secretFile: short }', 'the secret has less than 16 bytes'],
  ['- { name: a, url: "http://h", headersFile: short }', 'a header is written as "Name: value"'],
  ['- { name: a, url: "http://h", ca: short }', 'only an https:// address has a certificate'],
  ['- { name: a, url: "http://h" }\n- { name: a, url: "http://h" }', '3:11: webhooks[1].name: "a" is there already'],
])('%s is refused, with its place', (entry, message) => {
  write('open', 'a secret of 16 bytes\n', 0o644);
  write('short', 'short\n');
  const text = told(`webhooks:\n${entry}\n`);
  expect(text).toMatch(/^webhooks.yaml:\d+:\d+: /);
  expect(text).toContain(message);
  expect(text).not.toContain('secret@');
});

it('a file that others can read is refused, since addresses may be secrets', () => {
  const path = join(folder, 'public.yaml');
  write('public.yaml', 'webhooks: []', 0o644);
  expect(() => ConfigFile.read(path, { code: 'BAD_WEBHOOKS', setting: '--webhooks' }, 'SECRET')).toThrow(/chmod o=/);
});
