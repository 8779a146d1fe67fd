import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { createContainer, type ContainerFacts } from './container.js';
import { ContainerRegistry } from './registry.js';
import type { ContainerSource, CreateSource, EngineStatus, SourceSink } from './source.js';

const log = pino({ level: 'silent' });
const id = 'c'.repeat(64);
const other = 'd'.repeat(64);
const facts = (of: string, name: string): ContainerFacts => ({
  id: of,
  runtime: 'containerd',
  name,
  state: 'RUNNING',
  labels: { app: name },
});

/** A source of a runtime that is no Docker: what a CRI client will be to the registry. */
class TestSource implements ContainerSource {
  status: EngineStatus;
  hopeful = true;
  readonly asked: string[] = [];
  closed = 0;
  readonly #sink: SourceSink;
  readonly #containers: readonly ContainerFacts[];
  readonly #runtime: string;

  constructor(sink: SourceSink, runtime: string, containers: readonly ContainerFacts[], error: string | null) {
    this.#sink = sink;
    this.#runtime = runtime;
    this.#containers = containers;
    const connected = error === null;
    this.status = { connected, error, version: connected ? '1' : null, kind: runtime, endpoint: `unix:///${runtime}` };
  }

  start(onFirst: () => void): void {
    if (this.status.connected) this.#sink.listed(this.#containers, new Set());
    this.hopeful = this.status.connected;
    this.#sink.status(this.status);
    onFirst();
  }

  request(wanted: string): void {
    this.asked.push(wanted);
    const known = this.#containers.find((container) => container.id === wanted);
    if (known) this.#sink.facts(known);
    else this.#sink.absent(wanted);
  }

  leave(): void {
    this.hopeful = false;
    this.status = { ...this.status, connected: false, error: 'it has ended' };
    this.#sink.status(this.status);
  }

  covers(runtime: string): boolean {
    return runtime === this.#runtime;
  }

  async close(): Promise<void> {
    this.closed++;
  }
}

const registries: ContainerRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.close();
});

interface Part {
  readonly runtime: string;
  readonly containers?: readonly ContainerFacts[];
  readonly error?: string;
}

async function registryOf(...parts: readonly Part[]): Promise<{ registry: ContainerRegistry; sources: TestSource[] }> {
  const sources: TestSource[] = [];
  const creators = parts.map(({ runtime, containers = [], error = null }): CreateSource => (sink) => {
    const source = new TestSource(sink, runtime, containers, error);
    sources.push(source);
    return source;
  });
  const registry = new ContainerRegistry({ log, sources: creators, cgroups: null });
  registries.push(registry);
  await registry.start();
  return { registry, sources };
}

describe('a registry of container sources', () => {
  it('takes facts from any source, and each container from the one that knows it', async () => {
    const { registry } = await registryOf(
      { runtime: 'containerd', containers: [facts(id, 'pod-a')] },
      { runtime: 'crio', containers: [facts(other, 'pod-b')] },
    );
    // It also finds what runs on this machine, other tests' containers too.
    const ours = registry.list().filter((container) => [id, other].includes(container.id));
    expect(ours.map(({ name, labels }) => [name, labels])).toEqual([
      ['pod-a', { app: 'pod-a' }],
      ['pod-b', { app: 'pod-b' }],
    ]);
    expect(registry.engines.map(({ endpoint }) => endpoint)).toEqual(['unix:///containerd', 'unix:///crio']);
  });

  it('says of a container without a name whether a source that is silent may know it', async () => {
    const { registry } = await registryOf(
      { runtime: 'containerd', containers: [facts(id, 'pod-a')] },
      { runtime: 'docker', error: 'it hangs' },
    );
    const pod = registry.find(id);
    if (!pod) throw new Error('the container is not known');
    const unnamed = { ...pod, id: other };
    expect(registry.silentEngines.map(({ kind }) => kind)).toEqual(['docker']);
    // containerd's source is connected, and may still tell of its own.
    expect(registry.lacksFacts(unnamed)).toBe(true);
    expect(registry.lacksFacts(pod)).toBe(false);
  });

  it('is not kept waiting for names by a source that does not know the runtime', async () => {
    const { registry } = await registryOf({ runtime: 'docker', error: 'it hangs' });
    expect(registry.lacksFacts(createContainer(id, 'containerd'))).toBe(false);
    expect(registry.lacksFacts(createContainer(id, 'docker'))).toBe(true);
  });

  it('tells when nobody will describe a container any more: its engine does not know it, or is away', async () => {
    const { registry, sources } = await registryOf({ runtime: 'docker', containers: [facts(id, 'web')] });
    const [source] = sources;
    if (!source) throw new Error('there is no source');
    const [unknown, waiting] = [createContainer(other, 'docker'), createContainer('e'.repeat(64), 'docker')];
    const awaited: boolean[][] = [];
    const unwatch = registry.watchDescriptions(() =>
      awaited.push([unknown, waiting].map((container) => registry.awaitsDescription(container))),
    );
    expect([unknown, waiting].map((container) => registry.awaitsDescription(container))).toEqual([true, true]);
    source.request(other);
    expect(awaited).toEqual([[false, true]]);
    source.leave();
    expect(awaited.at(-1)).toEqual([false, false]);
    const { length } = awaited;
    unwatch();
    source.leave();
    expect(awaited).toHaveLength(length);
  });

  it('without sources knows no engine, and waits for none', async () => {
    const { registry } = await registryOf();
    expect(registry.engine).toBeNull();
    expect(await registry.settle(id, 60_000)).toBe(false);
  });

  it('closes all of them', async () => {
    const { registry, sources } = await registryOf({ runtime: 'containerd' }, { runtime: 'docker', error: 'gone' });
    await registry.close();
    expect(sources.map(({ closed }) => closed)).toEqual([1, 1]);
  });
});
