import { describe, expectTypeOf, it } from 'vitest';
import type { ResolverSources, Unresolved } from './complete.js';
import type { resolverMaps } from './schema.js';

type Maps = (typeof resolverMaps)[number];
/** The maps, without a resolver for one field. */
type Without<Name extends string, Field extends string> = Maps extends infer Map
  ? Map extends unknown
    ? { [Type in keyof Map]: Type extends Name ? Omit<Map[Type], Field> : Map[Type] }
    : never
  : never;

// Checked by the compiler (`npm run lint`): a field of the schema that nothing resolves is a type error that names it.
describe('fields of the schema', () => {
  it('are all resolved', () => {
    expectTypeOf<Unresolved<Maps>>().toEqualTypeOf<never>();
  });

  it('are named when they lose their resolver', () => {
    expectTypeOf<Unresolved<Without<'Query', 'history'>>>().toEqualTypeOf<'Query.history'>();
    expectTypeOf<Unresolved<Without<'Container', 'label'>>>().toEqualTypeOf<'Container.label'>();
    // A session has a method of that name, which is no value.
    expectTypeOf<Unresolved<Without<'Session', 'report'>>>().toEqualTypeOf<'Session.report'>();
  });

  it('are named when what they are read from lacks them', () => {
    type Older = Omit<ResolverSources, 'Session'> & { Session: Omit<ResolverSources['Session'], 'node'> };
    expectTypeOf<Unresolved<Maps, Older>>().toEqualTypeOf<'Session.node'>();
  });

  it('are named when their type is new, and read from nothing', () => {
    expectTypeOf<Unresolved<Maps, Omit<ResolverSources, 'ServerNode'>>>().toEqualTypeOf<
      'ServerNode.id' | 'ServerNode.name'
    >();
  });

  it('are named when a report, or a page, does not have them', () => {
    type Older = Omit<ResolverSources, 'DnsNameEntry' | 'PageInfo'> & {
      DnsNameEntry: Omit<ResolverSources['DnsNameEntry'], 'failures'>;
      PageInfo: Omit<ResolverSources['PageInfo'], 'endCursor'>;
    };
    expectTypeOf<Unresolved<Maps, Older>>().toEqualTypeOf<'DnsNameEntry.failures' | 'PageInfo.endCursor'>();
    expectTypeOf<Unresolved<Maps, Omit<ResolverSources, 'ReportOther'>>>().toEqualTypeOf<
      'ReportOther.count' | 'ReportOther.entries'
    >();
  });
});
