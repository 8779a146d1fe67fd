import { describe, expect, it } from 'vitest';
import { chosenColumns, columnOf, selectionOf, textAt, type TrackerInfo } from './field.js';
import { cellOf, Table } from './format.js';
import { csvCell, csvLine } from '../base/csv.js';
import { visible } from '../base/visible.js';
import { parseSetting, parseTracker, trackerInputs } from './input.js';
import { targetInput } from './target.js';
import { plainOutput } from './output.js';
import { createPrinter } from './printer.js';
import { endpoint } from '../client/remote.js';
import { tableColumns } from './column.js';

function tracker(
  name: string,
  own: Readonly<Record<string, string>>,
  options: Readonly<Record<string, string>> = {},
  columns = Object.keys(own),
): TrackerInfo {
  const shared = {
    tracker: 'String!',
    time: 'DateTime!',
    'process.pid': 'Int!',
    'process.comm': 'String!',
    'container.name': 'String',
    'container.labels': '[Label!]!',
  };
  const fields = Object.entries({ ...shared, ...own }).map(([path, type]) => ({
    path,
    type: { name: type },
    description: '',
    onDemand: false,
  }));
  return {
    name,
    details: columns.map((path) => `[{${path}}]`).join(' '),
    columns,
    eventType: `${name.charAt(0).toUpperCase()}${name.slice(1)}Event`,
    options: Object.entries(options).map(([option, type]) => ({
      name: option,
      type: { name: type },
      description: '',
      default: null,
    })),
    fields,
  };
}

const exec = tracker(
  'exec',
  { errno: 'Errno', args: '[String!]', argsTruncated: 'Boolean', pidNs: 'UInt64!' },
  { failed: 'Boolean' },
  ['errno', 'args'],
);
const open = tracker(
  'open',
  { errno: 'Errno', path: 'String', fd: 'Int' },
  { failedOnly: 'Boolean', writesOnly: 'Boolean' },
);
const tcp = tracker(
  'tcp',
  { tcpOperation: 'TcpOperation!', remotePort: 'Int!' },
  { operations: '[TcpOperation!]', most: 'Int' },
);

describe('a table', () => {
  it('aligns its columns and widens them with what comes', () => {
    const table = new Table(['pid', 'comm'], null);
    expect(
      table.render([
        ['1', 'init'],
        ['1234', 'sh'],
      ]),
    ).toBe('pid   comm\n1     init\n1234  sh\n');
    expect(table.render([['1234567', 'cat']])).toBe('1234567  cat\n');
  });

  it('is cut to the terminal, the widest column first', () => {
    const lines = new Table(['pid', 'path'], 20).render([['12', '/a/very/long/path/indeed']]).split('\n');
    expect(lines).toEqual(['pid  path', '12   /a/very/long/p…', '']);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(20);
  });

  it('shows nothing as a dash', () => {
    expect(new Table(['a', 'b'], null).render([['', 'x']])).toBe('a  b\n-  x\n');
  });

  it('does not let a process drive the terminal', () => {
    expect(visible('a\u001b[2Jb\n\u202ec\u009bd\u200be')).toBe('a\\u001b[2Jb\\u000a\\u202ec\\u009bd\\u200be');
    expect(new Table(['comm'], null).render([['\u001b[31mred']])).not.toContain('\u001b');
  });
});

describe('a cell', () => {
  it.each([
    [null, ''],
    [undefined, ''],
    [0, '0'],
    [false, 'false'],
    [['ls', '-l'], 'ls -l'],
    [['sh', '-c', "echo 'a b'"], "sh -c 'echo '\\''a b'\\'''"],
    [['', 'x'], "'' x"],
    [[{ name: 'app', value: 'web' }], 'app=web'],
    [[{ from: 4, to: 8, count: '1' }], '4..8:1'],
  ])('of %j is %j', (value, text) => expect(cellOf(value)).toBe(text));
});

it('writes rows of RFC 4180, a list as JSON in one field', () => {
  expect(
    csvLine(['plain', 'a,b', 'say "hi"', 'two\nlines', null, 7, ['a', 'b c']].map((value) => csvCell(value, 'TEXT'))),
  ).toBe('plain,"a,b","say ""hi""","two\nlines",,7,"[""a"",""b c""]"\r\n');
});

describe('a tracker argument', () => {
  const inputs = (...texts: string[]): unknown => {
    return trackerInputs(texts.map(parseTracker), [exec, open, tcp]);
  };

  it('becomes the typed input', () => {
    expect(inputs('exec', 'open:failedOnly=true,writesOnly', 'tcp:operations=CONNECT,CLOSE,most=3')).toEqual([
      { exec: {} },
      { open: { failedOnly: true, writesOnly: true } },
      { tcp: { operations: ['CONNECT', 'CLOSE'], most: 3 } },
    ]);
  });

  it('takes options from --set too', () => {
    const requests = [parseTracker('tcp'), parseSetting('tcp.operations=CONNECT,ACCEPT'), parseSetting('tcp.most=1')];
    expect(trackerInputs(requests, [tcp])).toEqual([{ tcp: { operations: ['CONNECT', 'ACCEPT'], most: 1 } }]);
  });

  it.each([
    ['open:failedOnyl', /no option "failedOnyl"; did you mean "failedOnly"/],
    ['open:failedOnly=maybe', /neither true nor false/],
    ['tcp:most=1.5', /no whole number/],
    ['tcp:most', /needs a value/],
  ])('%s is refused with what would be right', (text, message) => expect(() => inputs(text)).toThrow(message));

  it('of --set must be one that runs', () => {
    expect(() => trackerInputs([parseSetting('open.failedOnly=true')], [exec])).toThrow(/not among those to run/);
    expect(() => parseSetting('failedOnly=true')).toThrow(/not like open.failedOnly=true/);
  });
});

describe('the target', () => {
  it('is the whole machine without flags', () => expect(targetInput({ descendants: true })).toBeNull());

  it('joins kinds by AND and values by OR', () => {
    expect(
      targetInput({
        container: ['web*', '0123456789ab'],
        image: ['nginx'],
        label: ['app=a=b', 'tier'],
        pid: ['1', '2'],
        uid: ['0'],
        comm: ['sh'],
        wait: true,
        descendants: false,
      }),
    ).toEqual({
      containers: [
        { name: 'web*', image: 'nginx', labels: [{ name: 'app', value: 'a=b' }, { name: 'tier' }] },
        { id: '0123456789ab', image: 'nginx', labels: [{ name: 'app', value: 'a=b' }, { name: 'tier' }] },
      ],
      waitForContainers: true,
      pids: [1, 2],
      descendants: false,
      uids: [0],
      comms: ['sh'],
    });
  });

  it('refuses what is no number', () => expect(() => targetInput({ pid: ['self'] })).toThrow(/--pid: "self"/));
});

describe('fields', () => {
  it('are selected as nested GraphQL, each once', () => {
    const columns = chosenColumns([exec], ['process.comm', 'args', 'process.pid', 'args']);
    expect(selectionOf(exec, columns, [exec]).fragment).toBe('... on ExecEvent { process { comm pid } args }');
  });

  it('of an object are all that it has', () => {
    expect(chosenColumns([exec], ['pid', 'comm', 'args']).map(({ path }) => path)).toEqual([
      'process.pid',
      'process.comm',
      'args',
    ]);
    const own = { ...exec, fields: [...exec.fields, { path: 'comm', type: { name: 'String' } }] };
    expect(chosenColumns([exec, own], ['comm']).map(({ path }) => path)).toEqual(['comm']);
    expect(chosenColumns([exec], ['labels.com.example.app']).map(({ path }) => path)).toEqual([
      'container.labels.com.example.app',
    ]);
    expect(chosenColumns([exec], ['process']).map(({ path }) => path)).toEqual(['process.pid', 'process.comm']);
  });

  it('of one name and different types do not clash in one document', () => {
    const other = tracker('stat', { path: 'String!' });
    const columns = chosenColumns([open, other], ['path']);
    const selection = selectionOf(open, columns, [open, other]);
    expect(selection.fragment).toBe('... on OpenEvent { open_path: path }');
    expect(selection.read({ open_path: '/x' })).toEqual({ path: '/x' });
  });

  it('reach a label by its name, dots and all', () => {
    const columns = chosenColumns([exec], ['container.labels.com.example.app']);
    const selection = selectionOf(exec, columns, [exec]);
    expect(selection.fragment).toBe('... on ExecEvent { container { labels { name value } } }');
    const event = selection.read({ container: { labels: [{ name: 'com.example.app', value: 'web' }] } });
    expect(event).toEqual({ container: { labels: { 'com.example.app': 'web' } } });
    expect(textAt(event, columnOf('container.labels.com.example.app'))).toBe('web');
    expect(selection.read({ container: null })).toEqual({ container: null });
  });

  it('that no tracker has are refused with a suggestion', () => {
    expect(() => chosenColumns([exec], ['proces.comm'])).toThrow(
      /no field "proces.comm" in exec; did you mean "process.comm"/,
    );
  });
});

describe('the printer', () => {
  const events = [
    {
      __typename: 'ExecEvent',
      time: '2026-01-31T08:15:30.123456789Z',
      process: { pid: 7, comm: 'ls' },
      container: null,
      errno: null,
      args: ['ls', 'a b'],
    },
    {
      __typename: 'OpenEvent',
      time: '2026-01-31T08:15:31.000000000Z',
      process: { pid: 8, comm: 'cat' },
      container: { name: 'web' },
      errno: 'ENOENT',
      path: '/x',
      fd: null,
    },
  ];

  it('prints one nested object a line, with the fields that the tracker has', () => {
    const printer = createPrinter([exec, open], {
      format: 'json',
      fields: ['process.comm', 'container.name', 'args', 'path'],
      terminal: plainOutput(async () => true),
    });
    expect(printer.print(events, { lost: '3' })).toBe(
      '{"gap":{"lost":"3"}}\n{"process":{"comm":"ls"},"container":null,"args":["ls","a b"]}\n' +
        '{"process":{"comm":"cat"},"container":{"name":"web"},"path":"/x"}\n',
    );
  });

  it('prints CSV with dotted headers', () => {
    const printer = createPrinter([exec, open], {
      format: 'csv',
      fields: ['process.pid', 'container.name', 'args', 'path'],
      terminal: plainOutput(async () => true),
    });
    expect(printer.head + printer.print(events)).toBe(
      'process.pid,container.name,args,path\r\n7,,"[""ls"",""a b""]",\r\n8,web,,/x\r\n',
    );
  });

  it('prints a line for each event, with a clock, for people', () => {
    const printer = createPrinter([exec], { format: 'table', fields: null, terminal: plainOutput(async () => true) });
    expect(printer.print(events.slice(0, 1))).toBe(
      "TIME (UTC)    CONTAINER  PID  COMM  EVENT  DETAILS\n08:15:30.123  -          7    ls    exec   ls 'a b'\n",
    );
  });

  it("shows each tracker's own columns, after when, where and who", () => {
    expect(tableColumns([exec, open]).map(({ path }) => path)).toEqual([
      'time',
      'tracker',
      'container.name',
      'process.pid',
      'process.comm',
      'errno',
      'args',
      'path',
      'fd',
    ]);
  });
});

describe("the server's address", () => {
  it('gets the path of the API', () =>
    expect(endpoint('http://localhost:4000').href).toBe('http://localhost:4000/graphql'));
  it('keeps a path of its own', () =>
    expect(endpoint('https://host/eunomia/graphql').href).toBe('https://host/eunomia/graphql'));
  it.each(['localhost:4000', 'ftp://host', ''])('%j is refused', (text) =>
    expect(() => endpoint(text)).toThrow(/no URL like/),
  );
});
