import { describe, expect, it } from 'vitest';
import { createContainer, type Container } from './container.js';
import { compileSelector, type ContainerSelector } from './selector.js';

function container(facts: Partial<Container>): Container {
  return { ...createContainer('ab12'.padEnd(64, '0'), 'docker'), ...facts };
}

const web = container({
  name: 'shop-web-1',
  image: 'nginx:1.27',
  imageId: 'sha256:77',
  labels: { tier: 'web', empty: '' },
});

describe('a container selector', () => {
  it.each<[string, ContainerSelector, boolean]>([
    ['an exact name', { name: 'shop-web-1' }, true],
    ['a name as Docker writes it', { name: '/shop-web-1' }, true],
    ['a glob', { name: 'shop-*' }, true],
    ['one character', { name: 'shop-web-?' }, true],
    ['a class', { name: 'shop-web-[0-3]' }, true],
    ['alternatives', { name: '{shop,bank}-web-1' }, true],
    ['a part of a name only', { name: 'shop' }, false],
    ['another case', { name: 'SHOP-*' }, false],
    ['a negation, which is taken literally', { name: '!bank' }, false],
    ['an id prefix', { id: 'ab' }, true],
    ['an id prefix in capitals', { id: 'AB12' }, true],
    ['a whole id', { id: web.id }, true],
    ['another id', { id: 'b' }, false],
    ['an image with its tag', { image: 'nginx:1.27' }, true],
    ['an image without its tag', { image: 'nginx' }, true],
    ['an image of another tag', { image: 'nginx:1.26' }, false],
    ['an image glob', { image: 'ngi*' }, true],
    ['an image id', { image: 'sha256:77' }, true],
    ['a label', { labels: [{ name: 'tier', value: 'web' }] }, true],
    ['a label that exists', { labels: [{ name: 'empty' }] }, true],
    ['a label with null for its value', { labels: [{ name: 'tier', value: null }] }, true],
    ['an empty label value', { labels: [{ name: 'empty', value: '' }] }, true],
    ['another label value', { labels: [{ name: 'tier', value: 'db' }] }, false],
    ['a label that every object inherits', { labels: [{ name: 'toString' }] }, false],
    [
      'several fields that all hold',
      { name: 'shop-*', image: 'nginx', labels: [{ name: 'tier' }, { name: 'empty' }] },
      true,
    ],
    ['several fields of which one fails', { name: 'shop-*', image: 'redis' }, false],
    ['null fields beside one that holds', { name: 'shop-*', id: null, image: null, labels: null }, true],
  ])('evaluates %s', (_, selector, expected) => {
    expect(compileSelector([selector])(web)).toBe(expected);
  });

  it.each([
    ['ghcr.io/acme/*', 'ghcr.io/acme/app:2', true],
    ['*nginx*', 'docker.io/library/nginx:latest', true],
    ['nginx', 'docker.io/library/nginx:latest', true],
    ['acme/app', 'docker.io/acme/app:1', true],
    ['localhost:5000/app', 'localhost:5000/app', true],
    ['localhost:5000/app', 'localhost:5000/app:3', true],
    ['localhost', 'localhost:5000/app', false],
    ['app', `app@sha256:${'0'.repeat(64)}`, true],
    ['app:1', `app:1@sha256:${'0'.repeat(64)}`, true],
    ['nginx', 'mynginx', false],
  ])('the image %s against %s: %s', (pattern, image, expected) => {
    expect(compileSelector([{ image: pattern }])(container({ image }))).toBe(expected);
  });

  it('joins a list by OR', () => {
    const matches = compileSelector([{ name: 'db' }, { image: 'nginx' }]);
    expect(matches(web)).toBe(true);
    expect(matches(container({ name: 'cache' }))).toBe(false);
  });

  it('does not match by a fact that has not come, and does once it has', () => {
    const young = createContainer('0'.repeat(64), 'docker');
    const matches = compileSelector([{ name: 'named' }]);
    expect(matches(young)).toBe(false);
    expect(compileSelector([{ image: '*' }])(young)).toBe(false);
    young.name = 'named';
    expect(matches(young)).toBe(true);
  });

  it('matches an id that is a name, as LXC’s', () => {
    expect(compileSelector([{ id: 'lxc:We' }])(createContainer('lxc:Web', 'lxc'))).toBe(true);
    expect(compileSelector([{ id: 'ctr:default/' }])(createContainer('ctr:default/task', 'containerd'))).toBe(true);
  });

  it('matches every container by "*", and one without a name by its id', () => {
    const nameless = createContainer(`beef${'0'.repeat(60)}`, 'containerd');
    expect(compileSelector([{ name: '*' }])(nameless)).toBe(true);
    expect(compileSelector([{ name: 'beef*' }])(nameless)).toBe(true);
    expect(compileSelector([{ name: 'web*' }])(nameless)).toBe(false);
    nameless.name = 'web';
    expect(compileSelector([{ name: 'beef*' }])(nameless)).toBe(false);
  });

  it.each<[string, ContainerSelector[], RegExp]>([
    ['an empty list', [], /empty; leave it out/],
    ['an empty selector', [{}], /at least one of name, id, image, labels/],
    ['only nulls', [{ name: null, id: null }], /at least one/],
    ['which of several is wrong', [{ name: 'a' }, {}], /container selector 2 is empty/],
    ['an id that is not hexadecimal', [{ id: 'web' }], /id "web" is not hexadecimal; an id is 1 to 64 digits.*name/],
    ['an empty id', [{ id: '' }], /id is empty/],
    ['a long id', [{ id: 'a'.repeat(65) }], /longer than 64/],
    ['an empty name', [{ name: '' }], /name is empty.*"\*"/],
    ['an open bracket', [{ name: 'web-[1' }], /name: "web-\[1" has a \[ without its \]/],
    ['an open bracket in an image', [{ image: 'a{b' }], /image: "a\{b" has a \{ without its \}/],
    ['a long pattern', [{ name: 'a'.repeat(257) }], /257 characters; at most 256/],
    ['no labels', [{ labels: [] }], /labels is empty/],
    ['a label without a name', [{ labels: [{ name: '' }] }], /label's name is empty/],
  ])('says what is wrong with %s, and what would be right', (_, selectors, message) => {
    expect(() => compileSelector(selectors)).toThrow(
      expect.objectContaining({ code: 'BAD_SELECTOR', message: expect.stringMatching(message) }),
    );
  });

  it.each(['*?*?*?*?*?*?*?*!', '*a*a*a*a*a*a*a*b', '+(a|a+(a|aa))b', 'a?a?a?a?a?a?a?a*a*a*b'])(
    'takes no exponential time over %s, which a client may send',
    (pattern) => {
      // Backtracking would take longer than the test may: that this ends is the point.
      const matches = compileSelector([{ name: pattern }, { image: pattern }]);
      expect(matches(container({ name: 'a'.repeat(512), image: `a/${'a'.repeat(510)}:a` }))).toBe(false);
    },
  );

  it('takes names and patterns with any number of wildcards', () => {
    const matches = compileSelector([{ name: '*a*b*c*d*e*f*g*h*i*j*' }]);
    expect(matches(container({ name: `${'x'.repeat(1000)}abcdefghij` }))).toBe(true);
  });
});
