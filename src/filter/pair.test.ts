import { describe, expect, it } from 'vitest';
import { eventWith, type EventFields } from '../../test/support/event.js';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { EventFilter, fieldsOf, FilterFields, optimise, parseCel, print } from './index.js';

const schema = contractSchema();
const fields = new FilterFields(schema, new Catalog(schema, await loadTrackers(), () => false));
const trackers = ['exec', 'ipc', 'open'];
const matches = (text: string, tracker: string, event: EventFields): boolean =>
  new EventFilter(parseCel(text, fields, trackers), fields, trackers).matches(eventWith(tracker, event));
const simple = (text: string): string => print(optimise(parseCel(text, fields, trackers), fields, trackers));

const web = { id: 'aa', name: 'web', image: null, labels: {} };

describe('two fields of one event', () => {
  it.each([
    ['process.pid == process.tid', 'exec', { process: { pid: 7, tid: 7 } }, true],
    ['process.pid == process.tid', 'exec', { process: { pid: 7, tid: 8 } }, false],
    ['process.pid != process.tid', 'exec', { process: { pid: 7, tid: 8 } }, true],
    ['peerContainerId != container.id', 'ipc', { container: web, peerContainerId: 'bb' }, true],
    ['peerContainerId != container.id', 'ipc', { container: web, peerContainerId: 'aa' }, false],
    ['peerContainerId == container.id', 'ipc', { container: web, peerContainerId: 'aa' }, true],
    // What is null is neither equal nor unequal.
    ['peerContainerId != container.id', 'ipc', { container: web, peerContainerId: null }, false],
    ['peerContainerId != container.id', 'ipc', { container: null, peerContainerId: 'bb' }, false],
    ['peerContainerId == container.id', 'ipc', { container: null, peerContainerId: null }, false],
    ['!(peerContainerId == container.id)', 'ipc', { container: null, peerContainerId: 'bb' }, true],
    // Wide integers are numbers or texts.
    ['cgroupId == peerCgroupId', 'ipc', { cgroupId: '42', peerCgroupId: 42 }, true],
    // Only events of ipc have both.
    ['peerContainerId != container.id', 'exec', { container: web }, false],
    ['process.ancestors.exists(p, p.comm == p.comm)', 'exec', {}, false],
  ] as const)('%s of %s %j is %s', (text, tracker, event, expected) => {
    expect(matches(text, tracker, event)).toBe(expected);
  });

  it.each([
    ['process.tid == process.pid', 'process.pid == process.tid'],
    ['!(process.tid == process.pid)', 'process.pid != process.tid'],
    ['!(container.id == peerContainerId)', '!(container.id == peerContainerId)'],
    ['process.pid == process.pid', 'true'],
    ['process.pid != process.pid', 'false'],
    ['container.id == container.id', 'container.id == container.id'],
    ['ipc.peerContainerId != container.id', 'container.id != ipc.peerContainerId'],
    [
      'errno == null && ipc.peerContainerId != container.id',
      'ipc.errno == null && container.id != ipc.peerContainerId',
    ],
    ['container.id == container.id && !(container.id == container.id)', 'false'],
  ])('%s is %s, which is read again', (text, expected) => {
    const printed = simple(text);
    expect(printed.split(' && ').sort()).toEqual(expected.split(' && ').sort());
    expect(simple(printed)).toBe(printed);
  });

  it('are both captured', () => {
    const filter = parseCel('peerContainerName == name && process.pid == 1', fields, ['ipc']);
    expect([...(fieldsOf(filter, fields, ['ipc']).get('ipc') ?? [])].sort()).toEqual([
      'name',
      'peerContainerName',
      'process',
    ]);
  });
});
