import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { compileFilter, fieldsOf, FilterFields, optimise, parseCel, parseInput, print } from './index.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { holdsFor } from '../../test/support/property.js';
import { eventWith } from '../../test/support/event.js';

const schema = contractSchema();
const fields = new FilterFields(schema, new Catalog(schema, await loadTrackers(), () => false));
const trackers = fields.trackers;
const canonical = (text: string): string => print(optimise(parseCel(text, fields, trackers), fields, trackers));
const sameAs = (where: unknown): string => print(optimise(parseInput(where, fields, trackers), fields, trackers));

describe('a CEL expression', () => {
  it.each<[string, unknown]>([
    [
      'process.comm == "nginx" && (open.path.startsWith("/etc") || open.errno == "ENOENT")',
      {
        process: { comm: { eq: 'nginx' } },
        or: [{ open: { path: { prefix: '/etc' } } }, { open: { errno: { eq: 'ENOENT' } } }],
      },
    ],
    ["'nginx' == process.comm", { process: { comm: { eq: 'nginx' } } }],
    ['7 < process.pid', { process: { pid: { gt: 7 } } }],
    ['process.pid in [1, 2]', { process: { pid: { in: [2, 1] } } }],
    ['process.pid in [2]', { process: { pid: { eq: 2 } } }],
    ['process.uid == 4294967295u', { process: { uid: { eq: 4294967295 } } }],
    ['syscall.ret < -1', { syscall: { ret: { lt: '-1' } } }],
    ['cgroupId == 0xff', { cgroupId: { eq: '255' } }],
    ['cgroupId == 18446744073709551615u', { cgroupId: { eq: '18446744073709551615' } }],
    ['cgroupId != "5"', { cgroupId: { ne: '5' } }],
    [
      'time >= timestamp("2026-01-31T09:00:00+01:00") && time < "2026-01-31T09:00:00Z"',
      { time: { gte: '2026-01-31T08:00:00Z', lt: '2026-01-31T09:00:00Z' } },
    ],
    ['open.path.endsWith(".pem")', { open: { path: { suffix: '.pem' } } }],
    ['open.path.contains("x")', { open: { path: { contains: 'x' } } }],
    ['open.path.matches(r"\\.so(\\.\\d+)+$")', { open: { path: { regex: '\\.so(\\.\\d+)+$' } } }],
    ['open.path.glob("/etc/?*")', { open: { path: { glob: '/etc/?*' } } }],
    ['exec.argsTruncated', { exec: { argsTruncated: { eq: true } } }],
    ['exec.argsTruncated != true', { exec: { argsTruncated: { eq: false } } }],
    ['!exec.argsTruncated', { not: { exec: { argsTruncated: { eq: true } } } }],
    ['open.errno == null', { open: { errno: { isNull: true } } }],
    ['null != open.errno', { open: { errno: { isNull: false } } }],
    ['has(open.errno)', { open: { errno: { isNull: false } } }],
    ['open.errno == 2', { open: { errno: { eq: 'ENOENT' } } }],
    ['open.errno in ["EWOULDBLOCK", "ENOTSUP"]', { open: { errno: { in: ['EAGAIN', 'EOPNOTSUPP'] } } }],
    ['container == null', { container: { isNull: true } }],
    [
      'container.labels["com.example/a"] == "x"',
      { container: { labels: [{ name: 'com.example/a', value: { eq: 'x' } }] } },
    ],
    ['container.labels.tier != null', { container: { labels: [{ name: 'tier' }] } }],
    ['"tier" in container.labels', { container: { labels: [{ name: 'tier' }] } }],
    ['container.state == "RUNNING"', { container: { state: { eq: 'RUNNING' } } }],
    ['tcp.tcpOperation in ["CONNECT", "ACCEPT"]', { tcp: { tcpOperation: { in: ['CONNECT', 'ACCEPT'] } } }],
    ['cidr("10.0.0.0/8").containsIP(tcp.remoteAddress)', { tcp: { remoteAddress: { cidr: ['10.0.0.0/8'] } } }],
    ['tcp.remoteAddress == "::ffff:10.0.0.1"', { tcp: { remoteAddress: { eq: '10.0.0.1' } } }],
    ['"-c" in exec.args', { exec: { args: { has: '-c' } } }],
    ['exec.args.exists(a, a == "-c")', { exec: { args: { has: '-c' } } }],
    [
      'exec.args.exists(a, a.startsWith("-") && a.endsWith("c"))',
      { exec: { args: { any: { prefix: '-', suffix: 'c' } } } },
    ],
    ['size(exec.args) > 2', { exec: { args: { length: { gt: 2 } } } }],
    ['2 < exec.args.size()', { exec: { args: { length: { gt: 2 } } } }],
    ['exec.args.join(" ").startsWith("sh -c id")', { exec: { args: { joined: { prefix: 'sh -c id' } } } }],
    ['exec.args.join(" ") in ["sh", "sh -i"]', { exec: { args: { joined: { in: ['sh -i', 'sh'] } } } }],
    [
      'process.ancestors.exists(p, p.args.join(" ") == "sshd -D")',
      { process: { ancestors: { any: { args: { joined: { eq: 'sshd -D' } } } } } },
    ],
    ['tracker == "open" && path == "x"', { open: { path: { eq: 'x' } } }],
    ['tracker != "open"', { not: { open: {} } }],
    ['true', {}],
    ['true || process.pid == 1', {}],
    ['process.pid == 1 // a comment', { process: { pid: { eq: 1 } } }],
    ['process.pid == 1\n\t|| process.pid == 2', { process: { pid: { in: [1, 2] } } }],
  ])('%s', (text, where) => expect(canonical(text)).toBe(sameAs(where)));

  it('asks for a field of whatever tracker has it', () => {
    const matches = compileFilter(parseCel('errno == "ENOENT"', fields, trackers), fields, trackers);
    expect(
      ['open', 'exec', 'syscall', 'tcp'].map((tracker) => matches(eventWith(tracker, { errno: 'ENOENT' }))),
    ).toEqual([true, true, true, true]);
    expect(matches(eventWith('open', { errno: null }))).toBe(false);
    expect(matches(eventWith('exit', { errno: 'ENOENT' }))).toBe(false);
  });

  it.each([
    ['process.comm = "x"', '1:14: "=" is not expected here; "==" compares'],
    ['process.pid == 1 & process.tid == 2', '1:18: "&" is not expected here; write "&&"'],
    ['process.comm =~ "x"', '1:14: "=" is not expected here; write .matches("…")'],
    ['process.comm like "x%"', '1:14: "like" is not expected here; write .glob("…") or .contains("…")'],
    ['process.pid == 1 or process.pid == 2', '1:18: "or" is not expected here; write "||"'],
    ['process.pid == 1 AND process.pid == 2', '1:18: "AND" is not expected here; write "&&"'],
    ['not process.pid == 1', '1:5: "process" is not expected here; write "!" for "not"'],
    ['process.comm == sh', '1:17: "sh" is no field; a text is written in quotes: "sh"'],
    ['sh == process.comm', '1:1: "sh" is no field; a text is written in quotes: "sh"'],
    ['exec.args.exists(a, a == sh)', '1:26: "sh" is no field; a text is written in quotes'],
    ['exec.args[0] == "sh"', 'a filter selects no element of a list; write "…" in LIST, or LIST.exists(x, x == "…")'],
    ['tracker == "opne"', '1:12: "opne" is no tracker; did you mean "open"'],
    ['process.pid == 1 process', '1:18: "process" is not expected here; join conditions with && or ||'],
    ['process.pid ==', '1:15: a field or a value is expected here, but the expression ends'],
    ['(process.pid == 1', '1:18: ")" is expected here, but the expression ends'],
    ['process.pid == 1 &&\n  || process.pid == 2', '2:3: a field or a value is expected here, not "||"'],
    ['process.comm == "x', '1:17: unterminated string'],
    ['open.path == "\\q"', '1:15: invalid escape sequence'],
    ['   ', 'is empty; leave it out, or write a CEL expression'],
    ['procss.pid == 1', 'has the field "procss.pid"; did you mean "process.pid"'],
    ['process.pdi == 1', 'did you mean "process.pid"'],
    ['process == 1', '"process" is not a single value; name one inside it, for example "process.pid"'],
    ['container == 1', '== does not apply to "container" (ContainerEventFilter); it takes == null'],
    ['container.labels == "x"', 'name a label: container.labels["NAME"]'],
    ['exit.fd == 1', '1:1: no event of exit has the field "fd"; ipc and open would'],
    ['exec', '1:1: exec is a tracker; write tracker == "exec", or name a field of it, for example exec.errno'],
    ['process.pid', '1:1: "process.pid" is no condition; compare it'],
    ['"x"', '1:1: "x" is no condition'],
    ['process.pid == "x"', '1:16: needs a whole number from -2147483648 to 2147483647; it is "x"'],
    ['process.pid == 1.5', '1:16: needs a whole number'],
    ['process.pid == 2147483648', '1:16: needs a whole number'],
    ['process.comm == 1', '1:17: needs a text; it is 1'],
    ['process.comm == b"x"', '1:17: needs a text; it is an object'],
    [
      'process.comm < "x"',
      '< does not apply to "process.comm" (StringFilter); it takes ==, !=, in, .glob(), .matches()',
    ],
    [
      'process.pid.startsWith("x")',
      '.startsWith() does not apply to "process.pid" (IntFilter); it takes ==, !=, in, <',
    ],
    ['process.pid < process.tid', '1:1: two fields are compared with == and != only; with others, one side must be'],
    [
      'process.pid == process.comm',
      '1:1: "process.pid" (IntFilter) and "process.comm" (StringFilter) are of different types; compare two fields of one',
    ],
    ['process.pid == process.uid', '(IntFilter) and "process.uid" (UInt32Filter) are of different types'],
    ['args == args', '1:1: "args" (StringListFilter) is compared with no other field'],
    ['open.path == exec.filename', '1:1: no event has both "path" (StringFilter) of open and "filename"'],
    ['process.pid == size(args)', '1:1: one side must be a field, the other a constant or a field; '],
    ['1 == 1', '1:1: compares two constants'],
    ['process.pid + 1 == 2', 'a filter does not calculate ("+"); write the value'],
    ['process.pid == 1 + 1', 'a filter does not calculate ("+")'],
    ['process.pid == 1 ? true : false', 'a filter has no "? :"; join conditions with && and ||'],
    ['(process.pid == 1) == true', 'a condition cannot be compared'],
    ['process.pid in []', '1:16: is empty, which would match nothing'],
    ['process.pid in [1, "x"]', '1:20: needs a whole number'],
    ['process.pid in [1, null]', '1:20: null cannot be in the list'],
    ['process.pid in [1, process.tid]', '1:20: is no constant'],
    ['1 in process.pid', '"process.pid" is not a list; write process.pid in [1]'],
    ['process.pid in process.tid', '"in" needs a field and a list of constants'],
    ['process.pid < null', 'nothing is ordered before or after null'],
    ['process.pid > 5 && process.pid < 3', '1:1: no value is in the range: more than 5 and less than 3'],
    ['open.errno == "ENOENTT"', '1:15: "ENOENTT" is no error code of Linux; did you mean "ENOENT"'],
    ['tcp.tcpOperation == "CONECT"', 'did you mean "CONNECT"?'],
    ['open.path.matches("(a")', '1:19: "(a" is no RE2 regular expression: missing closing )'],
    ['open.path.matches(process.comm)', '1:19: matches() takes a constant text'],
    ['open.path.glob("[")', 'has a [ without its ]'],
    ['open.path.startsWith("")', '1:22: is empty, which every text matches'],
    ['open.path.startsWith()', 'startsWith() takes one text'],
    [
      'open.path.upper() == "X"',
      'a filter has no value upper(); compare the field itself, or write a condition: .startsWith()',
    ],
    ['open.path.upper()', 'there is no method upper() in a filter; there are startsWith'],
    ['exec.args.contains("x")', '"args" is a list; write "…" in args, or args.exists(x, x.contains("…"))'],
    ['exec.args.all(a, a == "x")', 'all() is beyond a filter; write !list.exists(x, !(…))'],
    ['exec.args.exists(a, process.pid == 1)', '1:21: inside exists() only its variable can be compared: "a"'],
    ['exec.args.exists(a, a > "x")', '> does not apply to "a" (StringFilter)'],
    ['open.path.exists(a, a == "x")', '"path" is not a list; exists() is for lists'],
    ['exec.args.exists(1, true)', 'iteration variable'],
    ['size(open.path) > 3', '"path" is not a list; size() is for lists'],
    ['size(exec.args) > -1', 'needs a whole number from 0'],
    ['size(exec.args) == null', '== null does not apply to "args"'],
    ['duration("1s") == open.fd', '"fd" is compared with no duration'],
    ['foo(process.pid)', 'there is no function foo() in a filter; there are has, size, timestamp, duration and cidr'],
    [
      'cidr("10.0.0.1/8").containsIP(tcp.remoteAddress)',
      '1:6: "10.0.0.1/8" has bits beyond its length; did you mean "10.0.0.0/8"?',
    ],
    ['cidr("10.0.0.0/8").containsIP(process.comm)', 'does not apply to "process.comm" (StringFilter)'],
    ['args.exists(a, a == "x", 3)', 'exists() takes a name and a condition'],
    ['cidr("10.0.0.0/8").containsIP(tcp.remoteAddress, 1)', 'write cidr("10.0.0.0/8").containsIP(ADDRESS)'],
    ['cidr("10.0.0.0/8", 1).containsIP(tcp.remoteAddress)', 'write cidr("10.0.0.0/8").containsIP(ADDRESS)'],
    ['time > timestamp("2026-01-31T08:15:30Z", 1)', 'timestamp() takes a constant text'],
    ['tcp.remoteAddress.containsIP("10.0.0.0/8")', 'write cidr("10.0.0.0/8").containsIP(ADDRESS)'],
    ['process.comm == timestamp("2026-01-31T08:15:30Z")', '"process.comm" is no time'],
    ['time > timestamp("today")', 'needs a time'],
    ['time > timestamp(1)', 'timestamp() takes a constant text'],
    ['{"a": 1}', 'a filter has no maps'],
    ['[1]', 'a list stands only on the right of "in"'],
    ['x'.repeat(10_001), 'has 10001 characters; at most 10000 are allowed'],
    ['('.repeat(3000) + 'true' + ')'.repeat(3000), 'this is too much: depth over 100'],
    [`${'!'.repeat(60)}exec.argsTruncated`, 'is nested more than 50 deep'],
  ])('%s is refused', (text, message) => {
    expect(() => parseCel(text, fields, trackers, 'where.expr')).toThrow(message);
    expect(() => parseCel(text, fields, trackers, 'where.expr')).toThrow(/^where\.expr: /);
  });

  it('never breaks, however deep or long an expression is', () => {
    for (const text of [
      '!'.repeat(9990),
      '-'.repeat(9990),
      '['.repeat(9990),
      'a.'.repeat(4990),
      `${'1||'.repeat(3000)}1`,
      `${'process.pid==1||'.repeat(600)}true`,
    ]) {
      try {
        parseCel(text, fields, trackers);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_USER_INPUT' });
      }
    }
  });

  it('is told from noise without another error than its own', async () => {
    const words = fc.constantFrom(
      'process',
      '.',
      'pid',
      'open',
      'path',
      '==',
      '!=',
      '<',
      'in',
      '[',
      ']',
      '(',
      ')',
      '&&',
      '||',
      '!',
      '-',
      '1',
      '2.5',
      '7u',
      '"x"',
      'null',
      'true',
      'size',
      'has',
      'exists',
      'a',
      ',',
      'container.labels',
      'cidr("::/0")',
      '?',
      ':',
      '{',
      '}',
      ' ',
    );
    await holdsFor(
      fc.property(
        fc.oneof(
          fc.array(words, { maxLength: 14 }).map((list) => list.join('')),
          fc.string({ unit: 'binary', maxLength: 40 }),
        ),
        (text) => {
          try {
            parseCel(text, fields, trackers);
          } catch (error) {
            expect(error).toMatchObject({ code: 'BAD_USER_INPUT' });
          }
        },
      ),
      { numRuns: 5000 },
    );
  });

  it('shows the place: line, column, and carets below', () => {
    const text = 'process.pid == 1 &&\n  open.path == "ä" && process.comm == 17 && tcp.localPort == 1';
    const error = { code: 'BAD_USER_INPUT', details: { argument: 'where.expr', line: 2, column: 39, length: 2 } };
    expect(() => parseCel(text, fields, trackers, 'where.expr')).toThrow(expect.objectContaining(error));
    expect(() => parseCel(text, fields, trackers, 'where.expr')).toThrow(
      [
        'where.expr: 2:39: needs a text; it is 17',
        '    open.path == "ä" && process.comm == 17 && tcp.localPort == 1',
        `${' '.repeat(40)}^^`,
      ].join('\n'),
    );
  });

  it('cuts a long line around the place', () => {
    const text = `${'process.pid == 1 || '.repeat(20)}process.comm == 17${' || process.pid == 1'.repeat(20)}`;
    const message = ((): string => {
      try {
        parseCel(text, fields, trackers);
      } catch (error) {
        return String(error);
      }
      return '';
    })();
    const [, excerpt = '', carets = ''] = message.split('\n');
    expect(excerpt.length).toBeLessThan(120);
    expect(excerpt.slice(carets.indexOf('^'), carets.indexOf('^') + carets.trim().length)).toBe('17');
  });
});

describe('a printed filter', () => {
  it.each([
    [
      'open.path.startsWith("/etc") && process.comm == "x" && open.errno != null',
      'open.errno != null && process.comm == "x" && open.path.startsWith("/etc")',
    ],
    [
      '!(process.pid == 1 || open.fd == 3) && tracker == "open"',
      'tracker == "open" && !(process.pid == 1 || open.fd == 3)',
    ],
    [
      '(process.pid == 1 || process.tid == 2) && process.uid == 0',
      'process.uid == 0 && (process.pid == 1 || process.tid == 2)',
    ],
    ['!exec.args.exists(a, a.matches("^-+x"))', '!(tracker == "exec" && args.exists(x, x.matches("^-+x")))'],
    ['time > timestamp("2026-01-31T08:15:30Z")', 'time > timestamp("2026-01-31T08:15:30.000000000Z")'],
  ])('%s', (text, printed) => expect(canonical(text)).toBe(canonical(printed)));

  it('reads as one would write it', () => {
    expect(
      canonical(
        'open.path.startsWith("/etc") && !(process.comm == "x") && open.errno != null && open.flags.exists(f, f == "O_CREAT")',
      ),
    ).toBe('open.errno != null && process.comm != "x" && open.path.startsWith("/etc") && "O_CREAT" in open.flags');
  });

  it('keeps every text', async () => {
    await holdsFor(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1 }),
        fc.string({ unit: 'grapheme', minLength: 1 }),
        (label, text) => {
          const where = { container: { labels: [{ name: label, value: { eq: text } }] } };
          const filter = ((): ReturnType<typeof parseInput> | null => {
            try {
              return parseInput(where, fields, trackers);
            } catch {
              return null;
            }
          })();
          fc.pre(filter !== null && !/\p{Surrogate}/u.test(label));
          if (filter) expect(parseCel(print(filter), fields, trackers)).toEqual(filter);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('the age of a process', () => {
  const of = (text: string, time: string): boolean =>
    compileFilter(parseCel(text, fields, ['open']), fields, ['open'])(
      eventWith('open', { time, process: { startTime: '2026-01-31T08:15:29.900000000Z' } }),
    );

  it.each([
    ['time - process.startTime < duration("5s")', '2026-01-31T08:15:34.899999999Z', true],
    ['time - process.startTime < duration("5s")', '2026-01-31T08:15:34.900000000Z', false],
    ['time - process.startTime <= duration("5s")', '2026-01-31T08:15:34.900000000Z', true],
    ['!(time - process.startTime <= duration("5s"))', '2026-01-31T08:15:34.900000001Z', true],
    ['duration("100us") >= time - process.startTime', '2026-01-31T08:15:29.900100000Z', true],
    ['time - process.startTime > duration("720h")', '2026-03-31T08:15:30.000000000Z', true],
  ])('%s at %s is %s', (text, time, expected) => {
    expect(of(text, time)).toBe(expected);
  });

  it.each([
    ['time - process.startTime < duration("5s")', 'time - process.startTime < duration("5s")'],
    ['!(time - process.startTime < duration("5000ms"))', 'time - process.startTime >= duration("5s")'],
    ['time - process.startTime > duration("1h") && time - process.startTime < duration("1s")', 'false'],
  ])('%s is %s', (text, expected) => {
    const read = (cel: string): string => print(optimise(parseCel(cel, fields, ['exec']), fields, ['exec']));
    if (expected === 'false') return expect(() => read(text)).toThrow('no value is in the range');
    expect(read(text)).toBe(expected);
    expect(read(expected)).toBe(expected);
  });

  it.each([
    ['time - process.startTime < 5', 'needs a duration, for example duration("5s"); it is 5'],
    ['time - process.startTime < duration("5 seconds")', 'needs a duration, for example duration("5s")'],
    ['time - process.startTime == duration("5s")', '== does not apply to "process.startTime" (the age of a process)'],
    ['time - process.startTime', 'a filter does not calculate'],
    ['process.startTime - time < duration("5s")', 'a filter calculates only the age of a process'],
    [
      'process.ancestors.exists(p, time - p.startTime < duration("5s"))',
      'a filter calculates only the age of a process',
    ],
    ['time < duration("5s")', '"time" is compared with no duration'],
    ['process.pid == duration(5)', 'duration() takes a constant text'],
    ['duration("5s")', 'duration() is no condition; compare it'],
  ])('%s is refused', (text, message) => {
    expect(() => parseCel(text, fields, ['exec'])).toThrow(message);
  });

  it('reads the time of the event too', () => {
    const filter = parseCel('time - process.startTime < duration("5s")', fields, ['exec']);
    expect(fieldsOf(filter, fields, ['exec']).get('exec')).toEqual(new Set(['process', 'time']));
  });
});

describe('ancestors', () => {
  it.each([
    ['process.ancestors.exists(p, p.comm == "sshd")', 'process.ancestors.exists(x, x.comm == "sshd")'],
    ['process.ancestors.exists(p, "-c" in p.args)', 'process.ancestors.exists(x, "-c" in x.args)'],
    [
      '!process.ancestors.exists(p, p.args.exists(a, a.startsWith("-")))',
      '!process.ancestors.exists(x, x.args.exists(x, x.startsWith("-")))',
    ],
    ['process.ancestors.exists(p, p.comm != null)', 'process.parent != null'],
    ['process.ancestors.exists(p, size(p.args) > 3)', 'process.ancestors.exists(x, size(x.args) > 3)'],
  ])('%s is %s, and means the same when it is read again', (text, canonical) => {
    const read = (cel: string): string => print(optimise(parseCel(cel, fields, ['exec']), fields, ['exec']));
    expect(read(text)).toBe(canonical);
    expect(read(canonical)).toBe(canonical);
  });

  it.each([
    ['process.ancestors.exists(p, p == "sshd")', /"p" is a process; compare a field of it, for example p.pid/],
    ['process.ancestors.exists(p, p.com == "sshd")', /no field "com"; did you mean "comm"/],
    ['process.ancestors.exists(p, process.comm == "sshd")', /inside exists\(\) only its variable can be compared: "p"/],
    ['"sshd" in process.ancestors', /is a list of processes; write process.ancestors.exists\(p, p.comm == "sshd"\)/],
    ['size(process.ancestors) > 2', /is a list of processes/],
    [
      'process.ancestors.comm == "sshd"',
      /"process.ancestors" is a list of processes; write process.ancestors.exists\(p, p.comm == …\)/,
    ],
    ['process.parent.parent.comm == "sh"', /no event of exec has the field "process.parent.parent.comm"/],
    ['process.parent == "sh"', /== does not apply to "process.parent"/],
    ['process.ancestors.join(" ") == "x"', /is a list of processes/],
    ['process.comm.join(" ") == "x"', /"process.comm" is not a list; join\(\) is for lists/],
    ['process.args.join(",") == "x"', /a filter joins texts with a space: write args.join\(" "\)/],
    ['process.args.join(" ")', /is no condition; compare it with a text/],
    ['process.args.join(" ") > "x"', /> does not apply to "process.args" \(the joined texts of a list\)/],
  ])('%s is refused', (text, message) => {
    expect(() => parseCel(text, fields, ['exec'])).toThrow(message);
  });
});

describe('a method that every object has', () => {
  it.each(['constructor', 'toString', '__proto__', 'hasOwnProperty'])('%s is no method of a filter', (name) => {
    expect(() => parseCel(`process.comm.${name}("x")`, fields, ['exec'])).toThrow(`there is no method ${name}()`);
  });
});
