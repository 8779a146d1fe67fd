import type { Packed } from '../../base/packed.js';
import type {
  Advice,
  AdviceDifference,
  AdviceFile,
  CurrentRights,
  Observation,
  SeccompDefault,
} from '../../event/advice.js';

/** What goes between the server and the thread that makes advice. */

/** Advice, and what the container has now; null where no engine tells. */
export interface AdviceView extends Advice {
  readonly current: CurrentRights | null;
}

/** What a client sent as advice: JSON, and the path of its argument. */
export interface GivenAdvice {
  readonly path: string;
  readonly json: string;
}

export interface RecommendAsk {
  /** An `Observation`; its entries may be in any order. */
  readonly observation: Packed;
  /** What is known of the container besides. */
  readonly now: Observation | null;
  readonly current: CurrentRights | null;
  /** What its runtime needs, with `no-new-privileges` and without. Null where that is not known. */
  readonly runtime: { readonly plain: readonly string[]; readonly noNewPrivileges: readonly string[] } | null;
  readonly action: SeccompDefault;
  /** JSON of rights that were tried, in place of those recommended; null for these. */
  readonly tried: string | null;
}

/** A type, as a channel's protocol has to be. */
export type AdviceProtocol = {
  readonly asks: {
    /** Of several pieces of advice, what was seen in all of them; `container` is the id of the first container. */
    readonly read: {
      readonly ask: readonly GivenAdvice[];
      readonly reply: { readonly observation: Packed; readonly container: string | null };
    };
    /** The reply is an `AdviceView`. */
    readonly recommend: { readonly ask: RecommendAsk; readonly reply: Packed };
    /** Of an `AdviceView`. */
    readonly files: { readonly ask: Packed; readonly reply: readonly AdviceFile[] };
    readonly diff: {
      readonly ask: { readonly before: GivenAdvice; readonly after: GivenAdvice };
      readonly reply: readonly AdviceDifference[];
    };
  };
  readonly posts: Readonly<Record<never, never>>;
  readonly notes: Readonly<Record<never, never>>;
};
