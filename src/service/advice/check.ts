import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, invalid, messageOf } from '../../base/errors.js';
import { responseTo } from '../../base/response.js';
import { timeoutSignal } from '../../base/timeout.js';
import type { CheckResult } from '../../event/advice.js';
import type { Copy, CopyState } from '../../inventory/docker/copy.js';
import { inRange } from '../check.js';

/** How it is told that a container works: one of these, or, without, by the health check of its image, or that it goes on running. */
export interface CheckRequest {
  /** A program and its arguments, which is run in the copy, under its rights. */
  readonly command?: readonly string[] | null | undefined;
  /** A URL that is asked for from outside; its host stands for the copy. A status below 400 is success. */
  readonly probe?: string | null | undefined;
}

export interface CopyCheck {
  /** For people. */
  readonly name: string;
  /** Tries once. Rejects when the engine is gone, and once the signal aborts. */
  attempt(copy: Copy, state: CopyState, ms: number, signal: AbortSignal): Promise<Attempted>;
}

export interface Attempted {
  readonly passed: boolean;
  readonly output: string;
}

const MAX_ARGS = 100;
const MAX_BODY = 64 << 10;
/** What runs for this long has started. */
const STEADY_MS = 2000;

/** Rejects with BAD_USER_INPUT. */
export function checkOf({ command, probe }: CheckRequest, hasHealthCheck: boolean): CopyCheck {
  if (command != null && probe != null) throw invalid('check', 'give either `command` or `probe`');
  if (command != null) {
    inRange('check.command', command.length, 1, MAX_ARGS, 'arguments');
    return commandCheck(command);
  }
  if (probe != null) return probeCheck(probe);
  return hasHealthCheck ? healthCheck : runningCheck();
}

function commandCheck(command: readonly string[]): CopyCheck {
  return {
    name: command.join(' '),
    async attempt(copy, { running }, ms) {
      if (!running) return { passed: false, output: 'the copy has ended' };
      try {
        const { exitCode, output } = await copy.exec(command, ms);
        return exitCode === 0
          ? { passed: true, output }
          : { passed: false, output: `exit code ${exitCode}: ${output}` };
      } catch (error) {
        if (!(error instanceof EunomiaError) || error.code !== 'ENGINE_REFUSED') throw error;
        const { late } = error.details;
        return { passed: false, output: late === true ? `it had not ended after ${ms / 1000} s` : error.message };
      }
    },
  };
}

function probeCheck(text: string): CopyCheck {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw invalid('check.probe', `"${text}" is no URL; give one such as "http://localhost:8080/health"`);
  return {
    name: url.href,
    async attempt(copy, { running }, ms, signal) {
      if (!running) return { passed: false, output: 'the copy has ended' };
      const address = await copy.address();
      if (address === null) return { passed: false, output: 'the copy has no address' };
      try {
        return await ask(url, address, AbortSignal.any([timeoutSignal(ms), signal]));
      } catch (error) {
        signal.throwIfAborted();
        const why =
          error instanceof Error && error.name === 'TimeoutError'
            ? `no response within ${ms / 1000} s`
            : messageOf(error);
        return { passed: false, output: why };
      }
    },
  };
}

/** The certificate is not verified: it is made out to the container's name, and the copy's address is known to be the copy's. */
async function ask(url: URL, address: string, signal: AbortSignal): Promise<Attempted> {
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const sent = request({
    host: address,
    port: url.port || undefined,
    path: `${url.pathname}${url.search}`,
    headers: { host: url.host },
    servername: url.hostname,
    rejectUnauthorized: false,
    agent: false,
    signal,
  });
  sent.end();
  const response = await responseTo(sent);
  const { statusCode = 0 } = response;
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) if ((size += chunk.length) > MAX_BODY) break;
  return { passed: statusCode < 400, output: `status ${statusCode}, ${size} bytes` };
}

const healthCheck: CopyCheck = {
  name: "the image's health check",
  attempt: async (_, { running, health }) => ({
    passed: running && health === 'healthy',
    output: running ? String(health) : 'the copy has ended',
  }),
};

function runningCheck(): CopyCheck {
  const since = new WeakMap<Copy, number>();
  return {
    name: 'it runs, or ends with success',
    async attempt(copy, { running, exitCode }) {
      if (!running) return { passed: exitCode === 0, output: `exit code ${exitCode}` };
      const start = since.get(copy) ?? Date.now();
      since.set(copy, start);
      return { passed: Date.now() - start >= STEADY_MS, output: 'running' };
    },
  };
}

const PAUSE_MS = 500;
const FAILURES = 3;

/** Tries until it passes, the copy ends, the time is over, or it fails again and again while `hopeless`. */
export async function passing(
  check: CopyCheck,
  { copy, timeout, signal }: { readonly copy: Copy; readonly timeout: number; readonly signal: AbortSignal },
  hopeless: () => Promise<boolean>,
): Promise<CheckResult> {
  const deadline = Date.now() + timeout;
  for (let failures = 1; ; failures += 1) {
    const state = await copy.state();
    const left = Math.max(deadline - Date.now(), PAUSE_MS);
    const result = { check: check.name, ...(await check.attempt(copy, state, left, signal)) };
    if (result.passed || !state.running || Date.now() >= deadline) return result;
    if (failures % FAILURES === 0 && (await hopeless())) return result;
    await sleep(PAUSE_MS, undefined, { signal });
  }
}
