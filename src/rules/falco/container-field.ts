import { compareFlag, text, type Compare, type FieldRow } from './compare.js';
import { cel, lost, or, TRUE, type CelTree } from './expression.js';
import { alternatives, names, plain, quoted, type Text } from './text.js';

const IMAGE = 'container.image';
/** What follows the repository: the tag or the digest. */
const AFTER_REPOSITORY = '(?::[^:/@]*)?(?:@.*)?$';

const imageRepository: Text = {
  exists: cel(`${IMAGE} != null`),
  eq: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`^${quoted(value)}${AFTER_REPOSITORY}`)})`),
  among: (values) =>
    alternatives(
      values.map(({ text: value }) => value),
      (alternative) => cel(`${IMAGE}.matches(${JSON.stringify(`^${alternative}${AFTER_REPOSITORY}`)})`),
    ),
  prefix: (value) => cel(`${IMAGE}.startsWith(${JSON.stringify(value)})`),
  suffix: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`${quoted(value)}${AFTER_REPOSITORY}`)})`),
  contains: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`${quoted(value)}[^@]*`)})`),
  matches: (pattern) =>
    cel(
      `${IMAGE}.matches(${JSON.stringify(pattern.endsWith('$') ? `${pattern.slice(0, -1)}${AFTER_REPOSITORY}` : pattern)})`,
    ),
};

/** Falco writes "host" for what runs outside of containers. */
function orHost(path: string, equals: (value: string) => CelTree): Text {
  const at = plain(path);
  const eq = (value: string): CelTree => (value === 'host' ? cel('container == null') : equals(value));
  return { ...at, exists: TRUE, eq, among: (values) => or(values.map(({ text: value }) => eq(value))) };
}

const label = (name: string): Compare => text(() => plain(`container.labels[${JSON.stringify(name)}]`));

export const containerRows: readonly FieldRow[] = [
  {
    names: ['container.id', 'container.full_id'],
    ours: '`container.id`, of which Falco has the first 12 characters; "host" is `container == null`',
    compare: text(() => orHost('container.id', (value) => cel(`container.id.startsWith(${JSON.stringify(value)})`))),
  },
  {
    names: ['container.name'],
    ours: '`container.name`; "host" is `container == null`',
    compare: text(() => orHost('container.name', (value) => plain('container.name').eq(value))),
  },
  { names: ['container.image'], ours: '`container.image`', compare: text(() => plain(IMAGE)) },
  {
    names: ['container.image.repository'],
    ours: '`container.image` without its tag and digest',
    compare: text(() => imageRepository),
  },
  {
    names: ['container.image.tag'],
    ours: 'the end of `container.image`',
    compare: text(() => ({
      glob: (pattern) => lost(pattern, 'a glob of a tag has no counterpart'),
      matches: (pattern) => lost(pattern, 'a pattern of a tag has no counterpart'),
      exists: cel(`${IMAGE}.matches(":[^:/@]+(?:@.*)?$")`),
      eq: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`:${quoted(value)}(?:@.*)?$`)})`),
      among: (values) =>
        alternatives(
          values.map(({ text: value }) => value),
          (alternative) => cel(`${IMAGE}.matches(${JSON.stringify(`:${alternative}(?:@.*)?$`)})`),
        ),
      prefix: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`:${quoted(value)}[^:/@]*(?:@.*)?$`)})`),
      suffix: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`:[^:/@]*${quoted(value)}(?:@.*)?$`)})`),
      contains: (value) => cel(`${IMAGE}.matches(${JSON.stringify(`:[^:/@]*${quoted(value)}[^:/@]*(?:@.*)?$`)})`),
    })),
  },
  {
    names: ['container.privileged'],
    ours: '`container.privileged`',
    compare: (check) => compareFlag(cel('container.privileged'), check, cel('container.privileged == false')),
  },
  { names: ['container.image.id'], ours: '`container.imageId`', compare: text(() => plain('container.imageId')) },
  {
    names: ['container.image.digest'],
    ours: 'the end of `container.image`',
    compare: text(() => ({
      ...plain(IMAGE),
      eq: (value) => plain(IMAGE).suffix(`@${value}`),
      among: (values) => or(values.map(({ text: value }) => plain(IMAGE).suffix(`@${value}`))),
      prefix: (value) => plain(IMAGE).contains(`@${value}`),
    })),
  },
  {
    names: ['container.type'],
    ours: '`container.runtime`',
    compare: text(() =>
      orHost('container.runtime', (value) => plain('container.runtime').eq(value === 'cri-o' ? 'crio' : value)),
    ),
  },
  {
    names: ['container.ip'],
    ours: '`container.ips`',
    compare: text(() => ({
      ...names('container.ips', ' '),
      eq: (value) => cel(`${JSON.stringify(value)} in container.ips`),
    })),
  },
  {
    names: ['container.label'],
    ours: '`container.labels["NAME"]`',
    compare: (check, variant, facts) =>
      check.field.argument === null
        ? lost(check.text, 'the label has no name')
        : label(check.field.argument)(check, variant, facts),
  },
  {
    names: ['k8s.ns.name'],
    ours: '`container.labels["io.kubernetes.pod.namespace"]`',
    compare: label('io.kubernetes.pod.namespace'),
  },
  {
    names: ['k8s.pod.name'],
    ours: '`container.labels["io.kubernetes.pod.name"]`',
    compare: label('io.kubernetes.pod.name'),
  },
  { names: ['k8s.pod.id', 'k8s.pod.uid'], ours: '`container.podUid`', compare: text(() => plain('container.podUid')) },
];
