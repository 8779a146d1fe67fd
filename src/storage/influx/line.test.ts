import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measurementOf } from './column.js';
import { originalTag, originalText, storedTag, storedText } from './line.js';
import { nanosecondsOf, PointWriter, timeOfNanoseconds } from './point.js';
import { hostileText } from '../../../test/support/hostile.js';
import { catalog, execEvent, timeAt } from '../../../test/support/influx.js';

/** Reads a line as the protocol's reference says; a witness that shares nothing with the writer. */
function parse(line: string): {
  measurement: string;
  tags: Record<string, string>;
  fields: Record<string, string | bigint | boolean>;
  ns: string;
} {
  let at = 0;
  const until = (stops: string): string => {
    let text = '';
    for (; at < line.length && !stops.includes(line.charAt(at)); at++) {
      if (line[at] === '\\' && ', ='.includes(line.charAt(at + 1))) at++;
      text += line[at];
    }
    return text;
  };
  const measurement = until(', ');
  const tags: Record<string, string> = {};
  while (line[at] === ',') {
    at++;
    const name = until('=');
    at++;
    tags[name] = until(', ');
  }
  const fields: Record<string, string | bigint | boolean> = {};
  do {
    at++;
    const name = until('=');
    at++;
    if (line[at] === '"') {
      let text = '';
      for (at++; line[at] !== '"'; at++) {
        if (at >= line.length) throw new Error('a text does not end');
        if (line[at] === '\\' && '"\\'.includes(line.charAt(at + 1))) at++;
        text += line[at];
      }
      at++;
      fields[name] = text;
    } else {
      const value = until(', ');
      fields[name] = value === 'true' || value === 'false' ? value === 'true' : BigInt(value.replace(/i$/, ''));
    }
  } while (line[at] === ',');
  if (line[at] !== ' ') throw new Error(`no time at ${at} of ${line}`);
  return { measurement, tags, fields, ns: line.slice(at + 1) };
}

const writerOf = () =>
  new PointWriter({
    host: 'a host',
    session: 's=1,x',
    trackers: [catalog.need('exec'), catalog.need('tcp'), catalog.need('syscall')],
  });
// Whatever a process may be called or ask for, surrogates without their other half too.
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('\\', '"', ',', '=', ' ', '\n', '\r', '\0', 'a', '☃') }),
);

it('what is stored leads back to the text, which nothing else is stored as, and its beginning to its beginning', () => {
  fc.assert(
    fc.property(fc.oneof(hostileText, text), fc.string(), (one, more) => {
      for (const [stored, original] of [
        [storedTag, originalTag],
        [storedText, originalText],
      ] as const) {
        const kept = stored(one);
        // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
        expect(kept).not.toMatch(stored === storedTag ? /[\u0000-\u001f\u007f\\]/ : /[\0\n\r]/);
        if (one.length + more.length > 100) continue; // a tag is cut
        expect(original(kept)).toBe(one);
        expect(stored(one + more).startsWith(kept)).toBe(true);
      }
    }),
  );
});

describe('the line of an event', () => {
  it('is one line, and reads back as what was written, whatever the texts are', () => {
    fc.assert(
      fc.property(
        text,
        text,
        fc.array(text, { maxLength: 4 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (name, path, args, wide) => {
          const container = { id: 'c', name, image: name };
          const line = writerOf().lineOf(
            execEvent(timeAt(1_700_000_000_000, 123), {
              container,
              filename: path,
              args,
              pidNs: String(wide),
              errno: 'ENOENT',
            }),
            42,
          );
          expect(line).not.toMatch(/[\n\r]/);
          const { measurement, tags, fields, ns } = parse(line);
          expect(measurement).toBe(measurementOf('exec'));
          expect(tags).toEqual({
            host: 'a host',
            session: 's=1,x',
            tracker: 'exec',
            errno: 'ENOENT',
            ...(name === '' ? {} : { container_name: storedTag(name), container_image: storedTag(name) }),
          });
          expect(ns).toBe('1700000000000000123');
          expect(fields).toMatchObject({
            seq: 42n,
            process_pid: 100n,
            process_comm: 'sh',
            filename: storedText(path),
            argsTruncated: false,
          });
          expect(fields['args']).toBe(storedText(JSON.stringify(args)));
          expect(wide <= 2n ** 63n - 1n ? fields['pidNs'] : BigInt(String(fields['pidNs_u64']))).toBe(wide);
        },
      ),
    );
  });

  it('has no pid, path or other text of a process among its tags', () => {
    const events = [
      execEvent(timeAt(0)),
      {
        ...execEvent(timeAt(0)),
        tracker: 'tcp',
        tcpOperation: 'CONNECT',
        remoteAddress: '10.0.0.1',
        remotePort: 80,
        localPort: 5,
        errno: null,
      },
      { ...execEvent(timeAt(0)), tracker: 'syscall', name: 'openat', nr: 257, ret: '-2', errno: 'ENOENT' },
    ];
    const tags = events.map((event) => Object.keys(parse(writerOf().lineOf(event, 0)).tags));
    expect(tags).toEqual([
      ['host', 'session', 'tracker'],
      ['host', 'session', 'tracker', 'tcpOperation'],
      ['host', 'session', 'tracker', 'name', 'errno'],
    ]);
  });

  it('differs in its series from that of each other event of the session and nanosecond', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 60 }), (times) => {
        const writer = writerOf();
        const identities = times.map((ns, i) => {
          const line = parse(writer.lineOf(execEvent(timeAt(1_700_000_000_000, ns)), i));
          return `${line.measurement} ${JSON.stringify(line.tags)} ${line.ns}`;
        });
        expect(new Set(identities).size).toBe(times.length);
      }),
    );
  });

  it('stays below what servers take, of a text or a list that is too long', () => {
    const { fields } = parse(
      writerOf().lineOf(
        execEvent(timeAt(0), { filename: '☃'.repeat(40_000), args: Array.from({ length: 9 }, () => '"'.repeat(9000)) }),
        0,
      ),
    );
    for (const name of ['filename', 'args']) expect(Buffer.byteLength(String(fields[name]))).toBeLessThan(64_000);
    expect(JSON.parse(String(fields['args']))).toEqual(expect.arrayContaining([expect.any(String)]));
  });
});

it('times keep their nanoseconds', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1_000_000_000n, max: 4_000_000_000_000_000_000n }), (ns) => {
      expect(nanosecondsOf(timeOfNanoseconds(String(ns)))).toBe(String(ns));
    }),
  );
  expect(nanosecondsOf('2026-01-31T08:15:30.5Z')).toBe('1769847330500000000');
  expect(nanosecondsOf('2026-01-31T08:15:30Z')).toBe('1769847330000000000');
});
