import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { otlpOf as otlpOfSources } from './otlp.js';
import { SettingSources } from './sources.js';

type OtlpFlags = Readonly<Record<string, string | readonly string[] | boolean>>;
const otlpOf = (flags: OtlpFlags) => otlpOfSources(new SettingSources(new Map(Object.entries(flags)), {}));

describe('the flags for a collector', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'eunomia-otlp-'));
    file = join(folder, 'headers');
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const withFile = (text: string, own: OtlpFlags = {}, mode = 0o600) => {
    writeFileSync(file, text);
    chmodSync(file, mode);
    return () => otlpOf({ 'otlp-url': 'http://c:4318', 'otlp-headers-file': file, ...own });
  };

  it('send alerts, and metrics each minute, by default', () => {
    expect(otlpOf({ 'otlp-url': 'http://c:4318/' })).toEqual({
      url: 'http://c:4318',
      headers: {},
      caFile: null,
      events: [],
      alerts: true,
      metricsMs: 60_000,
    });
    expect(otlpOf({ 'otlp-alerts': true })).toBeNull();
  });

  it('take headers from a file, and a token', () => {
    expect(
      withFile('# tenant\nX-Scope-OrgID: team a\n\n', {
        'otlp-token': 't',
        'otlp-metrics-seconds': '0',
        'otlp-alerts': false,
      })(),
    ).toMatchObject({
      headers: { 'x-scope-orgid': 'team a', authorization: 'Bearer t' },
      alerts: false,
      metricsMs: null,
    });
  });

  it.each<[OtlpFlags, RegExp]>([
    [{ 'otlp-token': 'hunter2' }, /--otlp-token: needs --otlp-url as well/],
    [{ 'otlp-alerts': false }, /--no-otlp-alerts: needs --otlp-url/],
    [{ 'otlp-metrics-seconds': '5' }, /--otlp-metrics-seconds: needs --otlp-url/],
    [{ 'otlp-url': 'c:4317' }, /give an address like http:\/\/127.0.0.1:4318 .*gRPC/],
    [{ 'otlp-url': 'http://me:hunter2@c' }, /holds a name or a password/],
    [{ 'otlp-url': 'http://c/v1/logs' }, /give http:\/\/c$/],
    [{ 'otlp-url': 'http://c', 'otlp-ca': 'a.pem' }, /only an https/],
    [{ 'otlp-url': 'http://c', 'otlp-token': 'hunter2\nx: y' }, /characters that HTTP does not allow/],
    [{ 'otlp-url': 'http://c', 'otlp-events': [''] }, /--otlp-events: "" is not the name of a session or a glob/],
    [{ 'otlp-url': 'http://c', 'otlp-events': ['a[b'] }, /--otlp-events: .*has a \[ without its \]/],
  ])('refuse %j, and repeat no secret', (flags, message) => {
    expect(() => otlpOf(flags)).toThrow(message);
    expect(() => otlpOf(flags)).not.toThrow(/hunter2/);
  });

  it('refuse a file of headers with the line that is wrong', () => {
    expect(withFile('A: b\nhunter2\n')).toThrow(/headers, line 2: a header is written as "Name: value"/);
    expect(withFile('A: b\na: c\n')).toThrow(/line 2: a is there a second time/);
    expect(withFile('Content-Type: text/plain\n')).toThrow(/line 1: Content-Type is set by the export itself/);
    expect(withFile('Authorization: Basic x\n', { 'otlp-token': 't' })).toThrow(/has the header Authorization as well/);
    expect(withFile('A: b\n', {}, 0o644)).toThrow(/open to everybody; run: chmod o=/);
    expect(() => otlpOf({ 'otlp-url': 'http://c', 'otlp-headers-file': join(folder, 'none') })).toThrow(
      /--otlp-headers-file: ENOENT/,
    );
  });
});
