export type { CgroupMount, CgroupOwner } from './cgroup.js';
export { parseCgroupPath } from './cgroup.js';
export type { Container, ContainerState, Pod } from './container.js';
export type { ChangeKind } from './directory.js';
export type { EngineOptions, EngineStatus } from './engine.js';
export { ContainerRegistry, type Identity, type RegistryEvents, type RegistryOptions } from './registry.js';
export { compileSelector, type ContainerSelector, type LabelSelector } from './selector.js';
