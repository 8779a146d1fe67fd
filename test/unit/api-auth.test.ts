import { describe, expect, it } from 'vitest';
import { Access, checkListen, isLoopback, loadTls } from '../../src/api/auth.js';
import { defaultConfig } from '../../src/config.js';

const tls = { certFile: '/no/cert.pem', keyFile: '/no/key.pem' };
const tokens = [{ secret: 'secret', role: 'viewer' }] as const;

describe('the listener', () => {
  it.each(['127.0.0.1', '127.8.8.8', 'localhost', '::1', '::ffff:127.0.0.1'])('takes %s without more', (host) =>
    expect(() => checkListen({ ...defaultConfig, host })).not.toThrow(),
  );

  it.each(['0.0.0.0', '::', '192.168.1.1', 'example.org', '127.0.0.1.example.org', 'localhost.example.org'])(
    'refuses %s without TLS and tokens',
    (host) => {
      expect(() => checkListen({ ...defaultConfig, host })).toThrow(`refusing to listen on ${host}`);
      expect(() => checkListen({ ...defaultConfig, host, tls })).toThrow('Give a token (--token');
      expect(() => checkListen({ ...defaultConfig, host, tokens })).toThrow('Give TLS (--tls-cert');
      expect(() => checkListen({ ...defaultConfig, host, tls, tokens })).not.toThrow();
    },
  );

  it('knows loopback names in all spellings', () => {
    expect(['LOCALHOST', '[::1]', 'localhost.', 'app.localhost'].filter((name) => !isLoopback(name))).toEqual([]);
    expect(['1.2.3.4', '', '127.0.0', '0', 'local'].filter(isLoopback)).toEqual([]);
  });

  it('says which file of TLS cannot be read', () =>
    expect(() => loadTls(tls)).toThrow('--tls-cert /no/cert.pem: cannot be read: ENOENT'));
});

describe('a token', () => {
  const access = new Access({
    tokens: [
      { secret: 'a', role: 'viewer' },
      { secret: 'b', role: 'operator' },
    ],
  });

  it('has its role', () => {
    expect(access.roleOf('Bearer a')).toBe('viewer');
    expect(access.roleOf('bearer  b')).toBe('operator');
  });

  it.each([undefined, '', 'Bearer', 'Bearer ', 'Bearer c', 'Basic a', 'a', ['Bearer a'], 'Bearer a b'])(
    'is not %j',
    (value) => expect(access.roleOf(value)).toBeNull(),
  );

  it('is not needed when there is none', () => expect(new Access({ tokens: [] }).roleOf(undefined)).toBe('operator'));
});
