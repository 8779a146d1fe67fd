import type {
  MutationLoadRulesArgs,
  MutationUnloadRulesArgs,
  QueryCheckRulesArgs,
  QueryRuleArgs,
  QueryTestRulesArgs,
} from '../../../generated/schema.js';
import { typed, type ResolverMap } from './types.js';

/** Rules, and what runs them. */
export const ruleResolvers = {
  Query: {
    rules: typed((_root, _args, { service, caller }) => service.rules.all(caller)),
    rule: typed<unknown, QueryRuleArgs>((_root, { name }, { service, caller }) => service.rules.find(caller, name)),
    checkRules: typed<unknown, QueryCheckRulesArgs>((_root, { input }, { service, caller }) =>
      service.rules.check(caller, input),
    ),
    testRules: typed<unknown, QueryTestRulesArgs>((_root, { input }, { service, caller, share }) =>
      share.long(() => service.rules.test(caller, input), caller),
    ),
  },
  Alert: {
    ruleName: typed(({ rule }: { readonly rule: string | null }) => rule),
    rule: typed(({ rule }: { readonly rule: string | null }, _args, { service, caller }) =>
      rule === null ? null : service.rules.find(caller, rule),
    ),
  },
  Mutation: {
    loadRules: typed<unknown, MutationLoadRulesArgs>((_root, { input }, { service, caller }) =>
      service.rules.load(caller, input),
    ),
    unloadRules: typed<unknown, MutationUnloadRulesArgs>(async (_root, { name }, { service, caller }) => {
      await service.rules.unload(caller, name);
      return name;
    }),
  },
} satisfies ResolverMap;
