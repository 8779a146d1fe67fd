import { EunomiaError } from '../../base/errors.js';
import type { EngineRequest } from './request.js';

/** Requests to the copy's engine; `what` names them in errors. */
export interface Requests {
  change(what: string, request: EngineRequest, ms?: number): Promise<Record<string, unknown>>;
  raw(what: string, request: EngineRequest, ms?: number): Promise<{ readonly body: Buffer }>;
  getJson(what: string, path: string): Promise<unknown>;
  /** The first bytes of a response of any length. */
  head(what: string, request: EngineRequest, ms?: number): Promise<Buffer>;
}

export interface CopyState {
  readonly running: boolean;
  /** Null while it is running. */
  readonly exitCode: number | null;
  readonly oomKilled: boolean;
  /** Why the runtime did not start it; empty where it did. */
  readonly error: string;
  /** Of the image's health check: "starting", "healthy", "unhealthy"; null where it has none. */
  readonly health: string | null;
}

export interface ExecResult {
  /** 128 and the signal's number where a signal ended it. */
  readonly exitCode: number;
  /** Standard output and error, up to 64 KiB. */
  readonly output: string;
}

const MAX_OUTPUT = 64 << 10;
const START_MS = 20_000;

/** A container that was made to try something. It is removed with the rehearsal that made it. */
export class Copy {
  readonly id: string;
  readonly name: string;
  readonly #requests: Requests;
  readonly #belongings: readonly string[];

  /** `belongings`: paths of what is removed behind it. */
  constructor(id: string, name: string, requests: Requests, belongings: readonly string[] = []) {
    this.id = id;
    this.name = name;
    this.#requests = requests;
    this.#belongings = belongings;
  }

  /** Why it did not start, in the runtime's words; null when it has. */
  async start(): Promise<string | null> {
    try {
      const request: EngineRequest = { method: 'POST', path: `/containers/${this.id}/start` };
      await this.#requests.change('starting the copy', request, START_MS);
      return null;
    } catch (error) {
      // What the runtime cannot start, or waits for without end, is a result. An engine that is gone is none.
      const { status, late } = error instanceof EunomiaError ? error.details : {};
      if (error instanceof EunomiaError && (status !== undefined || late === true)) return error.message;
      throw error;
    }
  }

  async state(): Promise<CopyState> {
    const found = (await this.#requests.getJson('inspecting the copy', `/containers/${this.id}/json?`)) as {
      State?: {
        Running?: unknown;
        ExitCode?: unknown;
        OOMKilled?: unknown;
        Error?: unknown;
        Health?: { Status?: unknown };
      };
    } | null;
    const state = found?.State ?? {};
    const running = state.Running === true;
    return {
      running,
      exitCode: running ? null : Number(state.ExitCode ?? 0),
      oomKilled: state.OOMKilled === true,
      error: String(state.Error ?? ''),
      health: typeof state.Health?.Status === 'string' ? state.Health.Status : null,
    };
  }

  /** Its address in its own network; null where it has none. */
  async address(): Promise<string | null> {
    const found = (await this.#requests.getJson('inspecting the copy', `/containers/${this.id}/json?`)) as {
      NetworkSettings?: { Networks?: Record<string, { IPAddress?: unknown }> };
    } | null;
    const [network] = Object.values(found?.NetworkSettings?.Networks ?? {});
    return typeof network?.IPAddress === 'string' && network.IPAddress !== '' ? network.IPAddress : null;
  }

  /** Runs a program in it, under its rights. Rejects with ENGINE_REFUSED also when it has not ended after `ms`. */
  async exec(command: readonly string[], ms: number): Promise<ExecResult> {
    const { Id } = await this.#requests.change('running a program in the copy', {
      method: 'POST',
      path: `/containers/${this.id}/exec`,
      body: { Cmd: command, AttachStdout: true, AttachStderr: true },
    });
    const request: EngineRequest = {
      method: 'POST',
      path: `/exec/${String(Id)}/start`,
      body: { Detach: false, Tty: false },
    };
    const body = await this.#requests.head('running a program in the copy', request, ms);
    const ended = (await this.#requests.getJson('running a program in the copy', `/exec/${String(Id)}/json?`)) as {
      ExitCode?: unknown;
    } | null;
    return { exitCode: Number(ended?.ExitCode ?? -1), output: textOf(body) };
  }

  /** The end of what it wrote; why it cannot be read, where the engine keeps no logs. */
  async logs(): Promise<string> {
    const path = `/containers/${this.id}/logs`;
    const request: EngineRequest = { method: 'GET', path, query: { stdout: true, stderr: true, tail: 20 } };
    try {
      return textOf(await this.#requests.head('reading the log of the copy', request));
    } catch (error) {
      if (error instanceof EunomiaError && error.details['status'] !== undefined) return error.message;
      throw error;
    }
  }

  /** With the volumes that were made for it. */
  async remove(): Promise<void> {
    const query = { force: true, v: true };
    const paths = [`/containers/${this.id}`, ...this.#belongings];
    for (const path of paths) await this.#requests.raw('removing the copy', { method: 'DELETE', path, query });
  }
}

/** Output as the engine sends it: in frames of a stream's number, three zeros and a length; of a terminal, as it is. */
function textOf(bytes: Buffer): string {
  const parts: Buffer[] = [];
  let offset = 0;
  while (offset + 8 <= bytes.length) {
    if ((bytes[offset] ?? 3) > 2 || bytes.readUIntBE(offset + 1, 3) !== 0)
      return bytes.subarray(0, MAX_OUTPUT).toString();
    const length = bytes.readUInt32BE(offset + 4);
    parts.push(bytes.subarray(offset + 8, offset + 8 + length));
    offset += 8 + length;
  }
  return Buffer.concat(parts).subarray(0, MAX_OUTPUT).toString();
}
