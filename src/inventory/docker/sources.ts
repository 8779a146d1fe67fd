import type { CreateSource } from '../source.js';
import { defaultEndpoints } from './endpoint.js';
import { Engine, type EngineOptions } from './engine.js';

export interface DockerOptions extends Omit<EngineOptions, 'host'> {
  /** Where the engines are. Default: DOCKER_HOST, or the usual sockets that exist. */
  readonly hosts?: readonly string[] | undefined;
}

/** A source for each engine that speaks the Docker API: Docker, and Podman's socket. */
export function dockerSources({ hosts = defaultEndpoints(), ...limits }: DockerOptions): CreateSource[] {
  return [...new Set(hosts)].map((host) => (sink) => new Engine({ ...limits, host }, sink));
}
