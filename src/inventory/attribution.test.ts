import { beforeEach, describe, expect, it } from 'vitest';
import { CgroupAttribution } from './attribution.js';
import { ContainerDirectory } from './directory.js';

const OUTER = 'a'.repeat(64);
const INNER = 'b'.repeat(64);
const NESTED = `/docker/${OUTER}/docker/${INNER}`;

let directory: ContainerDirectory;
let attribution: CgroupAttribution;
let delegated: string[];
let absent: Set<string>;
let asked: string[];
let hopeful: boolean;

beforeEach(() => {
  [delegated, absent, asked, hopeful] = [[], new Set(), [], true];
  directory = new ContainerDirectory();
  const believes = (path: string): boolean => !delegated.some((parent) => path.startsWith(`${parent}/`));
  attribution = new CgroupAttribution({
    directory,
    mount: null,
    trust: { believes, believesIn: (_, path) => believes(path) },
    knowledge: {
      told: (id) => directory.isNamed(id),
      mayTell: (id) => hopeful && !absent.has(id),
      ask: (id) => void (directory.isNamed(id) || asked.push(id)),
    },
  });
});

describe('a cgroup inside another container’s', () => {
  it('belongs to the innermost container that an engine knows', () => {
    directory.apply({ id: OUTER, name: 'outer' });
    directory.apply({ id: INNER, name: 'inner' });
    expect(attribution.learn(7, NESTED)).toMatchObject({ name: 'inner', cgroupId: 7 });
    expect(attribution.learn(8, `${NESTED}/below`)).toMatchObject({ name: 'inner' });
    expect(asked).toEqual([]);
  });

  it('waits for the engine’s word, and belongs to the inner one when the engine knows it', () => {
    directory.apply({ id: OUTER, name: 'outer' });
    expect(attribution.learn(7, NESTED)).toBeUndefined();
    expect(directory.byCgroup(7)).toBeUndefined();
    expect(asked).toEqual([INNER]);
    directory.apply({ id: INNER, name: 'inner' });
    attribution.decide(INNER);
    expect(directory.byCgroup(7)).toMatchObject({ name: 'inner' });
  });

  it('belongs to the outer one when no engine knows the inner one, and leaves no container of that id', () => {
    directory.apply({ id: OUTER, name: 'outer' });
    attribution.learn(7, NESTED);
    absent.add(INNER);
    attribution.decide(INNER);
    expect(directory.byCgroup(7)).toMatchObject({ name: 'outer' });
    expect(directory.byId(INNER)).toBeUndefined();
  });

  it('belongs to the outer one at once when no engine will tell', () => {
    hopeful = false;
    expect(attribution.learn(7, NESTED)).toMatchObject({ id: OUTER });
    expect(attribution.learn(8, `/docker/${OUTER}`)).toMatchObject({ id: OUTER });
  });
});

describe('a name that others than root could choose', () => {
  const LURE = `/user.slice/user-1000.slice/user@1000.service/docker-${OUTER}.scope`;

  it('makes no container, and takes no cgroup from the real one', () => {
    delegated = ['/user.slice/user-1000.slice/user@1000.service'];
    directory.apply({ id: OUTER, name: 'web' });
    attribution.learn(7, `/docker/${OUTER}`);
    expect(attribution.learn(8, LURE)).toBeNull();
    expect(directory.byId(OUTER)).toMatchObject({ name: 'web', cgroupId: 7 });
    expect(directory.cgroupIds(OUTER)).toEqual([7]);
  });

  it('inside a container belongs to that container', () => {
    delegated = [`/docker/${OUTER}`];
    directory.apply({ id: OUTER, name: 'outer' });
    directory.apply({ id: INNER, name: 'inner' });
    expect(attribution.learn(7, NESTED)).toMatchObject({ name: 'outer' });
  });
});
