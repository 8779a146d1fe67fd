import { dirname, resolve } from 'node:path';
import { ConfigFile, type Path } from '../base/config-file.js';
import { messageOf } from '../base/errors.js';
import { readTrusted, type FileKind } from '../base/file.js';
import { compileGlob } from '../base/glob.js';
import { headersOf, linesOf } from '../base/headers.js';
import { finish } from '../base/turn.js';
import { severities, type Severity } from '../alerts/alert.js';
import { events, type AlertEvent } from './event.js';
import { compileBody, readWords, type BodyTemplate } from './template.js';

export const templates = ['eunomia', 'slack', 'alertmanager', 'falcosidekick'] as const;
export type Template = (typeof templates)[number];

/** Where alerts are sent, and which. */
export interface WebhookConfig {
  readonly name: string;
  /** May hold a secret, as Slack's do: never told. */
  readonly url: string;
  readonly template: Template;
  /** A template of the user's own, which takes the place of `template`; null for none. */
  readonly body: BodyTemplate | null;
  /** Signs each request; null: they are not signed. */
  readonly secret: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM; null trusts the system's. */
  readonly ca: string | null;
  /** This and severer ones. */
  readonly severity: Severity;
  /** Globs; null for all. */
  readonly rules: readonly string[] | null;
  readonly sources: readonly string[] | null;
  readonly on: readonly AlertEvent[];
}

const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const settings = [
  ...[
    'name',
    'url',
    'template',
    'body',
    'bodyFile',
    'words',
    'secretFile',
    'headersFile',
    'ca',
    'severity',
    'rules',
    'sources',
    'on',
  ],
];
const MAX_WEBHOOKS = 20;
const MAX_GLOBS = 100;
const MAX_GLOB = 256;
/** Bytes. */
const MIN_SECRET = 16;

/**
 * Checks a file of webhooks, and reads the files that it names. Throws BAD_WEBHOOKS, for each entry that is wrong with file, line
 * and column, the setting's path, and what would be right; never with a value that may be a secret.
 */
export function parseWebhooks(file: ConfigFile): WebhookConfig[] {
  const { webhooks } = file.fields(file.value, [], ['webhooks']);
  const list = file.list(webhooks, ['webhooks']);
  if (list.length > MAX_WEBHOOKS)
    throw file.fail(['webhooks'], `has ${list.length} entries; at most ${MAX_WEBHOOKS} are allowed`);
  const parsed = file.each(list, (webhook, i) => webhookOf(file, webhook, ['webhooks', i]));
  file.each(parsed, ({ name }, i) => {
    const before = parsed.findIndex((other) => other.name === name);
    if (before < i) throw file.fail(['webhooks', i, 'name'], `"${name}" is there already, in webhooks[${before}]`);
  });
  return parsed;
}

function webhookOf(file: ConfigFile, value: unknown, path: Path): WebhookConfig {
  const given = file.fields(value, path, settings);
  const name = file.text(given['name'], [...path, 'name'], '"pager"');
  if (!NAME.test(name))
    throw file.fail(
      [...path, 'name'],
      'is 1 to 64 lower-case letters, digits and hyphens that begin with a letter, for example "pager"',
    );
  const url = urlOf(file, given['url'], [...path, 'url']);
  const template = oneOf(file, given['template'] ?? 'eunomia', [...path, 'template'], templates);
  const read = (setting: string, trust: FileKind): string | null => {
    if (given[setting] == null) return null;
    const named = file.text(given[setting], [...path, setting], '"FILE"');
    const at = resolve(dirname(file.name), named);
    try {
      return readTrusted(at, trust).toString();
    } catch (error) {
      throw file.fail([...path, setting], messageOf(error));
    }
  };
  const body = bodyOf(file, given, path, () => read('bodyFile', 'SECRET'));
  const secret = read('secretFile', 'SECRET')?.trim() ?? null;
  if (secret !== null && Buffer.byteLength(secret) < MIN_SECRET)
    throw file.fail(
      [...path, 'secretFile'],
      `the secret has less than ${MIN_SECRET} bytes; make one, for example with: openssl rand -hex 32`,
    );
  const headers = read('headersFile', 'SECRET');
  const ca = read('ca', 'CONFIG');
  if (ca !== null && !url.startsWith('https:'))
    throw file.fail([...path, 'ca'], 'only an https:// address has a certificate');
  return {
    name,
    url,
    template,
    body,
    secret: secret === null ? null : Buffer.from(secret),
    headers:
      headers === null
        ? {}
        : headersOf(linesOf(headers, String(given['headersFile'])), (message) =>
            file.fail([...path, 'headersFile'], message),
          ),
    ca,
    severity: oneOf(file, given['severity'] ?? 'INFO', [...path, 'severity'], severities),
    rules: globs(file, given['rules'], [...path, 'rules']),
    sources: globs(file, given['sources'], [...path, 'sources']),
    on: onOf(file, given['on'], [...path, 'on'], template),
  };
}

/** The template of the user's own. `read`: the file that has it. */
function bodyOf(
  file: ConfigFile,
  given: Readonly<Record<string, unknown>>,
  path: Path,
  read: () => string | null,
): BodyTemplate | null {
  const { body, bodyFile, template, words } = given;
  const at = (setting: string): Path => [...path, setting];
  if (body == null && bodyFile == null) {
    if (words != null) throw file.failKey(at('words'), 'is for `body` or `bodyFile`, and there is none');
    return null;
  }
  if (body != null && bodyFile != null)
    throw file.failKey(at('bodyFile'), 'does not go together with `body`; give one');
  if (template != null)
    throw file.failKey(at('template'), `does not go together with \`${body != null ? 'body' : 'bodyFile'}\`; give one`);
  const replaced = readWords(file, words, at('words'));
  const text = read();
  if (text === null) return compileBody(file, body, at('body'), replaced);
  const named = finish(ConfigFile.of(resolve(dirname(file.name), String(bodyFile)), text, 'BAD_WEBHOOKS'));
  return compileBody(named, named.value, [], replaced);
}

/** Messages do not show it: it may be a secret. */
function urlOf(file: ConfigFile, value: unknown, path: Path): string {
  const right = 'an address like https://example.com/alerts';
  const text = file.text(value, path, right);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) throw file.fail(path, `is not ${right}`);
  if (url.username || url.password)
    throw file.fail(path, 'holds a name or a password; give them as a header, in headersFile');
  if (url.hash) throw file.fail(path, 'ends with a fragment, which is never sent; leave it out');
  return url.href;
}

function oneOf<const Word extends string>(file: ConfigFile, value: unknown, path: Path, words: readonly Word[]): Word {
  const found = words.find((word) => word === value);
  if (found === undefined) throw file.fail(path, `is to be one of ${words.join(', ')}`);
  return found;
}

function globs(file: ConfigFile, value: unknown, path: Path): readonly string[] | null {
  if (value == null) return null;
  const list = file.list(value, path);
  if (list.length < 1 || list.length > MAX_GLOBS)
    throw file.fail(path, `has ${list.length} entries; give 1 to ${MAX_GLOBS}, or leave it out for all`);
  return file.each(list, (glob, i) => {
    const text = file.text(glob, [...path, i], '"shell-*"');
    if (text.length > MAX_GLOB) throw file.fail([...path, i], `has ${text.length} characters; at most ${MAX_GLOB}`);
    compileGlob(text, (message) => {
      throw file.fail([...path, i], message);
    });
    return text;
  });
}

function onOf(file: ConfigFile, value: unknown, path: Path, template: Template): readonly AlertEvent[] {
  const usual: readonly AlertEvent[] = template === 'falcosidekick' ? ['raised'] : ['raised', 'resolved'];
  if (value == null) return usual;
  const list = file.list(value, path);
  if (list.length === 0) throw file.fail(path, `is empty; give at least one of ${events.join(', ')}`);
  const on = file.each(list, (event, i) => oneOf(file, event, [...path, i], events));
  if (template === 'falcosidekick' && on.some((event) => event !== 'raised'))
    throw file.fail(path, 'falcosidekick knows alerts that are raised, and no more; leave it out');
  return on;
}

/** Whether a text matches one of these globs; null matches all. */
export function globMatch(patterns: readonly string[] | null): (text: string | null) => boolean {
  if (patterns === null) return () => true;
  const globs = patterns.map((pattern) => compileGlob(pattern));
  return (text) => text !== null && globs.some((matches) => matches(text));
}
