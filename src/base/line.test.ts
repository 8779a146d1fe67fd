import fc from 'fast-check';
import { expect, it } from 'vitest';
import { OldestFirst } from './line.js';

it('gives its members in the order in which they came, whatever is added, deleted and taken in between', () => {
  const step = fc.record({ kind: fc.constantFrom('add', 'delete', 'take'), member: fc.integer({ min: 0, max: 9 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const line = new OldestFirst<number>();
      let model: readonly number[] = [];
      for (const { kind, member } of steps) {
        if (kind === 'add') {
          line.add(member);
          if (!model.includes(member)) model = [...model, member];
        } else if (kind === 'delete') {
          expect(line.delete(member)).toBe(model.includes(member));
          model = model.filter((one) => one !== member);
        } else {
          expect(line.take()).toBe(model[0]);
          model = model.slice(1);
        }
        expect(line.size).toBe(model.length);
      }
    }),
  );
});
