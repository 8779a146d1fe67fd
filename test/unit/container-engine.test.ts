import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { factsFromInspect, factsFromList, readEngineEvent } from '../../src/containers/docker.js';
import { ContainerRegistry } from '../../src/containers/registry.js';

const ID = 'd'.repeat(64);

describe('an event of the engine', () => {
  const line = (action: string, attributes: Record<string, string>): string =>
    `{"Type":"container","Action":"${action}","Actor":{"ID":"${ID}","Attributes":${JSON.stringify(attributes)}},"timeNano":1795463882687352601}`;

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

describe('an answer of the engine', () => {
  it('may lack nearly everything', () => {
    expect(factsFromList({ Id: ID }, 'podman')).toMatchObject({ id: ID, labels: {}, ips: [] });
    expect(factsFromInspect({ Id: ID }, 'podman')).toMatchObject({ id: ID, labels: {}, ips: [] });
    expect(factsFromList({ Id: ID, Names: null, Labels: null, NetworkSettings: null }, 'podman')).not.toHaveProperty(
      'name',
    );
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
      engine: { host: socket, requestMs: 200, pingMs: 100, backoffMs: 200 },
    });
  });

  afterEach(async () => {
    await registry.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });

  const until = async (probe: () => boolean): Promise<void> => {
    for (let waited = 0; !probe(); waited += 10) {
      if (waited > 3000) throw new Error('timed out');
      await sleep(10);
    }
  };
  const json = (response: ServerResponse, value: unknown): void =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  const version = { Version: '5.0.0', Components: [{ Name: 'Podman Engine' }] };
  const listed = [{ Id: ID, Names: ['/web'], Image: 'nginx', ImageID: 'sha256:1', State: 'running', Labels: {} }];

  /** A sound engine but for the routes given. */
  const route =
    (special: Record<string, RequestListener>): RequestListener =>
    (request, response) => {
      const path = new URL(request.url ?? '/', 'http://engine').pathname;
      const own = Object.entries(special).find(([end]) => path.endsWith(end))?.[1];
      if (own !== undefined) return own(request, response);
      if (path === '/version') return json(response, version);
      if (path === '/containers/json') return json(response, listed);
      if (path === '/events') return response.flushHeaders();
      if (path === '/_ping') return void response.end('OK');
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
    await until(() => streams === 3 && registry.engine?.connected === true);
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
    await until(() => registry.engine?.error?.includes('listing containers') === true);
    answer = route({ '/events': (_, response) => void response.write(`\n{]\nnull\n{"Actor":{"ID":7}}\n`) });
    await until(() => registry.engine?.connected === true);
    expect(registry.list()).toHaveLength(1);
  });

  it('may break off in the middle of an answer', async () => {
    answer = route({ '/containers/json': (_, response) => void response.write('[{"Id":', () => response.destroy()) });
    await registry.start();
    expect(registry.engine).toMatchObject({ connected: false, error: expect.stringMatching(/^listing containers: /) });
  });

  it('may stop answering pings: names are kept, and no wait is in vain', async () => {
    answer = route({});
    await registry.start();
    const unknown = registry.settle('e'.repeat(64), 5000);
    answer = () => undefined;
    await until(() => registry.engine?.connected === false);
    expect(await unknown).toBe(false);
    expect(registry.find('web')?.name).toBe('web');
  });

  it('may answer an inspection too late to be true', async () => {
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
    await until(() => late !== null && stream !== null);
    const states: string[] = [];
    registry.on('change', (container, kind) => kind === 'state' && states.push(container.state));
    (stream as ServerResponse | null)?.write(
      `{"Type":"container","Action":"die","Actor":{"ID":"${ID}","Attributes":{}},"timeNano":1795463882687352601}\n`,
    );
    await until(() => registry.find('web')?.state === 'EXITED');
    (late as (() => void) | null)?.();
    await until(() => inspections === 2 && registry.find('web')?.labels['a'] === 'b');
    expect(states).toEqual(['EXITED']);
    expect(registry.find('web')).toMatchObject({ image: 'nginx:1.27', pid: null });
  });

  it('may not know a container that a cgroup has shown: nobody waits for its name', async () => {
    answer = route({});
    await registry.start();
    const stranger = registry.learnCgroup(5, `/docker/${'e'.repeat(64)}`);
    const before = performance.now();
    expect(await registry.settle(stranger ?? '', 5000)).toBe(false);
    expect(performance.now() - before).toBeLessThan(1000);
    expect(registry.list().map(({ name }) => name)).toEqual(['web', null]);
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
