import { describe, expect, it } from 'vitest';
import { Access, checkListen, isLoopback, loadTls } from './access.js';
import { defaultConfig } from '../base/config.js';

const tls = { certFile: '/no/cert.pem', keyFile: '/no/key.pem' };
const nobody = { check: async () => ({ operator: false, reason: 'nobody' }) as const };
const somebody = { check: async () => ({ operator: true }) as const };
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
    expect(
      ['LOCALHOST', '[::1]', 'localhost.', 'app.localhost', '[::ffff:7f00:1]'].filter((name) => !isLoopback(name)),
    ).toEqual([]);
    expect(['1.2.3.4', '', '127.0.0', '0', 'local', '::ffff:8000:1'].filter(isLoopback)).toEqual([]);
  });

  it('says which file of TLS cannot be read', () =>
    expect(() => loadTls(tls)).toThrow('--tls-cert /no/cert.pem: cannot be read: ENOENT'));
});

describe('a token', () => {
  const access = new Access(
    {
      ...defaultConfig,
      tokens: [
        { secret: 'a', role: 'viewer' },
        { secret: 'b', role: 'operator' },
      ],
    },
    somebody,
  );

  it('has its role', async () => {
    expect(await access.identify({}, 'Bearer a')).toMatchObject({ role: 'viewer' });
    expect(await access.identify({}, 'bearer  b')).toMatchObject({ role: 'operator' });
  });

  it.each([undefined, null, '', ' ', 'Bearer', 'Bearer '])(
    'says to %j that a token is needed',
    async (authorization) => {
      expect(await access.identify({}, authorization)).toMatchObject({
        message: expect.stringContaining('this server needs a token'),
      });
    },
  );
  it.each(['Bearer c', 'Basic a', ['Bearer a'], 7])('says to %j that it knows no such token', async (authorization) => {
    expect(await access.identify({}, authorization)).toMatchObject({
      message: expect.stringContaining('the token is not known'),
    });
  });
  it.each([undefined, '', 'Bearer', 'Bearer ', 'Bearer c', 'Basic a', 'a', ['Bearer a'], 'Bearer a b'])(
    'is not %j',
    async (value) => expect(await access.identify({}, value)).toMatchObject({ code: 'UNAUTHENTICATED' }),
  );
});

describe('without tokens', () => {
  const ends = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 };

  it('the owner of a loopback connection is an operator, whatever token is sent', async () => {
    const access = new Access({ ...defaultConfig, localToken: 'local' }, somebody);
    expect(await access.identify(ends, undefined)).toMatchObject({ role: 'operator' });
    expect(await access.identify({ ...ends }, 'Bearer stale')).toMatchObject({ role: 'operator' });
    expect(await access.identify({ ...ends, remoteAddress: '192.0.2.1' }, undefined)).toMatchObject({
      code: 'UNAUTHENTICATED',
    });
    expect(await access.identify({}, undefined)).toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  it('others need the local token, and are told why', async () => {
    const access = new Access({ ...defaultConfig, localToken: 'local' }, nobody);
    expect(await access.identify(ends, undefined)).toMatchObject({
      code: 'UNAUTHENTICATED',
      message: expect.stringContaining('; nobody') as string,
    });
    expect(await access.identify(ends, 'Bearer local')).toMatchObject({ role: 'operator' });
    expect(await access.identify(ends, 'Bearer ')).toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  it('a connection is looked up once', async () => {
    let lookups = 0;
    const access = new Access(defaultConfig, { check: async () => ((lookups += 1), { operator: true }) });
    await Promise.all([access.identify(ends, undefined), access.identify(ends, undefined)]);
    expect(lookups).toBe(1);
  });

  it('everybody is an operator with --insecure-no-auth, and only without tokens', async () => {
    expect(await new Access({ ...defaultConfig, insecureNoAuth: true }, nobody).identify(ends, undefined)).toEqual({
      who: 'anybody',
      role: 'operator',
    });
    expect(
      await new Access({ ...defaultConfig, insecureNoAuth: true, tokens }, nobody).identify(ends, undefined),
    ).toMatchObject({ code: 'UNAUTHENTICATED' });
  });
});
