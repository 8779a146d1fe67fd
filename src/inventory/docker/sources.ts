import type { CreateSource } from '../source.js';
import { endpoints } from './endpoint.js';
import { Engine, type EngineOptions } from './engine.js';

export interface DockerOptions extends Omit<EngineOptions, 'endpoint'> {
  /** Where the engines are; null: DOCKER_HOST, or the usual sockets that exist. */
  readonly hosts: readonly string[] | null;
}

/** A source for each engine that speaks the Docker API: Docker, and Podman's socket. */
export function dockerSources({ hosts, ...limits }: DockerOptions): CreateSource[] {
  return endpoints(hosts).map((endpoint) => (sink) => new Engine({ ...limits, endpoint }, sink));
}
