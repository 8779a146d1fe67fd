import { expect, it } from 'vitest';
import { wholeNames } from './whole-names.js';

const known = new Set([
  ...[
    'time',
    'path',
    'errno',
    'flags',
    'args',
    'process.pid',
    'process.comm',
    'process.parent.comm',
    'process.ancestors',
  ],
  ...['container.id', 'container.name', 'container.image', 'container.path'],
]);

it.each([
  ['comm=="curl"', 'process.comm=="curl"'],
  ['pid in [1, 2] && !(image == null)', 'process.pid in [1, 2] && !(container.image == null)'],
  ['name.glob("web-*") || "comm" in args', 'container.name.glob("web-*") || "comm" in args'],
  ['parent.comm == "sshd" || parent == null', 'process.parent.comm == "sshd" || process.parent == null'],
  ['labels["a.b"] == "x" && "y" in labels', 'container.labels["a.b"] == "x" && "y" in container.labels'],
  ['ancestors.exists(comm, comm.pid == 1)', 'process.ancestors.exists(comm, comm.pid == 1)'],
  ['args.exists(a, a == "comm") && size(args) < 3', 'args.exists(a, a == "comm") && size(args) < 3'],
  // Variables are nobody's fields, in whichever macro.
  ['args.exists_one(comm, comm == "a") && comm == "b"', 'args.exists_one(comm, comm == "a") && process.comm == "b"'],
  ['args.all(pid, pid != "a" && comm == pid)', 'args.all(pid, pid != "a" && process.comm == pid)'],
  [
    'args.filter(image, image == "a").map(name, name + image)',
    'args.filter(image, image == "a").map(name, name + container.image)',
  ],
  ['args.map(comm, pid > 1, comm + name)', 'args.map(comm, process.pid > 1, comm + container.name)'],
  ['args.exists(pid, comm, comm == "a" && pid > 0)', 'args.exists(pid, comm, comm == "a" && pid > 0)'],
  ['cel.bind(comm, comm + name, comm == "a")', 'cel.bind(comm, process.comm + container.name, comm == "a")'],
  ['name.startsWith(comm)', 'container.name.startsWith(process.comm)'],
  // Two fields, one below the other.
  ['comm ==\n  name', 'process.comm ==\n  container.name'],
  // What events have of this name comes first, and whole names stay.
  ['path == "/x" && process.comm == "a"', 'path == "/x" && process.comm == "a"'],
  [
    'open.path == "/x" && time > timestamp("2026-01-31T00:00:00Z")',
    'open.path == "/x" && time > timestamp("2026-01-31T00:00:00Z")',
  ],
  // The server says what is wrong with these.
  ['com == "a"', 'com == "a"'],
  ['comm = "a"', 'comm = "a"'],
  ['', ''],
])('%s: whole names', (typed, whole) => {
  expect(wholeNames(typed, known)).toBe(whole);
});

it('an expression may be as long as a server takes', () => {
  const typed = Array.from({ length: 1249 }, () => 'pid==1').join('||');
  expect(wholeNames(typed, known)).toBe(typed.replaceAll('pid', 'process.pid'));
});
