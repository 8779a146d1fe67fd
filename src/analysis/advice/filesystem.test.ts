import { describe, expect, it } from 'vitest';
import type { CurrentRights, Observation, PathAccess, SeenPath } from '../../event/advice.js';
import { fileRights, roomFor } from './filesystem.js';
import { emptyObservation } from './observation.js';

const at = (second: number): string => `2026-01-01T00:00:0${second}Z`;
const seen = (path: string, access: PathAccess, second = 1): SeenPath => ({
  path,
  access,
  runtime: false,
  comms: ['x'],
  first: at(second),
  last: at(9),
  count: 1,
});
const started = (paths: readonly SeenPath[], start: string | null = at(0)): Observation => ({
  ...emptyObservation(),
  containers: [{ id: 'a', name: 'web', image: 'web:1', started: start }],
  paths,
});
const rightsOf = (observation: Observation, current: Partial<CurrentRights> | null = null) => {
  const { readOnlyRoot, tmpfs, volumes } = fileRights(observation, current as CurrentRights | null);
  return {
    readOnlyRoot,
    tmpfs: tmpfs.map(({ path }) => path),
    volumes: volumes.map(({ path, writable }) => `${path} ${writable ? 'rw' : 'ro'}`),
  };
};

describe('a tmpfs is recommended only where it hides nothing of the image', () => {
  it('neither a directory that it writes to without having made it', () => {
    expect(rightsOf(started([seen('/run/mysqld/mysqld.pid', 'WRITE')]))).toEqual({
      readOnlyRoot: true,
      tmpfs: [],
      volumes: ['/run rw'],
    });
    expect(rightsOf(started([seen('/run/mysqld/mysqld.pid', 'WRITE')], null)).volumes).toEqual(['/run rw']);
  });

  it('nor a file that it reads before it writes to it', () => {
    const paths = [seen('/var/cache/app/db', 'READ', 1), seen('/var/cache/app/db', 'WRITE', 2)];
    expect(rightsOf(started(paths)).volumes).toEqual(['/var/cache/app rw']);
  });

  it('but where it has made all that is in it', () => {
    const paths = [
      seen('/run/app', 'MAKE'),
      seen('/run/app/pid', 'WRITE', 2),
      seen('/run/app/pid', 'READ', 3),
      seen('/tmp/x', 'WRITE'),
    ];
    expect(rightsOf(started(paths))).toEqual({ readOnlyRoot: true, tmpfs: ['/run', '/tmp'], volumes: [] });
  });

  it('of many names, those of a directory for temporary files are its own, and others were there', () => {
    const many = (directory: string) => [seen(directory, 'MAKE', 1), seen(directory, 'READ', 2)];
    expect(rightsOf(started(many('/tmp/'))).tmpfs).toEqual(['/tmp']);
    expect(rightsOf(started([seen('/tmp/', 'MAKE'), seen('/tmp/a', 'READ', 2)])).tmpfs).toEqual(['/tmp']);
    expect(rightsOf(started([seen('/tmp/', 'READ'), seen('/tmp/a', 'MAKE')])).volumes).toEqual(['/tmp rw']);
    const cache = [seen('/var/cache/app', 'MAKE', 1), ...many('/var/cache/app/')];
    expect(rightsOf(started(cache)).volumes).toEqual(['/var/cache rw']);
    expect(rightsOf(started(cache.slice(0, 2))).tmpfs).toEqual(['/var/cache']);
    // A directory with one of the many names was made.
    expect(rightsOf(started([seen('/run/', 'MAKE'), seen('/run/job.1/pid', 'WRITE', 2)])).tmpfs).toEqual(['/run']);
    // That of a cache may be the image's.
    const beside = [seen('/var/cache/app/', 'MAKE'), seen('/var/cache/app/seed/x', 'WRITE', 2)];
    expect(rightsOf(started(beside)).volumes).toEqual(['/var/cache/app rw']);
  });

  it('and in /tmp, what was made before anybody watched is taken for its own', () => {
    expect(rightsOf(started([seen('/tmp/a/b', 'WRITE')], null)).tmpfs).toEqual(['/tmp']);
    expect(rightsOf(started([seen('/tmp/a/b', 'WRITE')])).volumes).toEqual(['/tmp rw']);
  });
});

describe('what is mounted', () => {
  it('has only names that mean nothing else in the options of an engine', () => {
    const odd = '/x,type=bind,source=/etc/passwd';
    expect(rightsOf(started([seen(odd, 'WRITE')]))).toEqual({ readOnlyRoot: false, tmpfs: [], volumes: [] });
    expect(rightsOf(started([seen('/var/log/a:exec/x', 'WRITE')])).volumes).toEqual(['/var/log rw']);
    expect(roomFor(odd)).toEqual({ kind: 'ROOT', path: '/' });
    expect(roomFor('/srv/a\nb/c')).toEqual({ kind: 'VOLUME', path: '/srv' });
  });

  it('is the root where there would be hundreds of directories', () => {
    const paths = Array.from({ length: 101 }, (_, i) => seen(`/d${i}/a/b`, 'WRITE'));
    expect(rightsOf(started(paths))).toEqual({ readOnlyRoot: false, tmpfs: [], volumes: [] });
    expect(rightsOf(started(paths.slice(1))).volumes).toHaveLength(100);
  });

  it('is writable where it is the innermost around what is written', () => {
    const mounts = ['/data', '/data/inner', '/data/other'].map((path) => ({ path, writable: true }));
    expect(rightsOf(started([seen('/data/inner/x/y', 'WRITE')]), { mounts }).volumes).toEqual([
      '/data ro',
      '/data/inner rw',
      '/data/other ro',
    ]);
  });
});
