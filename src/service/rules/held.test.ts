import { afterEach, expect, it } from 'vitest';
import { until } from '../../../test/support/until.js';
import { eventWith } from '../../../test/support/event.js';
import type { TraceEvent } from '../../event/event.js';
import { createContainer, type Container } from '../../inventory/container.js';
import { HeldEvents } from './held.js';

const closing: (() => void)[] = [];
afterEach(() => closing.splice(0).forEach((close) => close()));

/** Held events, an engine that describes containers when it is told to, and what was evaluated. */
function heldWith(mostMs?: number) {
  const described = new Set<object>();
  const listeners = new Set<() => void>();
  const held = new HeldEvents(
    {
      awaits: (container) => !described.has(container),
      watch: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    mostMs,
  );
  closing.push(() => held.close());
  const evaluated: string[] = [];
  return {
    held,
    evaluated,
    listeners,
    describe: (container: Container) => {
      described.add(container);
      for (const listener of listeners) listener();
    },
    /** As the reader does. */
    see: (name: string, container: Container | null) => {
      const event = eventWith('exec', { container }) as TraceEvent;
      if (held.waits(event)) held.add(event, () => evaluated.push(name));
      else evaluated.push(name);
    },
  };
}

const [web, other] = ['a', 'b'].map((digit) => createContainer(digit.repeat(64), 'docker')) as [Container, Container];

it('events of a container wait until its engine has described it, and what comes after them waits behind them', () => {
  const { held, evaluated, describe, see } = heldWith();
  see('host', null);
  see('web', web);
  see('host behind it', null);
  see('other', other);
  see('web again', web);
  expect(evaluated).toEqual(['host']);
  describe(other);
  expect(evaluated).toEqual(['host']);
  describe(web);
  expect(evaluated).toEqual(['host', 'web', 'host behind it', 'other', 'web again']);
  see('web known', web);
  expect(evaluated.at(-1)).toBe('web known');
  expect([held.isEmpty, held.givenUp]).toEqual([true, 0]);
});

it('nobody waits longer than the limit, nor twice for one container, and each event is counted', async () => {
  const { held, evaluated, see } = heldWith(30);
  see('web', web);
  see('host', null);
  await until('it is given up', () => evaluated.length === 2);
  expect(evaluated).toEqual(['web', 'host']);
  see('web later', web);
  expect(evaluated).toEqual(['web', 'host', 'web later']);
  expect([held.isEmpty, held.givenUp]).toEqual([true, 1]);
});

it('no more than a thousand wait: the first ones are evaluated with what is known', async () => {
  const { held, evaluated, describe, see } = heldWith();
  for (let i = 0; i < 1500; i++) see(`${i}`, web);
  expect([evaluated.length, held.givenUp]).toEqual([500, 500]);
  describe(web);
  // As far as a turn goes, and then in others.
  await until('all are evaluated', () => evaluated.length >= 1500);
  expect(evaluated).toEqual(Array.from({ length: 1500 }, (_, i) => `${i}`));
  expect(held.givenUp).toBe(500);
});

it('what waits at the end is evaluated', () => {
  const { held, evaluated, listeners, see } = heldWith();
  see('web', web);
  held.close();
  expect([evaluated, held.givenUp, listeners.size]).toEqual([['web'], 1, 0]);
  see('web, read meanwhile', web);
  expect([evaluated.at(-1), held.isEmpty]).toEqual(['web, read meanwhile', true]);
});

it('a container that nobody describes is given up also where more events come than may wait', async () => {
  const { held, evaluated, see } = heldWith(100);
  await until('it is given up', () => {
    for (let i = 0; i < 600; i++) see(`${i}`, web);
    return held.isEmpty;
  });
  const { givenUp } = held;
  see('web later', web);
  expect([evaluated.at(-1), held.isEmpty, held.givenUp]).toEqual(['web later', true, givenUp]);
});
