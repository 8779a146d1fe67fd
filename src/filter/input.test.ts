import { getNamedType, isInputObjectType, isListType, isObjectType } from 'graphql';
import { describe, expect, it } from 'vitest';
import { fieldType } from '../event/scalar.js';
import { contractSchema } from '../api/graphql/schema.js';
import type { TraceEvent } from '../event/event.js';
import { FilterFields, filterOf } from './index.js';
import { eventTypeName } from '../base/names.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { eventWith } from '../../test/support/event.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const fields = new FilterFields(schema, catalog);
const trackers = fields.trackers;

const common = {
  time: '2026-01-31T08:15:30.000000000Z',
  bootNs: '9007199254740993',
  cgroupId: '4242',
  process: {
    pid: 7,
    tid: 8,
    ppid: 1,
    uid: 4294967294,
    gid: 0,
    comm: 'nginx',
    startTime: '2026-01-31T08:00:00.000000000Z',
    mountNs: '4026531841',
  },
  container: {
    id: 'ab12',
    name: 'web-1',
    image: 'nginx:1.27',
    labels: { tier: 'web' },
    state: 'RUNNING',
    ips: ['10.0.0.2'],
    cgroupId: 4242,
    pid: null,
  },
};
const open = eventWith('open', {
  ...common,
  errno: null,
  fd: 3,
  path: '/etc/passwd',
  resolved: null,
  flags: ['O_RDWR', 'O_CREAT'],
  mode: 420,
});
const failed = eventWith('open', {
  ...common,
  errno: 'ENOENT',
  fd: null,
  path: null,
  resolved: null,
  flags: [],
  mode: null,
  container: null,
});
const exec = eventWith('exec', {
  ...common,
  errno: null,
  args: ['sh', '-c', 'true'],
  argsTruncated: false,
});
const tcp = eventWith('tcp', {
  ...common,
  tcpOperation: 'CONNECT',
  errno: null,
  localAddress: '10.1.2.3',
  localPort: 40000,
  remoteAddress: '2001:db8::1',
  remotePort: 443,
  sentBytes: null,
});
const syscall = eventWith('syscall', { ...common, name: 'openat', ret: '-2', errno: 'ENOENT' });

const matches = (where: unknown, event: TraceEvent): boolean =>
  filterOf(where, fields, trackers)?.matches(event) ?? true;

describe('a filter in the form of the schema', () => {
  it.each<[string, unknown, TraceEvent, boolean]>([
    ['everything is empty', {}, open, true],
    ['objects are joined by AND', { process: { pid: { eq: 7 }, comm: { eq: 'sh' } } }, open, false],
    ['operators are joined by AND', { process: { pid: { gt: 6, lt: 8 } } }, open, true],
    ['eq', { process: { comm: { eq: 'nginx' } } }, open, true],
    ['ne', { process: { comm: { ne: 'nginx' } } }, open, false],
    ['in', { process: { comm: { in: ['sh', 'nginx'] } } }, open, true],
    ['in, of many', { process: { pid: { in: [1, 2, 3, 4, 5, 6, 7, 8, 9] } } }, open, true],
    ['lt', { process: { pid: { lt: 7 } } }, open, false],
    ['lte', { process: { pid: { lte: 7 } } }, open, true],
    ['gt', { process: { pid: { gt: 7 } } }, open, false],
    ['gte', { process: { pid: { gte: 7 } } }, open, true],
    ['prefix', { open: { path: { prefix: '/etc/' } } }, open, true],
    ['suffix', { open: { path: { suffix: 'wd' } } }, open, true],
    ['contains', { open: { path: { contains: 'c/p' } } }, open, true],
    ['glob', { open: { path: { glob: '/e?c/[o-q]*{d,x}' } } }, open, true],
    ['glob, of the whole text', { open: { path: { glob: '/etc' } } }, open, false],
    ['regex, anywhere', { open: { path: { regex: 'pa[s]{2}wd$' } } }, open, true],
    ['a user beyond Int', { process: { uid: { gt: 4294967293 } } }, open, true],
    ['uint64, exactly', { bootNs: { gt: '9007199254740992' } }, open, true],
    ['uint64, by length', { bootNs: { lt: '10000000000000000' } }, open, true],
    ['uint64 that is a number in the event', { container: { cgroupId: { eq: '4242' } } }, open, true],
    ['int64 below 0', { syscall: { ret: { lt: '0', gt: '-3' } } }, syscall, true],
    ['int64, by length', { syscall: { ret: { gt: -10 } } }, syscall, true],
    ['time', { time: { gte: '2026-01-31T09:15:30+01:00', lt: '2026-01-31T08:15:30.000000001Z' } }, open, true],
    ['boolean', { exec: { argsTruncated: { eq: false } } }, exec, true],
    ['errno', { open: { errno: { in: ['ENOENT', 'EACCES'] } } }, failed, true],
    ['errno by another name', { open: { errno: { eq: '2' } } }, failed, true],
    ['enum', { tcp: { tcpOperation: { ne: 'CLOSE' } } }, tcp, true],
    ['an address, however written', { tcp: { localAddress: { eq: '::ffff:10.1.2.3' } } }, tcp, true],
    ['an address in another notation', { tcp: { remoteAddress: { in: ['2001:DB8:0::1'] } } }, tcp, true],
    ['cidr', { tcp: { localAddress: { cidr: ['192.168.0.0/16', '10.0.0.0/8'] } } }, tcp, true],
    ['cidr, one', { tcp: { localAddress: { cidr: '10.2.0.0/16' } } }, tcp, false],
    ['cidr of the other family', { tcp: { remoteAddress: { cidr: ['0.0.0.0/0'] } } }, tcp, false],
    ['cidr of IPv6', { tcp: { remoteAddress: { cidr: ['2001:db8::/32'] } } }, tcp, true],
    ['has', { open: { flags: { has: 'O_CREAT' } } }, open, true],
    ['has, exactly', { open: { flags: { has: 'O_CRE' } } }, open, false],
    ['any: all of the same text', { exec: { args: { any: { prefix: '-', suffix: 'h' } } } }, exec, false],
    ['length', { exec: { args: { length: { gte: 3, ne: 4 } } } }, exec, true],
    ['joined', { exec: { args: { joined: { contains: ' ', ne: 'x' } } } }, exec, true],
    ['joined, an empty list', { open: { flags: { joined: { eq: '' } } } }, failed, true],
    ['a label', { container: { labels: [{ name: 'tier', value: { glob: 'w*' } }] } }, open, true],
    ['a label that must be there', { container: { labels: [{ name: 'tier' }, { name: 'other' }] } }, open, false],
    ['a label that every object inherits', { container: { labels: [{ name: 'constructor' }] } }, open, false],
    ['a container', { container: { isNull: false, state: { eq: 'RUNNING' } } }, open, true],
    ['the host', { container: { isNull: true } }, failed, true],
    ['nothing is known of the host', { container: { name: { ne: 'web-1' } } }, failed, false],
    ['null is not equal', { open: { errno: { eq: 'ENOENT' } } }, open, false],
    ['null is not different either', { open: { errno: { ne: 'ENOENT' } } }, open, false],
    ['null is null', { open: { errno: { isNull: true } } }, open, true],
    ['not null', { open: { path: { isNull: false } } }, failed, false],
    ['not is plain negation', { not: { open: { path: { prefix: '/etc' } } } }, failed, true],
    ['not takes events of others', { not: { open: { path: { prefix: '/etc' } } } }, exec, true],
    ['a section asks for its tracker', { exec: {} }, open, false],
    ['an empty section', { open: {} }, open, true],
    ['two sections', { exec: {}, open: {} }, open, false],
    ['or of two sections', { or: [{ exec: {} }, { open: { fd: { eq: 3 } } }] }, open, true],
    ['tracker', { tracker: { in: ['exec', 'open'] } }, open, true],
    ['tracker by a glob', { tracker: { glob: 'e*' } }, open, false],
    ['expr is joined by AND', { expr: 'process.pid == 7', open: { fd: { eq: 4 } } }, open, false],
    [
      'one event is enough for two conditions of a field',
      { and: [{ process: { pid: { gt: 1 } } }, { process: { pid: { ne: 7 } } }] },
      open,
      false,
    ],
  ])('%s', (_what, where, event, expected) => expect(matches(where, event)).toBe(expected));

  it('is null when it takes everything', () => {
    expect(filterOf(null, fields, trackers)).toBeNull();
    expect(filterOf({}, fields, trackers)).toBeNull();
    expect(filterOf({ process: { pid: { isNull: false } } }, fields, trackers)).toBeNull();
    expect(filterOf({ open: {} }, fields, ['open'])).toBeNull();
  });

  it.each<[unknown, string]>([
    [{ proces: { pid: { eq: 1 } } }, 'where.proces: there is no such field; did you mean "process"?'],
    [
      { parentComm: { eq: 'x' } },
      "where.parentComm: there is no such field; it is a tracker's own: write exec: { parentComm: … }",
    ],
    [{ open: { pth: { eq: 'x' } } }, 'where.open.pth: there is no such field; did you mean "path"?'],
    [{ process: { pdi: { eq: 1 } } }, 'where.process.pdi: there is no such field; did you mean "pid"'],
    [{ process: {} }, 'where.process: is empty; give at least one field'],
    [{ process: { pid: {} } }, 'where.process.pid: is empty; give at least one of eq, ne, in'],
    [{ process: { pid: { equal: 1 } } }, 'where.process.pid.equal: IntFilter has no "equal"'],
    [
      { process: { pid: { prefix: 'a' } } },
      'where.process.pid.prefix: IntFilter has no "prefix"; it has eq, ne, in, lt',
    ],
    [{ open: { path: { gt: 'a' } } }, 'where.open.path.gt: StringFilter has no "gt"'],
    [
      { process: { pid: { eq: '1' } } },
      'where.process.pid.eq: needs a whole number from -2147483648 to 2147483647; it is "1"',
    ],
    [{ process: { pid: { eq: 1.5 } } }, 'where.process.pid.eq: needs a whole number'],
    [{ process: { pid: 7 } }, 'where.process.pid: needs an object; it is 7'],
    [{ process: { pid: { in: [] } } }, 'where.process.pid.in: is empty, which would match nothing'],
    [{ process: { pid: { in: 1 } } }, 'where.process.pid.in: needs a list; it is 1'],
    [{ process: { pid: { in: [1, 'x'] } } }, 'where.process.pid.in[1]: needs a whole number'],
    [
      { process: { pid: { in: Array.from({ length: 1001 }, (_, i) => i) } } },
      'where.process.pid.in: has 1001 values; at most 1000',
    ],
    [
      { process: { pid: { gt: 5, lt: 3 } } },
      'where.process.pid: no value is in the range: more than 5 and less than 3',
    ],
    [{ process: { pid: { gt: 5, lt: 6 } } }, 'where.process.pid: no value is in the range'],
    [{ process: { pid: { gte: 5, lte: 4 } } }, 'where.process.pid: no value is in the range'],
    [
      { and: [{ process: { pid: { gt: 5 } } }, { process: { pid: { lt: 3 } } }] },
      'where.and: no value is in the range',
    ],
    [{ bootNs: { gt: '10', lt: '9' } }, 'where.bootNs: no value is in the range'],
    [{ time: { gt: '2026-01-31T08:00:00Z', lte: '2026-01-31T08:00:00Z' } }, 'where.time: no value is in the range'],
    [{ exec: { args: { length: { gt: 3, lt: 3 } } } }, 'where.exec.args.length: no value is in the range'],
    [
      { cgroupId: { eq: '18446744073709551616' } },
      'where.cgroupId.eq: needs a whole number from 0 to 18446744073709551615',
    ],
    [{ cgroupId: { eq: '-1' } }, 'where.cgroupId.eq: needs a whole number from 0'],
    [{ cgroupId: { eq: 2 ** 60 } }, 'where.cgroupId.eq: needs a whole number'],
    [
      { syscall: { ret: { eq: '9223372036854775808' } } },
      'where.syscall.ret.eq: needs a whole number from -9223372036854775808 to 9223372036854775807',
    ],
    [{ process: { uid: { eq: -1 } } }, 'where.process.uid.eq: needs a whole number from 0 to 4294967295; it is -1'],
    [
      { time: { gt: 'yesterday' } },
      'where.time.gt: needs a time, for example "2026-01-31T08:15:30.123456789Z"; it is "yesterday"',
    ],
    [{ time: { gt: '2026-02-31T00:00:00Z' } }, 'where.time.gt: needs a time'],
    [{ open: { path: { prefix: '' } } }, 'where.open.path.prefix: is empty, which every text matches'],
    [{ open: { path: { eq: '\ud83d' } } }, 'where.open.path.eq: has half of a surrogate pair'],
    [
      { open: { path: { regex: '(a' } } },
      'where.open.path.regex: "(a" is no RE2 regular expression: missing closing )',
    ],
    [
      { or: [{ exec: {} }, { open: { path: { regex: '(?=a)' } } }] },
      'where.or[1].open.path.regex: "(?=a)" is no RE2 regular expression',
    ],
    [{ open: { path: { regex: '(?<!a)b' } } }, 'RE2 has no look-around'],
    [{ open: { path: { regex: '(a)\\1' } } }, 'RE2 has no back-references'],
    [{ open: { path: { regex: 'a{1001}' } } }, 'RE2 repeats at most 1000 times'],
    [{ open: { path: { regex: '(a{90}){5}' } } }, 'instructions; at most 300 are allowed'],
    [{ open: { path: { regex: 'a'.repeat(501) } } }, 'where.open.path.regex: has 501 characters; at most 500'],
    [{ open: { path: { glob: '/a[b' } } }, 'where.open.path.glob: "/a[b" has a [ without its ]'],
    [{ open: { path: { glob: '/{a,b' } } }, 'where.open.path.glob: "/{a,b" has a { without its }'],
    [{ open: { path: { glob: 'a\\' } } }, 'where.open.path.glob: "a\\" ends with a \\'],
    [{ open: { path: { glob: '[z-a]' } } }, 'where.open.path.glob: "[z-a]" has the range z-a, which is empty'],
    [
      { open: { errno: { eq: 'ENOENTT' } } },
      'where.open.errno.eq: "ENOENTT" is no error code of Linux; did you mean "ENOENT"',
    ],
    [{ open: { errno: { eq: '0' } } }, 'Success is null'],
    [
      { tcp: { tcpOperation: { eq: 'CONECT' } } },
      'where.tcp.tcpOperation.eq: needs one of CONNECT, ACCEPT, CLOSE, CONNECT_FAILED; it is "CONECT"; did you mean "CONNECT"?',
    ],
    [{ exec: { argsTruncated: { eq: 'yes' } } }, 'where.exec.argsTruncated.eq: needs true or false; it is "yes"'],
    [{ tcp: { remoteAddress: { eq: '10.1.2' } } }, 'where.tcp.remoteAddress.eq: "10.1.2" is no IP address'],
    [{ tcp: { remoteAddress: { eq: '010.1.2.3' } } }, 'is no IP address'],
    [{ tcp: { remoteAddress: { eq: 'fe80::1%eth0' } } }, 'is no IP address'],
    [
      { tcp: { remoteAddress: { cidr: ['10.0.0.0/8', '10.0.0.0/33'] } } },
      'where.tcp.remoteAddress.cidr[1]: "10.0.0.0/33" has the length 33; an address of IPv4 takes 0 to 32',
    ],
    [{ tcp: { remoteAddress: { cidr: ['10.1.2.3/8'] } } }, 'has bits beyond its length; did you mean "10.0.0.0/8"?'],
    [{ tcp: { remoteAddress: { cidr: ['2001:db8::1/32'] } } }, 'did you mean "2001:db8::/32"?'],
    [{ tcp: { remoteAddress: { cidr: ['10.1.2.3'] } } }, 'write "10.1.2.3/32", or use eq'],
    [{ tcp: { remoteAddress: { cidr: ['::ffff:10.0.0.0/8'] } } }, 'a mapped IPv4 address takes 96 to 128'],
    [{ tcp: { remoteAddress: { cidr: ['internet'] } } }, 'is no network; write an address and a length'],
    [{ tcp: { remoteAddress: { cidr: [] } } }, 'where.tcp.remoteAddress.cidr: is empty'],
    [{ tcp: { remoteAddress: { prefix: '10.' } } }, 'AddressFilter has no "prefix"'],
    [{ open: { errno: { isNull: true, eq: 'ENOENT' } } }, 'where.open.errno.isNull: a null fulfils nothing else'],
    [
      { open: { errno: { eq: null } } },
      'where.open.errno.eq: is null, which is no condition; leave it out, or ask for a null with { isNull: true }',
    ],
    [{ open: { errno: null } }, 'where.open.errno: is null'],
    [{ and: [] }, 'where.and: is empty'],
    [{ or: [{}] }, 'where.or[0]: is empty; give at least one condition'],
    [{ not: {} }, 'where.not: is empty'],
    [{ or: { exec: {} } }, 'where.or: needs a list; it is an object'],
    [{ expr: '' }, 'where.expr: is empty'],
    [{ expr: 7 }, 'where.expr: needs a CEL expression; it is 7'],
    [{ container: { labels: [] } }, 'where.container.labels: is empty'],
    [{ container: { labels: [{ name: '' }] } }, "where.container.labels[0].name: needs a label's name"],
    [
      { container: { labels: [{ nam: 'a' }] } },
      'where.container.labels[0].nam: there is no such field; did you mean "name"?',
    ],
    [{ container: { labels: [{ name: 'a', value: {} }] } }, 'where.container.labels[0].value: is empty'],
    [{ exec: { args: { any: { isNull: true } } } }, 'where.exec.args.any.isNull: StringFilter has no "isNull"'],
    [{ exec: { args: { eq: 'a' } } }, 'where.exec.args.eq: StringListFilter has no "eq"'],
    [[], 'where: needs an object; it is a list'],
    ['x', 'where: needs an object; it is "x"'],
  ])('%j is refused', (where, message) => {
    expect(() => filterOf(where, fields, trackers)).toThrow(message);
    expect(() => filterOf(where, fields, trackers)).toThrow(
      expect.objectContaining({
        code: 'BAD_USER_INPUT',
        details: expect.objectContaining({ argument: expect.stringMatching(/^where/) }),
      }),
    );
  });

  it('says that the session does not have the tracker', () => {
    expect(() => filterOf({ open: {} }, fields, ['exec', 'tcp'], 'events.where')).toThrow(
      'events.where.open: the session has no tracker open; it has exec, tcp',
    );
  });

  it('bounds what a filter may cost', () => {
    const many = (count: number, each: unknown) => ({ or: Array.from({ length: count }, () => each) });
    expect(() => filterOf(many(1001, { process: { pid: { eq: 1 } } }), fields, trackers)).toThrow(
      'where.or[1000].process.pid.eq: is comparison 1001 of the filter; at most 1000',
    );
    expect(() => filterOf(many(51, { open: { path: { regex: '^a+$' } } }), fields, trackers)).toThrow(
      'is pattern 51 of the filter; at most 50',
    );
    expect(() =>
      filterOf(many(11, { process: { pid: { in: Array.from({ length: 1000 }, (_, i) => i) } } }), fields, trackers),
    ).toThrow('brings the values of the filter to 11000');
    const nested = Array.from({ length: 60 }).reduce<unknown>((inner) => ({ not: inner }), { exec: {} });
    expect(() => filterOf(nested, fields, trackers)).toThrow('is nested more than 50 deep');
    expect(() =>
      filterOf(
        {
          or: [
            { expr: Array.from({ length: 600 }, () => 'process.pid==1').join('||') },
            many(401, { process: { pid: { eq: 1 } } }),
          ],
        },
        fields,
        trackers,
      ),
    ).toThrow('at most 1000');
  });
});

describe('the schema', () => {
  // What the catalog lists can be filtered, by a filter for its type.
  const filters: Readonly<Record<string, RegExp>> = {
    String: /^(String|Address)Filter$/,
    ID: /^StringFilter$/,
    '[String!]': /^StringListFilter$/,
    '[UInt64!]': /^StringListFilter$/,
    Int: /^IntFilter$/,
    UInt32: /^UInt32Filter$/,
    Int64: /^Int64Filter$/,
    UInt64: /^UInt64Filter$/,
    Boolean: /^BooleanFilter$/,
    DateTime: /^DateTimeFilter$/,
    Errno: /^ErrnoFilter$/,
  };

  it.each(catalog.trackers.map((tracker) => [tracker.name, tracker] as const))(
    'has a filter for each field of %s, of its type',
    (name, tracker) => {
      for (const { path, type } of tracker.fields) {
        if (fieldType(type).column === 'histogram') {
          expect(fields.get(name, path)).toBeUndefined();
          continue;
        }
        const field = fields.get(name, path);
        expect(field?.filterType ?? `${path} has none`).toMatch(
          filters[type.replace(/!$/, '')] ?? new RegExp(`^${type.replace(/!$/, '')}Filter$`), // an enum has a filter of its own
        );
        if (field?.values)
          expect(String(getNamedType(schema.getType(field.filterType.replace(/Filter$/, ''))))).toBe(
            type.replace(/!$/, ''),
          );
      }
      const event = schema.getType(eventTypeName(name));
      expect(
        isObjectType(event) && [...(fields.own(name)?.keys() ?? [])].filter((path) => !(path in event.getFields())),
      ).toEqual([]);
    },
  );

  it('describes each input of a filter and each of its fields', () => {
    const seen = new Set<string>();
    const visit = (type: unknown): string[] => {
      if (!isInputObjectType(type) || seen.has(type.name)) return [];
      seen.add(type.name);
      const own = type.description ? [] : [type.name];
      return Object.values(type.getFields()).reduce(
        (found, field) => [
          ...found,
          ...(field.description ? [] : [`${type.name}.${field.name}`]),
          ...visit(getNamedType(field.type)),
        ],
        own,
      );
    };
    expect(visit(schema.getType('EventFilter'))).toEqual([]);
    expect(seen.size).toBeGreaterThan(15);
  });

  it('leaves every field of a filter out when it is not given', () => {
    const filter = schema.getType('EventFilter');
    const required = isInputObjectType(filter)
      ? Object.values(filter.getFields()).filter(({ type }) => String(type).endsWith('!') && !isListType(type))
      : ['no EventFilter'];
    expect(required).toEqual([]);
  });
});
