import type { CallVariant } from './call.js';
import {
  text,
  compareNumber,
  compareFlag,
  decide,
  integersOf,
  type ImportFacts,
  type Compare,
  type FieldRow,
} from './compare.js';
import { and, cel, constant, FALSE, lost, not, noted, or, TRUE, type CelTree } from './expression.js';
import type { ResolvedCheck } from './resolve.js';
import { compareText, folderOf, linkForms, oneOf, passed, plain, lastPart, type Text } from './text.js';

export function pathOf({ row, result }: CallVariant): Text | null {
  if (row.descriptor === 'file')
    return result === 'ok' ? plain('resolved', { forms: linkForms }) : passed('path', 'directory');
  if (row.descriptor === 'path') return plain('resolved', { forms: linkForms });
  return row.descriptor === 'unix' ? plain('path') : null;
}

/** Falco has no value of a field of descriptors for a call without one: the comparison is false. */
export const ofFile =
  (make: (path: Text) => Text): Compare =>
  (check, variant) => {
    const path = pathOf(variant);
    if (variant.tracker === 'syscall') return lost(check.text, `the events have no arguments of ${variant.call}`);
    // The name of a connection is "1.2.3.4:5->6.7.8.9:443": no path is one, or a part of one.
    if (variant.row.descriptor === 'socket' && !check.values.every(({ text: value }) => value.includes('/')))
      return check.field.name === 'fd.name'
        ? lost(check.text, 'the name of a socket is no text here; compare fd.sip and fd.sport')
        : FALSE;
    return path ? compareText(make(path), check) : FALSE;
  };

const ofSocket =
  (compare: Compare): Compare =>
  (check, variant, facts) => {
    if (variant.tracker === 'syscall') return lost(check.text, `the events have no arguments of ${variant.call}`);
    return variant.row.descriptor === 'socket' ? compare(check, variant, facts) : FALSE;
  };

type Side = 'local' | 'remote';

/** Which sides of a connection a field is about: s is the server's, c the client's, l ours, r the other one's. */
function sidesOf(field: string, { call, tracker }: CallVariant): readonly Side[] {
  if (tracker === 'bind') return /^fd\.[cr]/.test(field) ? [] : ['local'];
  const serves = call.startsWith('accept') || call.startsWith('recv');
  switch (/^fd\.([sclr])(?:ip|port|net)/.exec(field)?.[1]) {
    case 's':
      return [serves ? 'local' : 'remote'];
    case 'c':
      return [serves ? 'remote' : 'local'];
    case 'l':
      return ['local'];
    case 'r':
      return ['remote'];
    default:
      return ['local', 'remote'];
  }
}

/** "!=" holds where it does for all sides, everything else where it does for one. */
function ofSides(compare: (path: string, check: ResolvedCheck) => CelTree, kind: 'Address' | 'Port'): Compare {
  return ofSocket((check, variant) => {
    const sides = sidesOf(check.field.name, variant);
    const equal: ResolvedCheck = check.op === '!=' ? { ...check, op: '=' } : check;
    const some = or(sides.map((side) => compare(`${side}${kind}`, equal)));
    return check.op === '!=' ? and([or(sides.map((side) => cel(`${side}${kind} != null`))), not(some)]) : some;
  });
}

function compareAddress(path: string, check: ResolvedCheck): CelTree {
  if (check.op === 'exists') return cel(`${path} != null`);
  if (!['=', '==', 'in', 'intersects'].includes(check.op))
    return lost(check.text, `"${check.op}" does not apply to an address`);
  const written = check.values.map(({ text: value }) => value);
  const networks = written.filter((value) => value.includes('/'));
  const single = written.filter((value) => !value.includes('/'));
  return or([
    single.length
      ? cel(single.length === 1 ? `${path} == ${JSON.stringify(single[0])}` : `${path} in ${JSON.stringify(single)}`)
      : FALSE,
    ...networks.map((network) => cel(`cidr(${JSON.stringify(network)}).containsIP(${path})`)),
  ]);
}

function hostNamed(check: ResolvedCheck, variant: CallVariant, facts: ImportFacts): CelTree {
  if (!['=', '==', '!=', 'in'].includes(check.op)) return lost(check.text, 'only whole names of hosts have addresses');
  const absent = check.values.find(({ text: name }) => !facts.hosts.get(name)?.length);
  if (absent)
    return lost(
      check.text,
      `events have addresses and no names of hosts; give the addresses of ${absent.text} with --hosts`,
    );
  const values = check.values.flatMap(({ text: name }) =>
    (facts.hosts.get(name) ?? []).map((address) => ({ text: address, list: null })),
  );
  const resolved: ResolvedCheck = { ...check, op: check.op === '!=' ? '!=' : 'in', values };
  return noted(
    ofSides(compareAddress, 'Address')(resolved, variant, facts),
    `${check.field.name}: the addresses that --hosts has now; Falco looks them up while it runs`,
  );
}

const DIRECTORY = cel('"O_DIRECTORY" in flags');
const V4 = cel('ipVersion == 4');
const V6 = cel('ipVersion == 6');

const kindOf = (files: readonly [string, string], sockets: readonly [string, string], unix: string): Compare =>
  text((variant) => {
    if (variant.tracker === 'syscall') return `the events have no arguments of ${variant.call}`;
    switch (variant.row.descriptor) {
      case 'file':
        return oneOf({ [files[0]]: not(DIRECTORY), [files[1]]: DIRECTORY });
      case 'socket':
        return oneOf({ [sockets[0]]: V4, [sockets[1]]: V6 });
      case 'unix':
        return oneOf({ [unix]: TRUE });
      default:
        return oneOf({});
    }
  });

export const descriptorRows: readonly FieldRow[] = [
  {
    names: ['fd.name'],
    ours: 'open: `resolved`, the path with symbolic links resolved, or of a failed call `path` and `directory`; unix: `path`',
    compare: ofFile((path) => path),
  },
  {
    names: ['fd.directory'],
    ours: 'the same without the last part',
    compare: ofFile((path) => folderOf(path, linkForms)),
  },
  { names: ['fd.filename'], ours: 'the last part of it', compare: ofFile(lastPart) },
  {
    names: ['fd.nameraw'],
    ours: 'open: `path`, as the caller passed it',
    compare: (check, variant) => (variant.row.descriptor === 'file' ? compareText(plain('path'), check) : FALSE),
  },
  {
    names: ['fd.type'],
    ours: 'open: `flags` has O_DIRECTORY or not; sockets: `ipVersion`',
    compare: kindOf(['file', 'directory'], ['ipv4', 'ipv6'], 'unix'),
  },
  { names: ['fd.typechar'], ours: 'as fd.type', compare: kindOf(['f', 'd'], ['4', '6'], 'u') },
  {
    names: ['fd.num'],
    ours: 'open: `fd`; 0 and more is `errno == null`',
    compare: (check, { row, result }) => {
      if (row.descriptor !== 'file')
        return row.descriptor ? lost(check.text, 'the number of the descriptor is not in the event') : FALSE;
      if (result === 'failed')
        return decide((wanted) => -1 - wanted, check) ?? lost(check.text, 'the value is no whole number');
      const numbers = integersOf(check);
      // Of a successful call every descriptor is more than -1.
      if (numbers?.every((wanted) => wanted < 0 || (wanted === 0 && (check.op === '>=' || check.op === '<'))))
        return decide((wanted) => 0.5 - wanted, check) ?? FALSE;
      return compareNumber('fd', check);
    },
  },
  {
    names: ['fd.ip', 'fd.sip', 'fd.cip', 'fd.lip', 'fd.rip'],
    ours: '`localAddress`, `remoteAddress`: of a connect the server is the remote end',
    compare: ofSides(compareAddress, 'Address'),
  },
  {
    names: ['fd.net', 'fd.snet', 'fd.cnet', 'fd.lnet', 'fd.rnet'],
    ours: '`cidr("…").containsIP(…)` of the same',
    compare: ofSides(compareAddress, 'Address'),
  },
  {
    names: ['fd.port', 'fd.sport', 'fd.cport', 'fd.lport', 'fd.rport'],
    ours: '`localPort`, `remotePort`',
    compare: ofSides(compareNumber, 'Port'),
  },
  {
    names: ['fd.sip.name', 'fd.cip.name', 'fd.lip.name', 'fd.rip.name'],
    ours: 'the addresses of the name according to `--hosts`',
    compare: ofSocket(hostNamed),
  },
  {
    names: ['fd.l4proto'],
    ours: 'the tracker (tcp, udp), or `protocol` of bind',
    compare: text((variant) => {
      if (variant.tracker === 'tcp' || variant.tracker === 'udp') return oneOf({ [variant.tracker]: TRUE });
      if (variant.tracker === 'bind')
        return oneOf(
          Object.fromEntries(
            ['tcp', 'udp', 'icmp', 'raw'].map((name) => [
              name,
              cel(`protocol == ${JSON.stringify(name.toUpperCase())}`),
            ]),
          ),
        );
      return oneOf({});
    }),
  },
  {
    names: ['fd.sockfamily'],
    ours: 'ip or unix, by the tracker',
    compare: text(({ row }) =>
      oneOf(row.descriptor === 'socket' ? { ip: TRUE } : row.descriptor === 'unix' ? { unix: TRUE } : {}),
    ),
  },
  {
    names: ['fd.is_server'],
    ours: 'accept and listen, not connect',
    compare: (check, { row, call }) =>
      row.descriptor === 'socket' || row.descriptor === 'unix'
        ? compareFlag(constant(/^(?:accept|listen|recv)/.test(call)), check)
        : FALSE,
  },
  {
    names: ['fd.connected', 'fd.name_changed'],
    ours: 'connect: true; of a datagram it is not known and counts as one to a new peer',
    compare: (check, { row, call }) =>
      row.descriptor === 'socket'
        ? compareFlag(constant(check.field.name === 'fd.name_changed' || call === 'connect'), check)
        : FALSE,
  },
];
