import type { Refusal, Verification } from '../../../event/advice.js';
import type { MutationVerifyAdviceArgs } from '../../../generated/schema.js';
import { typed, type ResolverMap } from './types.js';

/** Recommendations, tried. */
export const verificationResolvers = {
  AdviceVerification: {
    verified: typed(({ proof }: Verification) => proof.checkPassed),
    outside: typed(({ proof }: Verification) => proof.outside),
  },
  AdviceRefusal: {
    pid: typed(({ process }: Refusal) => process.pid),
    comm: typed(({ process }: Refusal) => process.comm),
    executable: typed(({ process }: Refusal) => process.executable),
    args: typed(({ process }: Refusal) => process.args),
  },
  Mutation: {
    verifyAdvice: typed<unknown, MutationVerifyAdviceArgs>((_root, { input }, { service, caller }) =>
      service.verifications.request(caller, input),
    ),
  },
} satisfies ResolverMap;
