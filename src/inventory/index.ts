export type { CgroupOwner } from './cgroup.js';
export type { Container, ContainerState, Pod } from './container.js';
export type { ChangeKind } from './directory.js';
export { dockerSources, type DockerOptions } from './docker/sources.js';
export type { ContainerSource, CreateSource, EngineStatus, SourceSink } from './source.js';
export { ContainerRegistry, type ContainerIdentity, type RegistryEvents, type RegistryOptions } from './registry.js';
export { compileSelector, type ContainerSelector, type LabelSelector } from './selector.js';
