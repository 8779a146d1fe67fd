import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import type { TraceEvent } from '../event/event.js';
import { compileFilter, fieldsOf, FilterFields, optimise, parseCel, parseInput, print, type Filter } from './index.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { plainLineage, someEvents, type Plain } from '../../test/support/filter/event.js';
import { evaluate } from '../../test/support/filter/reference.js';
import { randomTree, trackersOf, type Tree } from '../../test/support/filter/tree.js';
import { toCel, toInput } from '../../test/support/filter/written.js';
import { holdsFor } from '../../test/support/property.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), (_tracker, field) => field === 'args');
catalog.lineage = plainLineage;
const fields = new FilterFields(schema, catalog);
const RUNS = Number(process.env['EUNOMIA_RANDOM_FILTERS'] ?? 2000);

const trees = randomTree(fields);
/** A tree, two events of the trackers that it names, if any, and two of any. */
const treesWithEvents = trees.chain((what) => {
  const named = trackersOf(what);
  return fc.tuple(
    fc.constant(what),
    fc
      .tuple(someEvents(fields, 2, named.length > 0 ? named : undefined), someEvents(fields, 2))
      .map(([one, other]) => [...one, ...other]),
  );
});

/** An event that fails the test when a field is read that the demand does not have. */
function onlyReadable(event: Plain, readable: ReadonlySet<string>): TraceEvent {
  const proxy: unknown = new Proxy(event, {
    get: (target, name) =>
      name === 'tracker' || readable.has(String(name)) ? target[String(name)] : expect.fail(`read ${String(name)}`),
  });
  return proxy as TraceEvent;
}

/** The filter in its schema's form; the run does not count when it asks for an empty range, which is an error. */
function filterOf(what: Tree): Filter {
  try {
    return parseInput(toInput(what, fields), fields, fields.trackers);
  } catch (error) {
    expect(String(error)).toContain('no value is in the range');
    expect(() => parseCel(toCel(what), fields, fields.trackers)).toThrow('no value is in the range');
    fc.pre(false);
    throw error;
  }
}

describe(`${RUNS} random filters`, () => {
  it('are evaluated by the compiled predicate as by the reference, over random events, and read no field beyond their demand', async () => {
    let matched = 0;
    let evaluated = 0;
    await holdsFor(
      fc.property(treesWithEvents, ([what, plains]) => {
        const filter = filterOf(what);
        const matches = compileFilter(filter, fields, fields.trackers);
        const demand = fieldsOf(filter, fields, fields.trackers);
        for (const plain of plains) {
          const expected = evaluate(what, plain);
          const tracker = String(plain['tracker']);
          expect(matches(onlyReadable(plain, demand.get(tracker) ?? new Set()))).toBe(expected);
          if (!demand.has(tracker)) expect(expected).toBe(false);
          evaluated++;
          if (expected) matched++;
        }
      }),
      { numRuns: RUNS },
    );
    // Else the test would say little. It is 0.27, within 0.01 in two of three runs.
    expect(matched / evaluated).toBeGreaterThan(0.15);
    expect(matched / evaluated).toBeLessThan(0.85);
  });

  it('mean the same in the form of the schema and in CEL, and after printing and parsing', async () => {
    await holdsFor(
      fc.property(trees, fc.subarray([...fields.trackers], { minLength: 1 }), (what, trackers) => {
        const all = fields.trackers;
        const canonical = optimise(filterOf(what), fields, all);
        expect(optimise(parseCel(toCel(what), fields, all), fields, all)).toEqual(canonical);
        expect(optimise(parseCel(print(canonical), fields, all), fields, all)).toEqual(canonical);
        expect(print(optimise(canonical, fields, all))).toBe(print(canonical));
        // Also for fewer trackers, of which some parts cannot be.
        const fewer = optimise(canonical, fields, trackers);
        expect(optimise(parseCel(print(fewer), fields, trackers), fields, trackers)).toEqual(fewer);
      }),
      { numRuns: RUNS },
    );
  });

  it('keep their text when their parts change places', async () => {
    const turned = (what: Tree): Tree =>
      what.kind === 'not'
        ? { kind: 'not', tree: turned(what.tree) }
        : what.kind === 'leaf' || what.kind === 'ancestor'
          ? what
          : what.kind === 'pair'
            ? { ...what, left: what.right, right: what.left }
            : { kind: what.kind, trees: what.trees.map(turned).reverse() };
    await holdsFor(
      fc.property(trees, (what) => {
        const [one, other] = [what, turned(what)].map((each) =>
          print(optimise(filterOf(each), fields, fields.trackers)),
        );
        expect(other).toBe(one);
      }),
      { numRuns: 1000 },
    );
  });

  it('are evaluated alike, optimised for all trackers or for the one of the event', async () => {
    await holdsFor(
      fc.property(treesWithEvents, ([what, plains]) => {
        const filter = optimise(filterOf(what), fields, fields.trackers);
        for (const plain of plains) {
          const tracker = String(plain['tracker']);
          const only = compileFilter(optimise(filter, fields, [tracker]), fields, [tracker]);
          const readable = fieldsOf(filter, fields, [tracker]).get(tracker) ?? new Set();
          expect(only(onlyReadable(plain, readable))).toBe(evaluate(what, plain));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
