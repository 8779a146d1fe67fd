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
      ...{
        name: 'a',
        url: 'http://127.0.0.1:9/x?y=z',
        template: 'eunomia',
        body: null,
        secret: null,
        headers: {},
        ca: null,
      },
      ...{ severity: 'INFO', rules: null, sources: null, on: ['raised', 'resolved'] },
    },
    expect.objectContaining({ url: 'https://h/', on: ['raised'] }),
    {
      ...{
        name: 'c',
        url: 'https://h/hook',
        template: 'slack',
        body: null,
        secret: Buffer.from('a secret of 16 bytes'),
        ca: null,
      },
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
  ['- { name: a, url: "http://h", body: "x" }', 'webhooks[0].body: is to be a mapping or a list'],
  [
    '- { name: a, url: "http://h", body: [], template: slack }',
    '2:41: webhooks[0].template: does not go together with `body`',
  ],
  [
    '- { name: a, url: "http://h", body: [], bodyFile: b.json }',
    'webhooks[0].bodyFile: does not go together with `body`',
  ],
  ['- { name: a, url: "http://h", bodyFile: none.json }', 'webhooks[0].bodyFile: ENOENT'],
  [
    '- { name: a, url: "http://h", body: { t: "{{alert.tittle}}" } }',
    '2:42: webhooks[0].body.t: there is no field "alert.tittle"; did you mean "alert.title"',
  ],
  ['- { name: a, url: "http://h", body: { t: "{{alert.title" } }', '2:42: webhooks[0].body.t: has {{ without }}'],
  [
    '- { name: a, url: "http://h", body: { t: ["x {{alert.evidence}}"] } }',
    'webhooks[0].body.t[0]: {{alert.evidence}} is an object',
  ],
  ['- { name: a, url: "http://h", body: { "{{event}}": 1 } }', 'is a key, which has no placeholders'],
  [`- { name: a, url: "http://h", body: [${'"{{event}}", '.repeat(201)}] }`, 'has 201 placeholders; at most 200'],
  [
    `- { name: a, url: "http://h", body: [${'"{{alert}}", '.repeat(5)}] }`,
    'has 5 placeholders that are objects; at most 4',
  ],
  [`- { name: a, url: "http://h", body: ["${'x'.repeat(70_000)}"] }`, 'bytes; at most 65536'],
  [
    '- { name: a, url: "http://h", body: { chat: 1234567890123456789 } }',
    'body.chat: is a number that JSON’s readers round',
  ],
  [
    '- { name: a, url: "http://h", body: [], words: { event: { raised: "{{alert.id}}" } } }',
    'words.event.raised: is taken as it is',
  ],
  ['- { name: a, url: "http://h", words: { event: { raised: x } } }', 'webhooks[0].words: is for `body` or `bodyFile`'],
  [
    '- { name: a, url: "http://h", body: [], words: { alert.severty: { LOW: x } } }',
    'webhooks[0].words.alert.severty: there is no such setting; did you mean "alert.severity"?',
  ],
  [
    '- { name: a, url: "http://h", body: [], words: { alert.severity: { LOWW: x } } }',
    'webhooks[0].words.alert.severity.LOWW: there is no such setting; did you mean "LOW"?',
  ],
  [
    '- { name: a, url: "http://h", body: [], words: { event: { raised: [x] } } }',
    'words.event.raised: is to be a text',
  ],
  ['- { name: a, url: "http://h" }\n- { name: a, url: "http://h" }', '3:11: webhooks[1].name: "a" is there already'],
])('%s is refused, with its place', (entry, message) => {
  write('open', 'a secret of 16 bytes\n', 0o644);
  write('short', 'short\n');
  const text = told(`webhooks:\n${entry}\n`);
  expect(text).toMatch(/^webhooks.yaml:\d+:\d+: /);
  expect(text).toContain(message);
  expect(text).not.toContain('secret@');
});

it('a body of a file of its own is refused with its place there', () => {
  write('body.json', '{\n  "text": "{{alert.titel}}",\n  "from": "{{nod.name}}"\n}\n');
  const text = told('webhooks: [{ name: a, url: "http://h", bodyFile: body.json }]\n');
  expect(text).toContain('body.json:2:11: text: there is no field "alert.titel"; did you mean "alert.title"');
  expect(text).toContain('\nbody.json:3:11: from: there is no field "nod.name"; did you mean "node.name"');
  write('body.json', '{ "text": ');
  expect(told('webhooks: [{ name: a, url: "http://h", bodyFile: body.json }]\n')).toMatch(/^body.json:1:\d+: /);
  write('body.json', '{}', 0o644);
  expect(told('webhooks: [{ name: a, url: "http://h", bodyFile: body.json }]\n')).toContain('is open to everybody');
});

it('a file that others can read is refused, since addresses may be secrets', () => {
  const path = join(folder, 'public.yaml');
  write('public.yaml', 'webhooks: []', 0o644);
  expect(() => ConfigFile.read(path, { code: 'BAD_WEBHOOKS', setting: '--webhooks' }, 'SECRET')).toThrow(/chmod o=/);
});
