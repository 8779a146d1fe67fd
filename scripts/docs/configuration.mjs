// docs/configuration.md, from the table of settings in src/options/.

const INTRODUCTION = `# Configuration

<!-- Made by \`npm run docs\` from the table of settings; do not edit. -->

Each setting of \`eunomia serve\` can be given in three ways: as a flag, as an environment variable, or as a key of a configuration file.

\`\`\`sh
eunomia serve --config /etc/eunomia/eunomia.yaml --log-level debug
\`\`\`

A flag takes precedence over the variable, the variable over the file, and the file over the default. One of them
gives the whole value: lists are not merged, so \`--token\` replaces all tokens of \`EUNOMIA_TOKENS\` and of the file
(those of \`tokensFile\` are a setting of their own, and are added). An empty variable counts as none.

- A switch is on with \`--NAME\` and off with \`--no-NAME\`; as a variable it is \`true\` or \`1\`, \`false\` or
  \`0\`; in a file \`true\` or \`false\`.
- A list is given by repeating the flag, with commas in a variable, and as a list in a file.
- A size is written as \`500MiB\` or \`10GiB\`, a time as \`500ms\`, \`5s\`, \`90m\`, \`12h\` or \`30d\`.

## The file

YAML 1.2, or JSON, of at most 1 MiB:

\`\`\`yaml
host: 127.0.0.1
tokensFile: tokens          # beside this file
retention:
  age: 30d
  bytes: 10GiB
limits:
  sessions: 8
  subscriberBytes: 32MiB
\`\`\`

A key with dots in the tables below is nested, as \`limits.sessions\` is here.

- An unknown key, a key that stands there twice, a wrong type or a wrong value stops the start. The message has file,
  line and column of each of them: \`eunomia.yaml:8:3: limits.session: there is no such setting; did you mean
  "sessions"?\`. Values that a flag or a variable replaces are checked too.
- A relative path is relative to the folder of the file (with a flag or variable: to the working directory).
- The file must belong to root or to the user of the server, and others may not write it or a folder above it. With a
  secret in it (marked *secret* below), only its owner and group may read it: \`chmod o= FILE\`. Tokens are better
  kept in files of their own, \`tokensFile\` and \`otlp.headersFile\`, or in variables.
- It is read once, at the start.

\`eunomia replay --port\` takes the flags and variables of *Address and access* and of *Limits*.
`;

/** The whole page, as Markdown. `options`: `settingGroups` of the table, and what tells a setting's variable and default. */
export function configurationPage({ settingGroups, variableOf, defaultTextOf }) {
  const sections = settingGroups.map(
    ({ title, settings }) => `## ${title}

| Flag and variable | Key, for example | Default | What it is |
| --- | --- | --- | --- |
${settings.map((each) => row(each, variableOf(each), defaultTextOf(each))).join('\n')}
`,
  );
  return [INTRODUCTION, ...sections].join('\n');
}

function row(setting, variable, byDefault) {
  const { flag, key, kind, text, secret, example } = setting;
  const argument = kind.placeholder === null ? '' : ` ${kind.placeholder}`;
  const isDirection = setting.defaultText !== undefined && !/^\d/.test(setting.defaultText);
  const cells = [
    `\`--${setting.default === true ? 'no-' : ''}${flag}${argument}\`<br>\`${variable}\``,
    key === null ? '–' : `\`${key}: ${shown(example)}\``,
    byDefault === '' ? '–' : isDirection ? byDefault : `\`${byDefault}\``,
    `${linked(text)}${secret ? '; *secret*' : ''}. Value: ${kind.right}`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function shown(example) {
  if (Array.isArray(example)) return `[${example.map((each) => JSON.stringify(each)).join(', ')}]`;
  return typeof example === 'string' && /[:#[\]{}*]\s|^[*&!]/.test(example) ? JSON.stringify(example) : String(example);
}

/** "(docs/metrics.md)" as a link of a page that lies beside it. */
function linked(text) {
  return text.replace(/\(docs\/(\w+)\.md\)/g, '([$1]($1.md))');
}
