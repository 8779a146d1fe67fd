import { EunomiaError } from '../base/errors.js';
import { compileGlob, type TextPredicate } from '../base/glob.js';
import type { Container } from './container.js';

/** Which containers are meant. Fields are joined by AND; a null field is as if left out; at least one is needed. */
export interface ContainerSelector {
  /**
   * A glob (base/glob.ts) over the name, and over the id of a container that has no name. So `*` means every container.
   */
  readonly name?: string | null;
  /** The beginning of the id, or all of it. */
  readonly id?: string | null;
  /**
   * A glob over the image reference. Matches the reference as given, without its tag or digest, and without
   * `docker.io/library/`, which some engines write and some do not; also the image's id (`sha256:…`).
   */
  readonly image?: string | null;
  readonly labels?: readonly LabelSelector[] | null;
}

export interface LabelSelector {
  /** Exact. */
  readonly name: string;
  /** Exact; left out, the label must only exist. */
  readonly value?: string | null;
}

type Predicate = (container: Container) => boolean;

const MAX_PATTERN = 256;

/**
 * Compiles selectors, joined by OR, into a predicate. It reads the container as it is at the call: one whose name has not
 * arrived does not match by name, so evaluate it again when the registry says that it changed.
 * Throws EunomiaError BAD_SELECTOR, which says what is wrong and what would be right.
 */
export function compileSelector(selectors: readonly ContainerSelector[]): Predicate {
  if (selectors.length === 0) {
    throw bad('the list of container selectors is empty; leave it out to mean every container, or use [{ name: "*" }]');
  }
  const predicates = selectors.map((selector, position) =>
    compileOne(selector, selectors.length === 1 ? 'the container selector' : `container selector ${position + 1}`),
  );
  const [only] = predicates;
  if (predicates.length === 1 && only !== undefined) return only;
  return (container) => predicates.some((matches) => matches(container));
}

/** The selectors as a sentence has them: `the name "web-*" and the label "tier=front", or the image "nginx"`. */
export function describeSelectors(selectors: readonly ContainerSelector[]): string {
  const one = ({ name, id, image, labels }: ContainerSelector): string =>
    [
      ...(name == null ? [] : [`the name ${JSON.stringify(name)}`]),
      ...(id == null ? [] : [`the id ${JSON.stringify(id)}`]),
      ...(image == null ? [] : [`the image ${JSON.stringify(image)}`]),
      ...(labels ?? []).map(
        (label) => `the label ${JSON.stringify(label.value == null ? label.name : `${label.name}=${label.value}`)}`,
      ),
    ].join(' and ');
  return selectors.map(one).join(', or ');
}

/**
 * Whether a container could match the selectors once its name, image and labels are known: all but the id is taken to match.
 * The selectors have been compiled before.
 */
export function couldMatch(selectors: readonly ContainerSelector[], { id: own }: Pick<Container, 'id'>): boolean {
  return selectors.some(({ id }) => id == null || own.startsWith(checkId(id, 'id')));
}

function compileOne({ name, id, image, labels }: ContainerSelector, path: string): Predicate {
  const all: Predicate[] = [];
  if (name != null) {
    const matches = patternOf(name.replace(/^\//, ''), `${path}: name`);
    all.push(({ name: own, id: ownId }) => matches(own ?? ownId));
  }
  if (id != null) {
    const prefix = checkId(id, path);
    all.push((container) => container.id.startsWith(prefix));
  }
  if (image != null) {
    const matches = patternOf(image, `${path}: image`);
    all.push((container) => imageNames(container).some(matches));
  }
  if (labels != null) {
    if (labels.length === 0)
      throw bad(`${path}: labels is empty; leave it out, or name a label: [{ name: "tier", value: "web" }]`);
    for (const label of labels) all.push(compileLabel(label, path));
  }
  if (all.length === 0)
    throw bad(`${path} is empty; give at least one of name, id, image, labels, for instance { name: "web-*" }`);
  return (container) => all.every((matches) => matches(container));
}

function checkId(id: string, path: string): string {
  const prefix = id.toLowerCase();
  if (/^[0-9a-f]{1,64}$/.test(prefix)) return prefix;
  if (/^(?:lxc|nspawn|ctr|pidns):/.test(id) && id.length <= MAX_PATTERN) return id;
  const because =
    id === ''
      ? 'is empty'
      : /^[0-9a-f]+$/.test(prefix)
        ? 'is longer than 64 digits'
        : `"${shorten(id)}" is not hexadecimal`;
  throw bad(
    `${path}: id ${because}; an id is 1 to 64 digits of 0-9 and a-f, or begins with lxc:, nspawn:, ctr: or ` +
      'pidns: (to select by name use { name: "…" })',
  );
}

function compileLabel({ name, value }: LabelSelector, path: string): Predicate {
  if (name === '')
    throw bad(`${path}: a label's name is empty; write { name: "com.docker.compose.project", value: "shop" }`);
  return ({ labels }) => Object.hasOwn(labels, name) && (value == null || labels[name] === value);
}

function patternOf(pattern: string, path: string): TextPredicate {
  if (pattern === '') throw bad(`${path} is empty; leave it out, or use "*" for any`);
  if (pattern.length > MAX_PATTERN)
    throw bad(`${path} has ${pattern.length} characters; at most ${MAX_PATTERN} are allowed`);
  return compileGlob(pattern, (message) => {
    throw bad(`${path}: ${message}`);
  });
}

/** The ways a user may write a container's image. */
function imageNames({ image, imageId }: Container): string[] {
  const names: string[] = [];
  for (const reference of image === null ? [] : [image, image.replace(/^docker\.io\/(?:library\/)?/, '')]) {
    const name = reference.replace(/@[^@/]*$/, '');
    // A colon before the last slash belongs to a registry's port.
    names.push(reference, name, name.replace(/:[^:/]*$/, ''));
  }
  if (imageId !== null) names.push(imageId);
  return names;
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

function bad(message: string): EunomiaError {
  return new EunomiaError('BAD_SELECTOR', message);
}
