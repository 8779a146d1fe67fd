import { DetailsTemplate } from '../../event/details.js';
import type { CallVariant } from './call.js';

/** Fields of the process or container, by Falco's names. */
const SHARED: Readonly<Record<string, string>> = {
  'proc.name': 'process.comm',
  'proc.pid': 'process.pid',
  'proc.ppid': 'process.ppid',
  'thread.tid': 'process.tid',
  'proc.pname': 'process.parent.comm',
  'proc.pexepath': 'process.parent.executable',
  'proc.pexe': 'process.parent.executable',
  'proc.pcmdline': 'process.parent.args',
  'user.uid': 'process.uid',
  'group.gid': 'process.gid',
  'container.id': 'container.id',
  'container.full_id': 'container.id',
  'container.name': 'container.name',
  'container.image': 'container.image',
  'container.image.repository': 'container.image',
  'container.image.tag': 'container.image',
  'container.image.id': 'container.imageId',
  'k8s.pod.uid': 'container.podUid',
};
/** Of the program, which a successful exec has itself. */
const PROGRAM: Readonly<Record<string, string>> = {
  'proc.exepath': 'executable',
  'proc.exe': 'executable',
  'proc.cmdline': 'args',
  'proc.args': 'args',
  'proc.cwd': 'cwd',
};
const DESCRIPTORS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  file: { 'fd.name': 'resolved|path', 'fd.nameraw': 'path', 'fd.num': 'fd' },
  path: { 'fd.name': 'resolved|path', 'fs.path.name': 'path' },
  unix: { 'fd.name': 'path' },
};
/** Of a socket whose event has a remote end; `bind` has none. */
const CONNECTION: Readonly<Record<string, string>> = {
  'fd.name': 'remoteAddress@remotePort',
  'fd.rip': 'remoteAddress',
  'fd.rport': 'remotePort',
  'fd.lip': 'localAddress',
  'fd.lport': 'localPort',
};
const CLIENT: Readonly<Record<string, string>> = {
  'fd.sip': 'remoteAddress',
  'fd.sport': 'remotePort',
  'fd.cip': 'localAddress',
  'fd.cport': 'localPort',
};
const LISTENER: Readonly<Record<string, string>> = {
  'fd.name': 'localAddress@localPort',
  'fd.sip': 'localAddress',
  'fd.lip': 'localAddress',
  'fd.sport': 'localPort',
  'fd.lport': 'localPort',
};
/** Kinds of arguments (call.ts) that are no field of the event. */
const NO_FIELD: ReadonlySet<string> = new Set(['named', 'passed', 'argv0', 'comm', 'args', 'cwd']);

function fieldOf(name: string, { row, tracker }: CallVariant): string | undefined {
  const argument = /^evt\.arg\.(\w+)$/.exec(name)?.[1];
  if (argument !== undefined) {
    if (argument === 'res') return row.errno === false ? undefined : 'errno';
    const field = Object.hasOwn(row.arguments, argument) ? row.arguments[argument] : undefined;
    return field === undefined || NO_FIELD.has(field) ? undefined : field;
  }
  if (name === 'evt.res') return row.errno === false ? undefined : 'errno';
  const program = PROGRAM[name];
  if (program !== undefined) return tracker === 'exec' ? program : `process.${program}`;
  const socket = tracker === 'bind' ? LISTENER : { ...CONNECTION, ...(row.calls.includes('connect') ? CLIENT : {}) };
  const own = row.descriptor === 'socket' ? socket : DESCRIPTORS[row.descriptor ?? ''];
  return SHARED[name] ?? own?.[name];
}

const PLACEHOLDER = /([^\s=%(),|]+=)?%([a-z]\w*(?:\.\w+)*(?:\[[^\]]*\])?)/g;

/** Falco's output as a template for one line. Fields that the event has not are left out, each with its "name=". */
export function messageOf(output: string, rule: string, variant: CallVariant): string {
  const told = new Set<string>();
  // Between fields: brackets and braces have a meaning in a template.
  const plain = (part: string): string => part.replace(/[[\]{}]/g, ' ');
  let text = '';
  let at = 0;
  for (const found of output.matchAll(PLACEHOLDER)) {
    const [whole, key = '', name = ''] = found;
    text += plain(output.slice(at, found.index));
    at = found.index + whole.length;
    const field = fieldOf(name, variant);
    if (field === undefined || told.has(field)) continue;
    told.add(field);
    text += key === '' ? `{${field}}` : `[${plain(key)}{${field}}]`;
  }
  text = `${text}${plain(output.slice(at))}`
    .replace(/\(\s*\)/g, ' ')
    .replace(/\s+/g, ' ')
    .replace(/(?:\s*\|)+\s*$/, '')
    .trim();
  return isTemplate(text) ? text : `${plain(rule)}: {process.comm}`;
}

function isTemplate(text: string): boolean {
  if (text === '') return false;
  try {
    return new DetailsTemplate(text).fields.length > 0;
  } catch {
    return false;
  }
}
