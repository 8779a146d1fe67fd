import type {
  QueryAdviceWithRightsArgs,
  QueryAdviseArgs,
  QueryDiffAdviceArgs,
  QueryMergeAdviceArgs,
} from '../../../generated/schema.js';
import type { AdviceView } from '../../../service/advice/protocol.js';
import { typed, type ResolverMap } from './types.js';

type Line = AdviceView['lines'][number];
type Coverage = AdviceView['coverage'];

/** The least that containers need. */
export const adviceResolvers = {
  Query: {
    advise: typed<unknown, QueryAdviseArgs>((_root, { input }, { service, caller, share }) =>
      share.long(() => service.advices.advise(caller, input), caller),
    ),
    mergeAdvice: typed<unknown, QueryMergeAdviceArgs>((_root, { advice, action }, { service, caller, share }) =>
      share.long(() => service.advices.merge(caller, advice, action ?? 'ERRNO'), caller),
    ),
    adviceWithRights: typed<unknown, QueryAdviceWithRightsArgs>(
      (_root, { advice, rights }, { service, caller, share }) =>
        share.long(() => service.advices.withRights(caller, advice, rights), caller),
    ),
    diffAdvice: typed<unknown, QueryDiffAdviceArgs>((_root, { before, after }, { service, caller, share }) =>
      share.long(() => service.advices.diff(caller, before, after), caller),
    ),
  },
  Advice: {
    container: typed(({ subject: { container, image } }: AdviceView) => container && { ...container, image }),
    containers: typed(({ subject }: AdviceView) => subject.containers),
    defaultCalls: typed(({ defaultProfile }: AdviceView) => defaultProfile.allowed),
    remainingCalls: typed(({ defaultProfile }: AdviceView) => defaultProfile.remaining),
    callsBeyondDefault: typed(({ defaultProfile }: AdviceView) => defaultProfile.beyond),
    changes: typed((advice: AdviceView, _args, { service }) => service.advices.change(advice)),
    files: typed((advice: AdviceView, _args, { service, caller, share }) =>
      share.long(() => service.advices.files(caller, advice), caller),
    ),
    json: typed(({ current: _current, ...advice }: AdviceView) => advice),
  },
  AdviceLine: {
    programs: typed(({ evidence }: Line) => evidence?.programs ?? []),
    first: typed(({ evidence }: Line) => evidence?.first ?? null),
    last: typed(({ evidence }: Line) => evidence?.last ?? null),
    count: typed(({ evidence }: Line) => (evidence ? String(evidence.count) : null)),
  },
  AdviceCoverage: {
    watchedNs: typed(({ watchedNs }: Coverage) => String(watchedNs)),
    lost: typed(({ lost }: Coverage) => String(lost)),
    dropped: typed(({ dropped }: Coverage) => String(dropped)),
  },
} satisfies ResolverMap;
