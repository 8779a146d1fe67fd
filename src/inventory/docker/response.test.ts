import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readEvent, readInspected, readList } from './response.js';
import { factsFromInspect, factsFromList, readEngineEvent } from './docker.js';
import { ContainerRegistry } from '../registry.js';
import { hostileJson, mutated } from '../../../test/support/hostile-json.js';
import { until } from '../../../test/support/until.js';
import { dockerSources } from './sources.js';

const ID = 'd'.repeat(64);
const listed = {
  Id: ID,
  Names: ['/web'],
  Image: 'nginx',
  ImageID: 'sha256:1',
  Created: 1795463882,
  State: 'running',
  Labels: { tier: 'front' },
  NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.2' } } },
};
const inspected = {
  Id: ID,
  Name: '/web',
  Image: 'sha256:1',
  Created: '2026-11-23T19:58:02.1Z',
  State: { Status: 'running', Pid: 12, StartedAt: '2026-11-23T19:58:02.1Z', FinishedAt: '0001-01-01T00:00:00Z' },
  Config: { Image: 'nginx', Labels: { tier: 'front' } },
  NetworkSettings: { Networks: {} },
};
const happened = {
  Type: 'container',
  Action: 'start',
  Actor: { ID, Attributes: { name: 'web', image: 'nginx' } },
  timeNano: 1795463882687352,
};
const line = (timeNano: string): string =>
  `{"Type":"container","Action":"start","Actor":{"ID":"${ID}","Attributes":{}},"timeNano":${timeNano}}`;

describe('an engine’s JSON', () => {
  it('with a time that cannot be is an event that happens now', () => {
    for (const nanos of ['99999999999999999999', '9'.repeat(400), '1e30', '-5', '1.5', 'null', '"x"', '{}']) {
      const read = readEngineEvent(line(nanos), 'docker');
      expect(read).toMatchObject({
        nanos: null,
        notice: { kind: 'facts', facts: { state: 'RUNNING', startedAt: expect.stringMatching(/^20\d\d-/) } },
      });
    }
    const decade = BigInt(Date.now() + 10 * 365 * 86_400_000) * 1_000_000n;
    expect(readEngineEvent(line(String(decade)), 'docker')).toMatchObject({ nanos: null });
    expect(readEngineEvent(line('1795463882687352601'), 'docker')).toMatchObject({ nanos: 1795463882687352601n });
  });

  it('with a creation in nanoseconds or of another type is a container without that time', () => {
    for (const Created of [1.795463882687352e18, -1, 1.5, Number.MAX_VALUE, 'yesterday', {}, null]) {
      const [only] = readList([{ ...listed, Created }]) ?? [];
      if (!only) throw new Error('the container is gone');
      expect(factsFromList(only, 'docker')).toMatchObject({ id: ID, name: 'web' });
      expect(factsFromList(only, 'docker')).not.toHaveProperty('createdAt');
    }
    for (const Created of [
      '2026-13-45T99:99:99+02:00',
      '2026-02-30T00:00:00Z',
      '9999-12-31T23:59:59-14:00',
      12,
      [],
      '2026-01-02T03:04:05.123456789123Z',
    ]) {
      const read = readInspected({ ...inspected, Created });
      if (!read) throw new Error('the container is gone');
      expect(factsFromInspect(read, 'docker')).toMatchObject({ name: 'web' });
      expect(factsFromInspect(read, 'docker')).not.toHaveProperty('createdAt');
    }
  });

  it('tells whether the container has all privileges, if the engine does', () => {
    const privileged = (HostConfig: unknown): boolean | undefined => {
      const read = readInspected({ ...inspected, HostConfig });
      return read ? factsFromInspect(read, 'docker').privileged : undefined;
    };
    expect([{ Privileged: true }, { Privileged: false }, {}, undefined, { Privileged: 'yes' }].map(privileged)).toEqual(
      [true, false, undefined, undefined, undefined],
    );
  });

  it('with a field of another type costs that field alone', () => {
    const [only] =
      readList([
        {
          ...listed,
          Names: 7,
          Labels: ['x'],
          State: {},
          NetworkSettings: { Networks: { a: 5, b: { IPAddress: 7, GlobalIPv6Address: 'fe80::1' } } },
        },
        null,
        5,
        { Id: 7 },
        'x',
      ]) ?? [];
    expect(only && factsFromList(only, 'docker')).toEqual({
      id: ID,
      image: 'nginx',
      imageId: 'sha256:1',
      labels: {},
      runtime: 'docker',
      createdAt: '2026-11-23T19:58:02.000000000Z',
      ips: ['fe80::1'],
    });
    expect(readList('<html>')).toBeNull();
  });

  it('has as many labels as fit, however many were sent', () => {
    const Labels = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`label-${i}`, 'x'.repeat(100)]));
    const [only] = readList([{ ...listed, Labels }]) ?? [];
    const kept = Object.entries(only?.Labels ?? {});
    expect(kept.length).toBe(1000);
    expect(kept[0]).toEqual(['label-0', 'x'.repeat(100)]);
    const [long] = readList([{ ...listed, Labels: { first: 'x', second: 'y'.repeat(1 << 20) } }]) ?? [];
    expect(long?.Labels).toEqual({ first: 'x' });
  });

  it('whatever it is, makes facts that can be told or nothing', () => {
    const told = (value: unknown): void => expect(() => JSON.stringify(value)).not.toThrow();
    fc.assert(
      fc.property(fc.oneof(hostileJson, mutated(listed), mutated([listed])), (value) => {
        for (const each of readList(Array.isArray(value) ? value : [value]) ?? []) told(factsFromList(each, 'docker'));
      }),
    );
    fc.assert(
      fc.property(fc.oneof(hostileJson, mutated(inspected)), (value) => {
        const read = readInspected(value);
        if (read) told(factsFromInspect(read, 'docker'));
      }),
    );
    fc.assert(
      fc.property(fc.oneof(hostileJson, mutated(happened), mutated({ ...happened, Type: 'network' })), (value) => {
        readEvent(JSON.stringify(value) ?? '');
        readEngineEvent(JSON.stringify(value) ?? '', 'docker');
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => void readEngineEvent(text, 'docker')));
  });
});

describe('an engine that sends anything', () => {
  let directory: string;
  let server: Server;
  let answer: RequestListener;
  let registry: ContainerRegistry;
  const failures: unknown[] = [];
  const onFailure = (error: unknown): void => void failures.push(error);

  beforeEach(async () => {
    failures.length = 0;
    process.on('uncaughtExceptionMonitor', onFailure);
    process.on('unhandledRejection', onFailure);
    directory = await mkdtemp(join(tmpdir(), 'eunomia-hostile-'));
    server = createServer((request, response) => answer(request, response));
    await new Promise<void>((resolve) => server.listen(join(directory, 'engine.sock'), resolve));
    registry = new ContainerRegistry({
      log: pino({ level: 'silent' }),
      cgroups: null,
      sources: dockerSources({
        log: pino({ level: 'silent' }),
        hosts: [join(directory, 'engine.sock')],
        requestMs: 1000,
        pingMs: 1000,
        backoffMs: 100,
      }),
    });
  });

  afterEach(async () => {
    await registry.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
    process.off('uncaughtExceptionMonitor', onFailure);
    process.off('unhandledRejection', onFailure);
  });

  const json = (response: ServerResponse, value: unknown): void =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));

  it('as events, stays connected, and the next sound event is understood', async () => {
    let events: ServerResponse | null = null;
    answer = ({ url = '/' }, response) => {
      if (url.includes('/events')) {
        events = response;
        response.flushHeaders();
      } else if (url.includes('/containers/json')) json(response, [listed]);
      else if (url.includes('/json')) json(response, inspected);
      else response.setHeader('api-version', '1.43').end('OK');
    };
    await registry.start();
    await until('the events are asked for', () => events !== null);
    const stream = events as ServerResponse | null;
    for (const value of fc.sample(fc.oneof(hostileJson, mutated(happened)), 500))
      stream?.write(`${JSON.stringify(value)}\n`);
    stream?.write(`${line('99999999999999999999')}\n${line('9'.repeat(400))}\n`);
    stream?.write(
      `${JSON.stringify({ Type: 'container', Action: 'rename', Actor: { ID, Attributes: { name: 'renamed' } } })}\n`,
    );
    await until('it is renamed', () => registry.find('renamed') !== undefined);
    expect(registry.engine?.connected).toBe(true);
    expect(failures).toEqual([]);
  });

  it('as answers, is connected again once it sends sound ones', async () => {
    const samples = fc.sample(
      fc.tuple(
        fc.constantFrom({}, { server: 'x' }, { 'api-version': '', server: 'Docker/' }, { 'libpod-api-version': '7' }),
        fc.oneof(hostileJson, mutated([listed, null])),
        fc.oneof(hostileJson, mutated(inspected)),
      ),
      8,
    );
    let asked = 0;
    answer = ({ url = '/' }, response) => {
      const [headers, l, i] = samples[asked] ?? [{ 'api-version': '1.43' }, [listed], inspected];
      if (url.includes('/events'))
        response.write(`${JSON.stringify(l)}\n`, () => asked < samples.length && response.destroy());
      else if (url.includes('/_ping')) {
        asked += 1;
        response.writeHead(200, asked % 3 === 0 ? headers : { 'api-version': '1.43' }).end('OK');
      } else if (url.includes('/containers/json')) json(response, l);
      else if (url.includes('/json')) json(response, i);
      else response.setHeader('api-version', '1.43').end('OK');
    };
    await registry.start();
    await until(
      'all are told',
      () => asked >= samples.length && registry.engine?.connected === true && registry.find('web') !== undefined,
    );
    expect(failures).toEqual([]);
  });
});
