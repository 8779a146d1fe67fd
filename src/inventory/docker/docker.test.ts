import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readList } from './response.js';
import { factsFromInspect, factsFromList, readEngineEvent } from './docker.js';
import { ContainerRegistry } from '../registry.js';
import { until } from '../../../test/support/until.js';
import { dockerSources } from './sources.js';

const ID = 'd'.repeat(64);

/** The registry also finds what runs on this machine, other tests' containers too. */
const ours = (registry: ContainerRegistry) => registry.list().filter(({ id }) => [ID, 'e'.repeat(64)].includes(id));

describe('an event of the engine', () => {
  const line = (action: string, attributes: Record<string, string>): string =>
    `{"Type":"container","Action":"${action}","Actor":{"ID":"${ID}","Attributes":` +
    `${JSON.stringify(attributes)}},"timeNano":1795463882687352601}`;

  it('tells name, image, labels and the time to the nanosecond', () => {
    expect(
      readEngineEvent(line('create', { name: 'web', image: 'nginx:1', tier: 'front', execID: 'x' }), 'docker'),
    ).toEqual({
      nanos: 1795463882687352601n,
      notice: {
        kind: 'facts',
        inspect: true,
        facts: {
          id: ID,
          runtime: 'docker',
          name: 'web',
          image: 'nginx:1',
          labels: { tier: 'front' },
          state: 'CREATED',
          createdAt: '2026-11-23T19:58:02.687352601Z',
        },
      },
    });
  });

  it('is understood in Podman’s words too', () => {
    expect(readEngineEvent(line('died', {}), 'podman')?.notice).toMatchObject({
      facts: { state: 'EXITED', pid: null },
    });
    expect(readEngineEvent(line('remove', {}), 'podman')?.notice).toMatchObject({ kind: 'removed', id: ID });
  });

  it('is passed over when it says nothing of use, or is not one', () => {
    expect(readEngineEvent(line('exec_start: sh', {}), 'docker')?.notice).toBeNull();
    for (const text of ['', '{', 'null', '7', '"x"']) expect(readEngineEvent(text, 'docker')).toBeNull();
    expect(readEngineEvent('{"Actor":5,"Action":[]}', 'docker')).toEqual({ notice: null, nanos: null });
  });
});

describe('a response of the engine', () => {
  it('may lack nearly everything', () => {
    expect(factsFromList({ Id: ID }, 'podman')).toMatchObject({ id: ID, labels: {}, ips: [] });
    expect(factsFromInspect({ Id: ID }, 'podman')).toMatchObject({ id: ID, labels: {}, ips: [] });
    const [listed] = readList([{ Id: ID, Names: null, Labels: null, NetworkSettings: null }]) ?? [];
    expect(listed && factsFromList(listed, 'podman')).toEqual({ id: ID, labels: {}, ips: [], runtime: 'podman' });
  });

  it('has the container’s own name among links, and no image when the list shows only its id', () => {
    expect(
      factsFromList({ Id: ID, Names: ['/web/db', '/db'], Image: 'sha256:00', State: 'Running' }, 'docker'),
    ).toMatchObject({ name: 'db', state: 'RUNNING' });
    expect(factsFromList({ Id: ID, Image: 'sha256:00' }, 'docker')).not.toHaveProperty('image');
  });

  it('has times in UTC, and none for Go’s zero time', () => {
    const State = {
      Status: 'created',
      Pid: 0,
      StartedAt: '0001-01-01T00:00:00Z',
      FinishedAt: '2026-01-02T03:04:05.123456789+02:00',
    };
    expect(factsFromInspect({ Id: ID, State, Created: '2026-01-02T03:04:05Z' }, 'docker')).toMatchObject({
      state: 'CREATED',
      pid: null,
      createdAt: '2026-01-02T03:04:05.000000000Z',
      finishedAt: '2026-01-02T01:04:05.123456789Z',
    });
    expect(factsFromInspect({ Id: ID, State }, 'docker')).not.toHaveProperty('startedAt');
  });
});

// What a sound engine cannot be made to do: break off, answer nonsense, answer late and out of date.
describe('an engine that misbehaves', () => {
  let directory: string;
  let socket: string;
  let server: Server;
  let answer: RequestListener;
  let registry: ContainerRegistry;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'eunomia-fake-'));
    socket = join(directory, 'engine.sock');
    server = createServer((request, response) => answer(request, response));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    registry = new ContainerRegistry({
      log: pino({ level: 'silent' }),
      cgroups: null,
      sources: dockerSources({
        log: pino({ level: 'silent' }),
        hosts: [socket],
        requestMs: 1000,
        pingMs: 100,
        backoffMs: 200,
      }),
    });
  });

  afterEach(async () => {
    await registry.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });

  const json = (response: ServerResponse, value: unknown): void =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  const listed = [{ Id: ID, Names: ['/web'], Image: 'nginx', ImageID: 'sha256:1', State: 'running', Labels: {} }];

  /** A sound engine but for the routes given. */
  const route =
    (special: Record<string, RequestListener>): RequestListener =>
    (request, response) => {
      const path = new URL(request.url ?? '/', 'http://engine').pathname;
      const own = Object.entries(special).find(([end]) => path.endsWith(end))?.[1];
      if (own !== undefined) return own(request, response);
      if (path === '/containers/json') return json(response, listed);
      if (path === '/events') return response.flushHeaders();
      if (path === '/_ping')
        return void response
          .writeHead(200, { 'libpod-api-version': '5.0.0', server: 'Libpod/5.0.0 (linux)' })
          .end('OK');
      response.statusCode = 404;
      json(response, { message: 'no such container' });
    };

  it('may be Podman, which holds back the head of its event answer', async () => {
    answer = route({ '/events': () => undefined });
    await registry.start();
    expect(registry.engine).toMatchObject({ connected: true, kind: 'podman', version: '5.0.0' });
    expect(registry.find('web')).toMatchObject({ runtime: 'podman', state: 'RUNNING' });
  });

  it('may close the event stream: it is listed again', async () => {
    let streams = 0;
    answer = route({
      '/events': (_, response) => {
        streams += 1;
        if (streams < 3) response.write('{"half an ev', () => response.destroy());
        else response.flushHeaders();
      },
    });
    await registry.start();
    await until('the third stream', () => streams === 3 && registry.engine?.connected === true);
    expect(registry.find('web')?.id).toBe(ID);
  });

  it('may send nonsense', async () => {
    answer = (_, response) => void response.end('<html>');
    await registry.start();
    expect(registry.engine).toMatchObject({
      connected: false,
      error: expect.stringMatching(/does not speak the Docker API/),
    });
    answer = route({ '/containers/json': (_, response) => void response.end('<html>') });
    await until('the failure is told', () => registry.engine?.error?.includes('listing containers') === true);
    answer = route({ '/events': (_, response) => void response.write(`\n{]\nnull\n{"Actor":{"ID":7}}\n`) });
    await until('it is connected', () => registry.engine?.connected === true);
    expect(ours(registry)).toHaveLength(1);
  });

  it.each([
    ['/_ping', 'connecting: the response is longer than 64 KiB'],
    ['/containers/json', 'listing containers: the response is longer than 64 MiB'],
  ])('may respond without end: %s is given up on at a bound, and the connection is closed', async (path, error) => {
    let closed = 0;
    let sent = 0;
    answer = route({
      [path]: (_, response) => {
        response.writeHead(200, { 'libpod-api-version': '5.0.0' });
        response.on('close', () => closed++);
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(1 << 20, 32))) sent += 1;
        };
        response.on('drain', more);
        more();
      },
    });
    const patient = new ContainerRegistry({
      log: pino({ level: 'silent' }),
      cgroups: null,
      sources: dockerSources({
        log: pino({ level: 'silent' }),
        hosts: [socket],
        requestMs: 60_000,
        backoffMs: 60_000,
      }),
    });
    await patient.start();
    await until('it gives up', () => patient.engine?.error != null && closed > 0);
    expect(patient.engine).toMatchObject({ connected: false, error });
    expect(sent).toBeLessThan(200);
    await patient.close();
  });

  it('may explain an error without end', async () => {
    answer = route({
      '/containers/json': (_, response) => {
        response.writeHead(500);
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(1 << 20, 32)));
        };
        response.on('drain', more);
        more();
      },
    });
    await registry.start();
    await until(
      'the failure is told',
      () => registry.engine?.error?.includes('(HTTP code 500) the response is longer than') === true,
    );
  });

  it('may be something else that listens: it is told what', async () => {
    answer = (_, response) => void response.writeHead(404).end('not found');
    await registry.start();
    expect(registry.engine).toMatchObject({
      connected: false,
      error: expect.stringMatching(
        /HTTP server listens there, but it does not speak the Docker API \(\/_ping: status 404\)/,
      ),
    });
  });

  it('is connected to without its version, which takes Podman seconds, and has none while it is away', async () => {
    const asked: string[] = [];
    const sound = route({});
    answer = (request, response) => {
      asked.push(request.url ?? '');
      sound(request, response);
    };
    await registry.start();
    expect(registry.engine).toMatchObject({ connected: true, kind: 'podman', version: '5.0.0' });
    expect(asked.filter((url) => url.includes('version'))).toEqual([]);
    answer = (_, response) => void response.destroy();
    server.closeAllConnections();
    await until('it is away', () => registry.engine?.connected === false);
    expect(registry.engine).toMatchObject({ kind: 'podman', version: null, error: expect.stringMatching(/\S/) });
  });

  it('may break off in the middle of a response', async () => {
    answer = route({ '/containers/json': (_, response) => void response.write('[{"Id":', () => response.destroy()) });
    await registry.start();
    expect(registry.engine).toMatchObject({ connected: false, error: expect.stringMatching(/^listing containers: /) });
  });

  it('may stop responding to pings: names are kept, and no wait is in vain', async () => {
    answer = route({});
    await registry.start();
    const unknown = registry.settle('e'.repeat(64), 60_000);
    answer = () => undefined;
    await until('it is away', () => registry.engine?.connected === false);
    expect(await unknown).toBe(false);
    expect(registry.find('web')?.name).toBe('web');
  });

  it('may respond to an inspection too late to be true', async () => {
    let late: (() => void) | null = null;
    let stream: ServerResponse | null = null;
    let inspections = 0;
    const inspected = {
      Id: ID,
      Name: '/web',
      Image: 'sha256:1',
      State: { Status: 'running', Pid: 7 },
      Config: { Image: 'nginx:1.27', Labels: { a: 'b' } },
    };
    answer = route({
      '/events': (_, response) => void (stream = response).flushHeaders(),
      [`/${ID}/json`]: (_, response) => {
        inspections += 1;
        if (inspections > 1) json(response, { ...inspected, State: { Status: 'exited', Pid: 0 } });
        else late = () => json(response, inspected);
      },
    });
    await registry.start();
    await until('both are asked', () => late !== null && stream !== null);
    const states: string[] = [];
    registry.on('change', (container, kind) => kind === 'state' && states.push(container.state));
    (stream as ServerResponse | null)?.write(
      `{"Type":"container","Action":"die","Actor":{"ID":"${ID}","Attributes":{}},"timeNano":1795463882687352601}\n`,
    );
    await until('it has exited', () => registry.find('web')?.state === 'EXITED');
    (late as (() => void) | null)?.();
    await until('it is inspected again', () => inspections === 2 && registry.find('web')?.labels['a'] === 'b');
    expect(states).toEqual(['EXITED']);
    expect(registry.find('web')).toMatchObject({ image: 'nginx:1.27', pid: null });
  });

  it('may not know a container that a cgroup has shown: nobody waits for its name', async () => {
    answer = route({});
    await registry.start();
    const stranger = registry.learnCgroup(5, `/docker/${'e'.repeat(64)}`);
    expect(stranger?.id).toBe('e'.repeat(64));
    const before = performance.now();
    expect(await registry.settle(stranger ?? '', 20_000)).toBe(false);
    expect(performance.now() - before).toBeLessThan(10_000);
    expect(ours(registry).map(({ name }) => name)).toEqual(['web', null]);
  });

  it('leaves the registry unharmed by a listener that throws', async () => {
    answer = route({});
    registry.on('change', () => {
      throw new Error('listener');
    });
    await registry.start();
    expect(registry.find('web')?.id).toBe(ID);
  });
});
