import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { EventFilter, fieldsOf, FilterFields, filterOf, optimise, parseCel, print } from './index.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { eventWith } from '../../test/support/event.js';

const schema = contractSchema();
const fields = new FilterFields(
  schema,
  new Catalog(schema, await loadTrackers(), (_tracker, field) => field === 'args' || field === 'path'),
);
const all = ['exec', 'exit', 'open', 'tcp'];
const simple = (text: string, trackers: readonly string[] = all): string =>
  print(optimise(parseCel(text, fields, all), fields, trackers));

describe('an optimised filter', () => {
  it.each([
    ['true && process.pid == 1', 'process.pid == 1'],
    ['false || process.pid == 1', 'process.pid == 1'],
    ['process.pid == 1 && false', 'false'],
    ['!!(process.pid == 1)', 'process.pid == 1'],
    ['!(process.pid == 1)', 'process.pid != 1'],
    ['!(process.pid < 1)', 'process.pid >= 1'],
    ['!(open.fd < 1)', '!(open.fd < 1)'], // a null fulfils this
    ['!(errno == null)', 'errno != null'],
    ['process.pid == null', 'false'],
    ['container.name == null', 'container.name == null'],
    ['process.pid == 1 && process.pid == 1', 'process.pid == 1'],
    ['process.pid == 1 && !(process.pid == 1)', '!(process.pid == 1) && process.pid == 1'],
    ['open.fd == 1 || !(open.fd == 1)', 'true'],
    ['errno == null && errno != null', 'false'],
    ['process.pid == 2 || process.pid == 1 || process.pid in [3, 2]', 'process.pid in [1, 2, 3]'],
    [
      'process.startTime == timestamp("2026-01-31T08:00:00Z") || process.startTime == timestamp("2026-01-31T09:00:00Z")',
      'process.startTime == timestamp("2026-01-31T08:00:00.000000000Z") || process.startTime == ' +
        'timestamp("2026-01-31T09:00:00.000000000Z")',
    ], // no set of moments
    ['process.comm.glob("nginx*")', 'process.comm.startsWith("nginx")'],
    ['process.comm.glob("*")', 'true'],
    ['container.name.glob("*")', 'container.name != null'],
    ['process.comm.matches("^nginx$")', 'process.comm == "nginx"'],
    [
      'open.path.matches("/e.c/") && process.pid == 1 && container.name == "x"',
      'process.pid == 1 && container.name == "x" && open.path.matches("/e.c/")',
    ],
    ['tracker == "open" && tracker == "exec"', 'false'],
    ['tracker == "open" || tracker == "exec"', 'tracker in ["exec", "open"]'],
    ['tracker != "open"', 'tracker in ["exec", "exit", "tcp"]'],
    ['!(tracker == "open")', 'tracker in ["exec", "exit", "tcp"]'],
    ['tracker.startsWith("e")', 'tracker in ["exec", "exit"]'],
    ['tracker in ["exec", "exit", "open", "tcp"]', 'true'],
    ['open.fd == 1 && tcp.localPort == 1', 'false'],
    ['open.fd == 1 && (tcp.localPort == 1 || process.pid == 1)', 'process.pid == 1 && open.fd == 1'],
    ['exec.args.exists(a, true)', 'size(exec.args) > 0'],
    [
      'process.pid > 5 && (process.pid == 7 && process.pid < 9)',
      'process.pid < 9 && process.pid == 7 && process.pid > 5',
    ],
  ])('%s becomes %s, and can be written', (text, expected) => {
    expect(simple(text)).toBe(simple(expected));
    expect(simple(simple(text))).toBe(simple(text));
  });

  // A comparison with what is no name would be refused.
  it.each([
    ['capability.matches("^CAP_BPF$")', 'capability == "CAP_BPF"'],
    ['capability.matches("^CAP_BPT$")', 'capability.matches("^CAP_BPT$")'],
    ['capEffectiveAfter.exists(c, c.glob("CAP_BPF"))', 'capEffectiveAfter.exists(c, c == "CAP_BPF")'],
    ['capEffectiveAfter.exists(c, c.glob("CAP_BPT"))', 'capEffectiveAfter.exists(c, c.glob("CAP_BPT"))'],
  ])('%s, of a field of names, becomes %s, and can be written', (text, expected) => {
    const trackers = ['capability', 'privilege'];
    const optimised = (written: string) => print(optimise(parseCel(written, fields, trackers), fields, trackers));
    expect(optimised(text)).toBe(optimised(expected));
    expect(optimised(optimised(text))).toBe(optimised(text));
  });

  it('never matches where its ranges never meet, once its parts are together', () => {
    expect(simple('open.fd > 5 && !(!(open.fd < 3))')).toBe('false');
  });

  it('is what is left of it for one tracker', () => {
    const text = 'process.comm == "x" && (open.path.startsWith("/etc") || errno == "ENOENT")';
    expect(simple(text, ['open'])).toBe('process.comm == "x" && (errno == "ENOENT" || path.startsWith("/etc"))');
    expect(simple(text, ['exec'])).toBe('errno == "ENOENT" && process.comm == "x"');
    expect(simple(text, ['exit'])).toBe('false');
    expect(simple('open.fd == null', ['exit'])).toBe('false');
    expect(simple('fd == null', ['exit'])).toBe('true');
  });

  it('reads the cheap fields first, the costly ones not at all when those decide', () => {
    const { matches } = new EventFilter(
      parseCel('open.path.matches("a.b") && time > timestamp("2026-01-31T08:15:30Z") && process.pid == 1', fields, all),
      fields,
      all,
    );
    const event = eventWith('open', {
      process: { pid: 2 },
      get path(): never {
        throw new Error('read');
      },
      get time(): never {
        throw new Error('read');
      },
    });
    expect(matches(event)).toBe(false);
  });

  it('reads a field once for several comparisons', () => {
    let reads = 0;
    const { matches } = new EventFilter(
      parseCel('open.path.startsWith("/a") || open.path.endsWith("z") || open.path.contains("/m/")', fields, all),
      fields,
      all,
    );
    expect(
      matches(
        eventWith('open', {
          get path() {
            reads++;
            return '/etc/m/x';
          },
        }),
      ),
    ).toBe(true);
    expect(reads).toBe(1);
  });
});

describe('the demand of a filter', () => {
  const demand = (text: string) =>
    Object.fromEntries(
      [...fieldsOf(parseCel(text, fields, all), fields, all)].map(([tracker, paths]) => [tracker, [...paths].sort()]),
    );

  it('has what is read of each tracker', () => {
    expect(demand('process.comm == "x" && (open.path.startsWith("/etc") || errno == "ENOENT")')).toEqual({
      exec: ['errno', 'process'],
      open: ['errno', 'path', 'process'],
      tcp: ['errno', 'process'],
    });
    expect(demand('"x" in exec.args')).toEqual({ exec: ['args'] });
    expect(demand('container.labels.tier == "x" && tracker != "tcp"')).toEqual({
      exec: ['container'],
      exit: ['container'],
      open: ['container'],
    });
    expect(demand('process.pid == 1 && false')).toEqual({});
  });

  it('joins a selection, but not of trackers whose events cannot match', () => {
    const filter = filterOf({ open: { path: { prefix: '/' } } }, fields, all);
    const selection = new Map([
      ['open', new Set(['fd'])],
      ['exec', new Set(['args'])],
    ]);
    expect(filter?.with(selection)).toEqual(new Map([['open', new Set(['path', 'fd'])]]));
  });
});

it('equal filters have equal texts, different ones different texts', () => {
  const text = (where: unknown) => filterOf(where, fields, all)?.text;
  expect(text({ process: { pid: { eq: 1 }, comm: { in: ['b', 'a', 'b'] } } })).toBe(
    text({ expr: 'process.comm in ["a", "b"]', and: [{ process: { pid: { in: [1] } } }] }),
  );
  expect(text({ process: { comm: { eq: '1' } } })).not.toBe(text({ process: { pid: { eq: 1 } } }));
});

it('no text of a client becomes code', () => {
  for (const text of ['"); throw 1; ("', '${process.exit()}', '`', '*/', '\u2028', 'k0', '</script>', '\\']) {
    const filter = filterOf(
      { container: { labels: [{ name: text, value: { in: [text, `${text}2`] } }] } },
      fields,
      all,
    );
    expect(filter?.matches(eventWith('open', { container: { labels: { [text]: text } } }))).toBe(true);
    expect(filter?.matches(eventWith('open', { container: { labels: {} } }))).toBe(false);
  }
});
