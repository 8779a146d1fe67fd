import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { configurationPage } from '../../scripts/docs/configuration.mjs';
import { programOfNobody } from '../../test/support/program.js';
import { defaultConfig, type Config } from '../base/config.js';
import { EunomiaError } from '../base/errors.js';
import { root } from '../base/paths.js';
import { UsageError } from '../base/usage.js';
import { addSettings, givenFlags } from '../cli/flags.js';
import { configOf, readSources } from './config.js';
import { defaultTextOf, variableOf, type AnySetting } from './setting.js';
import { allSettings, settingGroups } from './table.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-options-'));
const file = join(folder, 'eunomia.yaml');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => rmSync(file, { force: true }));

type Variables = Readonly<Record<string, string>>;

/** What `eunomia serve ARGS` is configured with. */
function configure(args: readonly string[] = [], variables: Variables = {}): Config {
  const command = new Command('serve').exitOverride().configureOutput({ writeErr: () => undefined });
  addSettings(command, settingGroups);
  command.parse([...args], { from: 'user' });
  return configOf(readSources(givenFlags(command, allSettings), variables));
}

function write(text: string, mode = 0o600): readonly string[] {
  writeFileSync(file, text);
  chmodSync(file, mode);
  return ['--config', file];
}

function failure(work: () => unknown): { readonly message: string; readonly error: unknown } {
  try {
    work();
  } catch (error) {
    return { message: error instanceof Error ? error.message.replaceAll(`${folder}/`, '') : '', error };
  }
  throw new Error('nothing was refused');
}

/** Of a token: long enough. */
function secretOf(letter: string): string {
  return letter.repeat(16);
}

/** Settings that make sense only beside others. */
const companions: Readonly<Record<string, Variables>> = {
  'tls-cert': { EUNOMIA_TLS_KEY: 'other.pem' },
  'tls-key': { EUNOMIA_TLS_CERT: 'other.pem' },
  'trusted-documents-only': { EUNOMIA_TRUSTED_DOCUMENTS: 'documents.json' },
  'allow-origin': { EUNOMIA_TOKENS: `viewer:${secretOf('a')}` },
  'influx-password': { EUNOMIA_INFLUX_USER: 'somebody' },
};

function companionsOf({ flag }: AnySetting): Variables {
  const url = /^(influx|otlp)-(?!url)/.exec(flag)?.[1];
  return {
    ...(url === undefined ? {} : { [`EUNOMIA_${url.toUpperCase()}_URL`]: 'https://192.0.2.1' }),
    ...companions[flag],
  };
}

/** An example as a flag and as a variable have it; a file names paths relative to itself. */
function textOf({ kind, example }: AnySetting): readonly string[] {
  const texts = (Array.isArray(example) ? example : [example]).map(String);
  return kind.right.startsWith('a path') ? texts.map((text) => join(folder, text)) : texts;
}

function argumentsOf(setting: AnySetting): readonly string[] {
  const { flag, kind, example } = setting;
  if (kind.placeholder === null) return [example === true ? `--${flag}` : `--no-${flag}`];
  return textOf(setting).flatMap((text) => [`--${flag}`, text]);
}

/** `{ limits: { sessions: 8 } }` of "limits.sessions". */
function nested(key: string, value: unknown): unknown {
  return key.split('.').reduceRight<unknown>((inner, part) => ({ [part]: inner }), value);
}

const inFile = allSettings.filter((each): each is AnySetting & { readonly key: string } => each.key !== null);

describe('each setting', () => {
  beforeEach(() => {
    writeFileSync(join(folder, 'tokens'), 'viewer:from-a-file-of-ours\n', { mode: 0o600 });
    writeFileSync(join(folder, 'otlp-headers'), 'X-Tenant: a\n', { mode: 0o600 });
  });

  it.each(inFile.map((setting): [string, typeof setting] => [setting.flag, setting]))(
    'configures the same as a flag, a variable and a key: %s',
    (_flag, setting) => {
      const others = companionsOf(setting);
      const asFlag = configure(argumentsOf(setting), others);
      const asVariable = configure([], { ...others, [variableOf(setting)]: textOf(setting).join(',') });
      const asKey = configure(write(stringify(nested(setting.key, setting.example))), others);
      expect(asVariable).toEqual(asFlag);
      expect(asKey).toEqual(asFlag);
      const without = setting.flag in { 'tls-cert': 1, 'tls-key': 1 } ? {} : others;
      expect(configure([], without)).not.toEqual(asFlag);
    },
  );

  it.each(inFile.map((setting): [string, typeof setting] => [setting.key, setting]))(
    'of a wrong type is an error with line and column: %s',
    (key, setting) => {
      const depth = key.split('.').length - 1;
      const indent = '  '.repeat(depth);
      const last = key.slice(key.lastIndexOf('.') + 1);
      const text =
        depth === 0 ? `# a comment\n${last}: { a: b }\n` : `${key.split('.')[0]}:\n${indent}${last}: { a: b }\n`;
      const { message, error } = failure(() => configure(write(text), companionsOf(setting)));
      expect(message).toContain(`eunomia.yaml:2:${indent.length + last.length + 3}: ${key}: `);
      expect(error).toBeInstanceOf(EunomiaError);
      expect(error).toMatchObject({
        code: 'BAD_CONFIG',
        details: { file, line: 2, column: indent.length + last.length + 3 },
      });
    },
  );

  it('has a flag, a variable and a key of its own', () => {
    for (const names of [
      allSettings.map(({ flag }) => flag),
      allSettings.map(variableOf),
      inFile.map(({ key }) => key),
    ])
      expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  it('is a flag of serve, which shows it with its variable and its default', () => {
    const serve = programOfNobody().commands.find((command) => command.name() === 'serve');
    const options = new Map(serve?.options.map((option) => [option.long?.replace(/^--(no-)?/, ''), option]));
    for (const setting of allSettings) {
      const { description } = options.get(setting.flag) ?? { description: `no --${setting.flag}` };
      expect(description).toContain(`env: ${variableOf(setting)}`);
    }
    // Lines are wrapped.
    const help = serve?.helpInformation().replaceAll(/\s+/g, ' ');
    expect(help).toContain('--max-sessions <number> sessions that may run at once (default: 64,');
  });

  it('is what docs/configuration.md shows (npm run docs writes it)', () => {
    expect(readFileSync(join(root, 'docs/configuration.md'), 'utf8')).toBe(
      configurationPage({ settingGroups, variableOf, defaultTextOf }),
    );
  });

  it('has the default of the configuration', () => {
    expect(configure()).toEqual({ ...defaultConfig, dataDirectory: configure().dataDirectory });
  });
});

describe('the order of sources', () => {
  it('is flag, variable, file, default', () => {
    const args = write('limits:\n  sessions: 3\n  depth: 4\n  cost: 200\n');
    const { limits } = configure([...args, '--max-sessions', '5'], {
      EUNOMIA_MAX_SESSIONS: '6',
      EUNOMIA_MAX_DEPTH: '7',
    });
    expect(limits).toEqual({ ...defaultConfig.limits, sessions: 5, depth: 7, cost: 200 });
  });

  it('takes an empty variable for none', () => {
    expect(configure(write('port: 5'), { EUNOMIA_PORT: ' ' }).port).toBe(5);
  });

  it('does not merge lists', () => {
    const [a, b, c, d, g] = ['a', 'b', 'c', 'd', 'g'].map(secretOf);
    const args = write(`tokens: [viewer:${a}, admin:${b}]\nengines: [none]\n`);
    const secrets = (config: Config): readonly string[] => config.tokens.map(({ secret }) => secret);
    expect(secrets(configure(args))).toEqual([a, b]);
    expect(secrets(configure(args, { EUNOMIA_TOKENS: `operator:${c}, viewer:${d}` }))).toEqual([c, d]);
    expect(
      secrets(
        configure([...args, '--token', `viewer:${a},f`, '--token', `viewer:${g}`], { EUNOMIA_TOKENS: `admin:${c}` }),
      ),
    ).toEqual([`${a},f`, g]);
    expect(configure([...args, '--engine', '/run/a.sock,/run/b.sock']).engines).toEqual(['/run/a.sock', '/run/b.sock']);
  });

  it('adds the tokens of a tokens file, which are a setting of their own', () => {
    writeFileSync(join(folder, 'tokens'), `# ours\n\noperator:c:${secretOf('d')}\n`, { mode: 0o600 });
    expect(configure([...write('tokensFile: tokens'), '--token', `viewer:${secretOf('a')}`]).tokens).toEqual([
      { role: 'viewer', secret: secretOf('a') },
      { role: 'operator', secret: `c:${secretOf('d')}` },
    ]);
  });

  it('lets a flag turn off what a file or a variable turns on', () => {
    const args = write('insecureNoAuth: true\notlp: { url: "http://c", alerts: false }\n');
    expect(configure(args)).toMatchObject({ insecureNoAuth: true, otlp: { alerts: false } });
    expect(configure([...args, '--no-insecure-no-auth', '--otlp-alerts'])).toMatchObject({
      insecureNoAuth: false,
      otlp: { alerts: true },
    });
    expect(configure(args, { EUNOMIA_INSECURE_NO_AUTH: 'FALSE', EUNOMIA_OTLP_ALERTS: '1' })).toMatchObject({
      insecureNoAuth: false,
      otlp: { alerts: true },
    });
  });

  it('resolves paths of a file from its folder', () => {
    const { plugins, dataDirectory } = configure(write('plugins: mine\ndataDir: none\n'));
    expect([plugins, dataDirectory]).toEqual([join(folder, 'mine'), null]);
    expect(configure(['--plugins', 'mine'])).toMatchObject({ plugins: 'mine' });
  });
});

describe('a configuration file', () => {
  it('may be named by a variable, be empty, and be JSON', () => {
    write('{ "limits": { "sessions": 3 } }');
    expect(configure([], { EUNOMIA_CONFIG: file }).limits.sessions).toBe(3);
    expect(configure(write('# nothing yet\n'))).toEqual(configure());
  });

  it.each([
    [
      'an unknown key',
      'limits:\n  session: 5',
      '2:3: limits.session: there is no such setting; did you mean "sessions"?',
    ],
    ['an unknown key at the top', 'prot: 5', '1:1: prot: there is no such setting; did you mean "port"?'],
    [
      'the name of a flag',
      'host: a\nmax-sessions: 5',
      '2:1: max-sessions: there is no such setting; did you mean "limits.sessions"?',
    ],
    ['a key twice', 'port: 1\nport: 2', '2:1: Map keys must be unique'],
    ['a mapping in place of a value', 'port: {}', '1:7: port: {} is not a whole number from 0 to 65535'],
    ['a value in place of a mapping', 'tls: a.pem', '1:6: tls: is not a mapping with cert, key'],
    ['a list in place of a file', '- port: 1', '1:1: is not a mapping with host, '],
    ['a key without a value', 'port:\nhost: a', '1:1: port: has no value; give one, or leave the key out'],
    ['a text in place of a number', 'port: "80"', '1:7: port: "80" is not a whole number'],
    ['a number beyond its range', 'port: 65536', '1:7: port: 65536 is not a whole number from 0 to 65535'],
    ['a word in place of a switch', 'requireHistory: yes', '1:17: requireHistory: "yes" is not true or false'],
    ['an unknown word', 'logLevel: loud', '1:11: logLevel: "loud" is not one of trace, debug,'],
    ['a time without a unit', 'retention: { age: 30 }', '1:19: retention.age: 30 is not a time from 1m to'],
    [
      'a size that is too small',
      'retention: { bytes: 1MiB }',
      '1:21: retention.bytes: "1MiB" is not a size of at least 16MiB',
    ],
    ['no list', 'engines: none', '1:10: engines: is not a list, each'],
    [
      'a wrong element of a list',
      'engines:\n  - /run/a.sock\n  - "http://"',
      `3:5: engines[1]: "http://" is no engine's address`,
    ],
    [
      'a token without a role',
      `tokens: [viewer:${secretOf('a')}, hunter2]`,
      '1:35: tokens[1]: a token is viewer:SECRET',
    ],
    [
      'a password that is a number',
      'influx: { password: 12345 }',
      '1:21: influx.password: is not a text that is not empty; put',
    ],
    ['a tag', 'host: !mine a', '1:7: Unresolved tag: !mine'],
    ['no YAML', 'limits: [', '1:10: '],
    [
      'settings that exclude each other',
      `insecureNoAuth: true\ntokens: [viewer:${secretOf('a')}]`,
      '1:17: insecureNoAuth: turns tokens off',
    ],
    [
      'pages that may use it without a token',
      'allowedOrigins: [https://a.example]',
      '1:17: allowedOrigins: needs --token or --tokens-file',
    ],
    [
      'an address in place of an origin',
      `tokens: [viewer:${secretOf('a')}]\nallowedOrigins: [https://A.example/app/]`,
      '2:18: allowedOrigins[0]: "https://A.example/app/" is not an origin as browsers send it, for example ' +
        'https://app.example.com or http://localhost:5173; did you mean https://a.example?',
    ],
    [
      'all origins',
      `tokens: [viewer:${secretOf('a')}]\nallowedOrigins: ["*"]`,
      '2:18: allowedOrigins[0]: "*" is not an origin as browsers send it, for example',
    ],
    [
      'origins by a wildcard',
      'allowedOrigins: ["https://*.example.com"]',
      '1:18: allowedOrigins[0]: "https://*.example.com" has a wildcard, and would let in pages of anybody',
    ],
    [
      'two origins in one',
      'allowedOrigins: ["https://a.example,https://b.example"]',
      '1:18: allowedOrigins[0]: "https://a.example,https://b.example" is not an origin as browsers send it, for example ' +
        'https://app.example.com or http://localhost:5173',
    ],
    [
      'an origin twice',
      `tokens: [viewer:${secretOf('a')}]\nallowedOrigins: [https://a.example, https://a.example]`,
      '2:17: allowedOrigins: has https://a.example twice',
    ],
    [
      'a token that can be guessed',
      'tokens: [viewer:hunter2]',
      '1:10: tokens[0]: the secret of a token could be guessed: give it at least 16 characters; make one, for example with: ' +
        'openssl rand -hex 32',
    ],
    [
      'a token that no header can have',
      'tokens: [viewer:hunter2-und-Umläute]',
      '1:10: tokens[0]: the secret of a token has characters that no header can have',
    ],
    [
      'two tokens of one secret',
      `tokens: [viewer:${secretOf('a')}, admin:${secretOf('a')}]`,
      '1:9: tokens: has one secret for viewer and for admin; give each a secret of its own',
    ],
    ['one of a pair', 'host: a\ntls: { cert: a.pem }', '2:14: tls.cert: --tls-cert and --tls-key belong together'],
    ['history that is switched off', 'dataDir: none\nrequireHistory: true', '2:17: requireHistory: is of the history'],
    ['a database without an address', 'influx:\n  bucket: b', '2:11: influx.bucket: needs --influx-url as well'],
  ])('with %s is refused at its place', (_what, text, message) => {
    const { message: told } = failure(() => configure(write(text)));
    expect(told.replace('eunomia.yaml:', '')).toContain(message);
    expect(told).not.toMatch(/hunter2|12345/);
  });

  const told = (text: string): string[] =>
    failure(() => configure(write(text)))
      .message.split('\n')
      .map((line) => line.replace('eunomia.yaml:', ''));

  it('with several errors tells all of them, each at its place', () => {
    const text =
      'port: x\nlimits:\n  session: 5\n  depth: 0\nengines:\n  - "http://"\n  - /run/a.sock\n  - "ftp://x"\nhost:\ntls: a.pem\n';
    const lines = told(text);
    [
      '1:7: port: "x" is not a whole number',
      '3:3: limits.session: there is no such setting',
      '4:10: limits.depth: 0 is not a whole number',
      `6:5: engines[0]: "http://" is no engine's address`,
      `8:5: engines[2]: "ftp://x" is no engine's address`,
      '9:1: host: has no value',
      '10:6: tls: is not a mapping with cert, key',
    ].forEach((line, i) => expect(lines[i]).toContain(line));
    expect(lines).toHaveLength(7);
    expect(failure(() => configure(write(text))).error).toMatchObject({
      code: 'BAD_CONFIG',
      details: { file, line: 1, column: 7 },
    });
  });

  it('tells all keys that are there twice, and all settings that exclude others', () => {
    expect(told('host: a\nhost: b\nport: 1\nport: 2\n')).toEqual([
      '2:1: Map keys must be unique',
      '4:1: Map keys must be unique',
    ]);
    expect(told('tls: { cert: a.pem }\notlp: { alerts: false }\ndataDir: none\nrequireHistory: true\n')).toEqual([
      expect.stringContaining('1:14: tls.cert: --tls-cert and --tls-key belong together'),
      expect.stringContaining('2:17: otlp.alerts: needs --otlp-url as well'),
      expect.stringContaining('4:17: requireHistory: is of the history'),
    ]);
  });

  it('tells what is wrong with it and with flags at once', () => {
    const { message, error } = failure(() => configure([...write('tls: { cert: a.pem }'), '--otlp-token', 'hunter2']));
    expect(message.split('\n')).toEqual([
      expect.stringContaining('1:14: tls.cert: --tls-cert and --tls-key belong together'),
      '--otlp-token: needs --otlp-url as well',
    ]);
    expect(error).toBeInstanceOf(UsageError);
  });

  it('of which everything is wrong tells no more than one can read', () => {
    const lines = told(Array.from({ length: 80 }, (_, i) => `wrong${i}: 1\n`).join(''));
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe('and 30 more errors');
  });

  it('is checked also where a flag replaces its value', () => {
    expect(failure(() => configure([...write('port: x'), '--port', '5'])).message).toContain('eunomia.yaml:1:7: port:');
  });

  it('that others could write is refused', () => {
    expect(failure(() => configure(write('port: 5', 0o666))).message).toMatch(/--config .*writable by others/);
    expect(configure(write('port: 5', 0o644)).port).toBe(5);
  });

  it.each(inFile.filter(({ secret }) => secret).map((setting): [string, typeof setting] => [setting.key, setting]))(
    'with a secret that everybody may read is refused: %s',
    (key, { example }) => {
      const { message } = failure(() => configure(write(stringify(nested(key, example)), 0o644)));
      expect(message).toMatch(/--config eunomia.yaml: is open to everybody; run: chmod o=/);
    },
  );

  it.runIf(process.geteuid?.() === 0)('that belongs to somebody else is refused', async () => {
    const { chown } = await import('node:fs/promises');
    const args = write('port: 5');
    await chown(file, 65_534, 65_534);
    expect(failure(() => configure(args)).message).toMatch(/belongs to the user 65534/);
  });

  it('that is not there is told with the setting that names it', () => {
    expect(failure(() => configure(['--config', file])).message).toMatch(/^--config .*cannot be read: ENOENT/);
    expect(failure(() => configure([], { EUNOMIA_CONFIG: file })).message).toMatch(/^EUNOMIA_CONFIG .*ENOENT/);
  });
});

describe('flags and variables', () => {
  it.each([
    [['--port', 'x'], {}, '--port: "x" is not a whole number from 0 to 65535'],
    [[], { EUNOMIA_PORT: '70000' }, 'EUNOMIA_PORT: "70000" is not a whole number'],
    [[], { EUNOMIA_REQUIRE_HISTORY: 'please' }, 'EUNOMIA_REQUIRE_HISTORY: "please" is not true or false'],
    [['--retention-age', '0d'], {}, '--retention-age: "0d" is not a time from 1m'],
    [['--log-level', 'loud'], {}, '--log-level: "loud" is not one of trace'],
    [['--engine', 'none', '--engine', '/run/a.sock'], {}, '--engine: "none" excludes other engines'],
    [['--tls-cert', 'a.pem'], {}, 'belong together: give both or neither'],
    [['--data-dir', 'none', '--retention-age', '30d'], {}, '--retention-age: is of the history'],
    [['--influx-token', 'hunter2'], {}, '--influx-token: needs --influx-url as well'],
    [['--influx-url', 'db:8086'], {}, 'give an address like http'],
    [['--influx-url', 'http://me:hunter2@db:8086'], {}, 'holds a name or a password'],
    [['--influx-url', 'http://db', '--influx-ca', 'a.pem'], {}, 'only an https'],
    [['--influx-url', 'http://db', '--influx-password', 'hunter2'], {}, 'needs --influx-user'],
    [['--influx-url', 'http://db', '--data-dir', 'none'], {}, 'needs --influx-spool'],
    [['--token', 'root:hunter2'], {}, '--token: a token is viewer:SECRET, operator:SECRET or admin:SECRET'],
    [[], { EUNOMIA_TOKENS: `viewer:${secretOf('a')},hunter2` }, 'EUNOMIA_TOKENS: a token is viewer:SECRET'],
    [
      ['--insecure-no-auth'],
      { EUNOMIA_TOKENS: 'viewer:hunter2-hunter2-hunter2' },
      '--insecure-no-auth: turns tokens off',
    ],
  ])('%j %j are refused, and repeat no secret', (args, variables, message) => {
    const { message: told, error } = failure(() => configure(args, variables));
    expect(told).toContain(message);
    expect(told).not.toContain('hunter2');
    expect(error).toBeInstanceOf(UsageError);
  });

  it.each([
    ['true', true],
    ['1', true],
    ['TRUE', true],
    ['false', false],
    ['0', false],
    ['', false],
  ])('takes %j in a variable of a switch for %j', (value, on) => {
    expect(configure([], { EUNOMIA_INSECURE_NO_AUTH: value }).insecureNoAuth).toBe(on);
    expect(configure(['--insecure-no-auth'], { EUNOMIA_INSECURE_NO_AUTH: value }).insecureNoAuth).toBe(true);
  });

  it('do not mind of another server in the environment that the history is off', () => {
    expect(configure(['--data-dir', 'none'], { EUNOMIA_RETENTION_AGE: '30d' }).dataDirectory).toBeNull();
  });

  it('keep a tokens file that everybody may read out, and name the line that is wrong', () => {
    const tokens = join(folder, 'open');
    writeFileSync(tokens, `viewer:${secretOf('a')}\nhunter2\n`);
    chmodSync(tokens, 0o644);
    expect(() => configure(['--tokens-file', tokens])).toThrow(/--tokens-file: .*open to everybody; run: chmod o=/);
    chmodSync(tokens, 0o600);
    expect(failure(() => configure(['--tokens-file', tokens])).message).toBe(
      'open, line 2: a token is viewer:SECRET, operator:SECRET or admin:SECRET',
    );
  });

  it('give an InfluxDB its defaults from its address alone', () => {
    expect(configure(['--influx-url', 'http://db:8086/', '--data-dir', '/data']).influx).toMatchObject({
      url: 'http://db:8086',
      version: null,
      bucket: 'eunomia',
      spoolDirectory: '/data/influx-spool',
      spoolDrop: 'OLDEST',
    });
    expect(configure(['--data-dir', '/data']).influx).toBeNull();
  });
});
