import { isDeepStrictEqual } from 'node:util';
import { parentPort } from 'node:worker_threads';
import { diffRights } from '../../analysis/advice/diff.js';
import { withCallsOf } from '../../analysis/advice/line.js';
import { raises } from '../../analysis/advice/needs.js';
import { emptyObservation, merge } from '../../analysis/advice/observation.js';
import { againstDefault, recommend } from '../../analysis/advice/recommend.js';
import { renderAdvice } from '../../analysis/advice/render/index.js';
import { filteringIn } from '../../analysis/advice/seccomp.js';
import { serveChannel, Transferred } from '../../base/channel.js';
import { invalid } from '../../base/errors.js';
import { listed } from '../../base/listed.js';
import { buffersOf, pack, unpack } from '../../base/packed.js';
import { finish } from '../../base/turn.js';
import type { Observation, Rights, SeenCall } from '../../event/advice.js';
import { readObservation } from './given.js';
import type { AdviceProtocol, AdviceView, GivenAdvice, RecommendAsk } from './protocol.js';
import { rightsOf } from './rights.js';

/** The thread that makes advice: what was seen of a busy container takes a second, in which the server serves others. */

const port = parentPort;
if (!port) throw new Error('advice is made in a thread of its own');

const observationOf = ({ path, json }: GivenAdvice): Observation => readObservation(path, JSON.parse(json));

/** Of runs and replicas that are to have the same rights. */
function merged(given: readonly GivenAdvice[]): Observation {
  const observations = given.map(observationOf);
  const same = observations.findIndex((each, i) =>
    observations.slice(0, i).some((other) => isDeepStrictEqual(each, other)),
  );
  if (same >= 0) throw invalid(given[same]?.path ?? '', 'is given twice: its events would be counted twice');
  return merge(...observations);
}

function viewOf({ observation, now, current, runtime, action }: RecommendAsk): AdviceView {
  const seen = finish(unpack<Observation>(observation));
  const likenessOf = ({ name, abi, argument }: Pick<SeenCall, 'name' | 'abi' | 'argument'>): string =>
    JSON.stringify([name, abi, argument]);
  const known = new Set(seen.calls.filter((call) => !call.runtime).map(likenessOf));
  // Of a call that was seen, no event is missing; with another argument, or of another ABI, it is another call.
  const isUnknown = ({ name, abi, argument }: SeenCall): boolean =>
    ![abi, null].some((a) => [argument, null].some((b) => known.has(likenessOf({ name, abi: a, argument: b }))));
  const more = now && { ...now, calls: now.calls.filter(isUnknown) };
  const whole = merge(seen, more ?? emptyObservation());
  const runtimeCalls = runtime && runtime[raises(whole) ? 'plain' : 'noNewPrivileges'];
  return { ...recommend(whole, { current, runtimeCalls, action }), current };
}

function withRights(advice: AdviceView, tried: Rights): AdviceView {
  const others = diffRights(advice.rights, tried).map(
    ({ aspect, what, change }) => `${aspect.toLowerCase()} ${what} (${change.toLowerCase()})`,
  );
  const difference = others.length > 0 ? [`Other than what was seen to be needed: ${listed(others)}.`] : [];
  const recommended = filteringIn(advice.rights.seccomp);
  const [filtering = ''] = filteringIn(tried.seccomp);
  return {
    ...advice,
    rights: tried,
    lines: withCallsOf(advice.lines, tried.seccomp),
    defaultProfile: againstDefault(tried.seccomp),
    problems: [...advice.problems.filter((problem) => !recommended.includes(problem)), filtering, ...difference],
  };
}

/** By what was seen alone. */
function rightsBy(given: GivenAdvice): Rights {
  return recommend(observationOf(given), { current: null, runtimeCalls: [], action: 'SCMP_ACT_ERRNO' }).rights;
}

serveChannel<AdviceProtocol>(
  port,
  {
    asks: {
      read: (given) => {
        const whole = merged(given);
        const observation = finish(pack(whole));
        return new Transferred({ observation, container: whole.containers[0]?.id ?? null }, buffersOf(observation));
      },
      recommend: (ask) => {
        const tried = ask.tried === null ? null : rightsOf('rights', JSON.parse(ask.tried));
        const advice = viewOf(ask);
        const view = finish(pack(tried ? withRights(advice, tried) : advice));
        return new Transferred(view, buffersOf(view));
      },
      files: (view) => renderAdvice(finish(unpack<AdviceView>(view))),
      diff: ({ before, after }) => diffRights(rightsBy(before), rightsBy(after)),
    },
    posts: {},
  },
  { code: 'INTERNAL_SERVER_ERROR' },
);
