import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import type Docker from 'dockerode';
import { EunomiaError, messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { timeoutSignal } from '../../base/timeout.js';
import type { Rights } from '../../event/advice.js';
import { copyConfig, type CopyMount } from './copy-config.js';
import { Copy, type Requests } from './copy.js';
import { clientOf } from './engine.js';
import { HELPER, helperArchive } from './helper.js';
import { readOriginal, type Original, type OriginalMount } from './original.js';
import { isLeftOver, LABEL, labelsOf, type EngineLabels } from './owner.js';
import {
  begin,
  change,
  getJson,
  headOf,
  MAX_BYTES,
  open,
  RequestError,
  requireOk,
  type EngineRequest,
} from './request.js';

export interface RehearsalOptions {
  /** The engine's address. */
  readonly host: string;
  readonly log: Log;
  /** After this time nobody needs what was made, in milliseconds. */
  readonly limitMs: number;
  /** Ends it. What was made is removed all the same, by `close`. */
  readonly signal: AbortSignal;
  /** Whether this machine is to reach the copies. They reach it too then, at all ports that are open to anybody. */
  readonly reachable: boolean;
  /** "docker", "podman"; null where it is not known. */
  readonly kind: string | null;
}

const REQUEST_MS = 60_000;
const REMOVE_MS = 30_000;
/** Of one mount: more is not copied. */
const MAX_COPIED = 1 << 30;
/** Types of files in the modes of Go: all but regular ones; and directories. */
const NOT_REGULAR = 0x8f280000;
const DIRECTORY = 0x80000000;
/** Of what programs write, with the heads of frames, of which the smallest has one byte. */
const MAX_OUTPUT = 1 << 20;
/** What a copy writes does not fill the disk, and can be read whatever the engine does with logs otherwise. */
const LOGS = { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '1' } };

/** The mount of a copy, with what was made for it; or why there is none. */
interface Mounted {
  readonly mount: CopyMount | null;
  readonly problem?: string;
  /** Paths of what is removed with the copy. */
  readonly made?: readonly string[];
}

interface Copied {
  readonly volume: string | null;
  readonly made: readonly string[];
}

const NOTHING: Copied = { volume: null, made: [] };

/**
 * Copies of containers, to try something with them: never with the original's network, nor with what it writes. `close` removes all
 * that was made. Rejects with ENGINE_REFUSED, with the engine's words.
 */
export class Rehearsal {
  readonly id = randomBytes(6).toString('hex');
  readonly #docker: Docker;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  readonly #labels: EngineLabels;
  readonly #networkOptions: Readonly<Record<string, string>>;
  readonly #kind: string | null;
  /** Where the original has more than is copied. */
  readonly #large = new Set<string>();
  #copies = 0;
  #network: Promise<string> | null = null;
  #image: Promise<string> | null = null;
  #helper: Promise<CopyMount | null> | null = null;

  constructor({ host, log, limitMs, signal, reachable, kind }: RehearsalOptions) {
    this.#docker = clientOf(host);
    this.#log = log;
    this.#signal = signal;
    this.#kind = kind;
    this.#labels = labelsOf(this.id, Date.now() + limitMs);
    // The host has no address on the bridge then. Podman refuses the option.
    this.#networkOptions = reachable || kind !== 'docker' ? {} : { 'com.docker.network.bridge.inhibit_ipv4': 'true' };
  }

  /** The engine and its runtime: "Docker 20.10.24, runc 1.1.5". */
  async runtime(): Promise<string> {
    const version = (await this.#getJson('asking for the version', '/version?')) as {
      Components?: { Name?: unknown; Version?: unknown }[];
    } | null;
    const parts = (version?.Components ?? []).filter(({ Name }) =>
      /^(engine|podman engine|runc|crun|oci.*|containerd)/i.test(String(Name)),
    );
    return parts.map(({ Name, Version }) => `${String(Name)} ${String(Version)}`).join(', ') || 'unknown';
  }

  /** Rejects with UNKNOWN_CONTAINER when the engine has no such container any more. */
  async original(id: string): Promise<Original> {
    const found = readOriginal(await this.#getJson('inspecting the container', `/containers/${id}/json?`));
    if (found === null) throw refused('inspecting the container', 'the response describes no container');
    return found;
  }

  /** A container of the helper's image, with one of its programs, under a seccomp profile. */
  async trial(program: string, seccomp: object, noNewPrivileges: boolean): Promise<Copy> {
    const image = await this.#helperImage();
    return this.#withProfile(seccomp, (profile) =>
      this.#create({
        Image: image,
        Cmd: [`${HELPER}/${program}`],
        Labels: this.#labels,
        HostConfig: {
          NetworkMode: 'none',
          LogConfig: LOGS,
          ...(noNewPrivileges ? { CapDrop: ['ALL'] } : {}),
          SecurityOpt: [`seccomp=${profile}`, ...(noNewPrivileges ? ['no-new-privileges'] : [])],
        },
      }),
    );
  }

  /**
   * A copy of a container that has not been started, under `rights` (null: under its own). What the original has in its mounts is
   * copied, up to 1 GiB of each, and removed with the copy; `problems` says what could not be. With `program`, it runs that of the helper
   * instead of its own.
   */
  async copy(
    original: Original,
    rights: Rights | null,
    program: string | null = null,
  ): Promise<{ readonly copy: Copy; readonly problems: readonly string[] }> {
    const network = await (this.#network ??= this.#makeNetwork());
    const problems: string[] = [];
    const mounts: CopyMount[] = [];
    const belongings: string[] = [];
    const helper = await (this.#helper ??= this.#makeHelper());
    if (helper) mounts.push(helper);
    for (const mount of original.Mounts) {
      const writable = rights
        ? rights.volumes.some((one) => one.path === mount.Destination && one.writable)
        : mount.RW !== false;
      const { mount: own, problem, made = [] } = await this.#mountOf(original, mount, writable);
      if (own) mounts.push(own);
      if (problem !== undefined) problems.push(problem);
      belongings.push(...made);
    }
    const had = new Set(original.Mounts.map(({ Destination }) => Destination));
    for (const { path } of rights?.volumes ?? [])
      // The engine fills it with what the image has there.
      if (!had.has(path)) mounts.push({ Type: 'volume', Source: '', Target: path, ReadOnly: false });
    const place = { labels: this.#labels, network, mounts, logs: LOGS };
    const other = program === null ? {} : { Entrypoint: [`${HELPER}/${program}`], Cmd: [], Healthcheck: null };
    const create = (seccomp: string | null): Promise<Copy> =>
      this.#create({ ...copyConfig(original, rights, { ...place, seccomp }), ...other }, belongings);
    const copy = rights ? await this.#withProfile(rights.seccomp, create) : await create(null);
    return { copy, problems };
  }

  /** Removes all that was made. Never rejects: what the engine keeps is told to the log; then it is false. */
  async close(): Promise<boolean> {
    return removeAll(this.#docker, (labels) => labels[LABEL] === this.id, this.#log);
  }

  /**
   * `work` creates a container under a seccomp profile: Docker takes its text, Podman a file of the engine's machine, which it reads at
   * once.
   */
  async #withProfile<Value>(seccomp: object, work: (profile: string) => Promise<Value>): Promise<Value> {
    const text = JSON.stringify(seccomp);
    if (this.#kind !== 'podman') return work(text);
    const folder = await mkdtemp(join(tmpdir(), 'eunomia-advice-'));
    try {
      const file = join(folder, 'seccomp.json');
      await writeFile(file, text);
      return await work(file);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #create(body: object, belongings: readonly string[] = []): Promise<Copy> {
    const name = `eunomia-advice-${this.id}-${(this.#copies += 1)}`;
    const { Id } = await this.#change('creating the copy', {
      method: 'POST',
      path: '/containers/create',
      query: { name },
      body,
    });
    const requests: Requests = {
      change: (what, request, ms) => this.#change(what, request, ms),
      raw: (what, request, ms) => this.#raw(what, request, ms),
      getJson: (what, path) => this.#getJson(what, path),
      head: (what, request, ms) => this.#head(what, request, ms),
    };
    return new Copy(String(Id), name, requests, belongings);
  }

  async #makeNetwork(): Promise<string> {
    const Name = `eunomia-advice-${this.id}`;
    // Internal: a copy reaches no other network.
    const [Labels, Options] = [this.#labels, this.#networkOptions];
    const body = { Name, Internal: true, CheckDuplicate: true, Labels, Options };
    await this.#change('creating a network', { method: 'POST', path: '/networks/create', body });
    return Name;
  }

  async #helperImage(): Promise<string> {
    return (this.#image ??= this.#importImage());
  }

  async #importImage(): Promise<string> {
    const archive = helperArchive();
    if (archive === null) throw refused('importing the helper', `there is none for this architecture, ${process.arch}`);
    const repo = 'eunomia-advice';
    const changes = Object.entries(this.#labels).map(([name, value]) => `LABEL ${name}=${JSON.stringify(value)}`);
    const query = { fromSrc: '-', repo, tag: this.id, changes: [...changes, `CMD ["${HELPER}/exit"]`] };
    await this.#raw('importing the helper', { method: 'POST', path: '/images/create', query, archive });
    // By its id: Podman keeps the name as localhost/…, and looks for one without a registry in that of Docker.
    const found = await this.#told('looking for the helper', (signal) =>
      getJson(this.#docker, '/images/json?', signal, MAX_BYTES.list, { filters: { label: [`${LABEL}=${this.id}`] } }),
    );
    const [image] = (Array.isArray(found) ? found : []) as readonly Labelled[];
    if (typeof image?.Id !== 'string') throw refused('importing the helper', 'the engine has no image of it');
    return image.Id;
  }

  /** A volume with the helper's programs, which the engine fills from the image. Null where there are none. */
  async #makeHelper(): Promise<CopyMount | null> {
    if (helperArchive() === null) return null;
    const volume = await this.#makeVolume();
    await this.#filler(volume, HELPER);
    return { Type: 'volume', Source: volume, Target: HELPER, ReadOnly: true };
  }

  async #makeVolume(): Promise<string> {
    const { Name } = await this.#change('creating a volume', {
      method: 'POST',
      path: '/volumes/create',
      body: { Labels: this.#labels },
    });
    return String(Name);
  }

  /** A container that is never started, through which a volume is filled. */
  async #filler(volume: string, target: string): Promise<Copy> {
    return this.#create({
      Image: await this.#helperImage(),
      Labels: this.#labels,
      HostConfig: { NetworkMode: 'none', Mounts: [{ Type: 'volume', Source: volume, Target: target }] },
    });
  }

  async #mountOf(original: Original, mount: OriginalMount, writable: boolean): Promise<Mounted> {
    const { Type, Destination: target } = mount;
    const source = Type === 'volume' ? mount.Name : mount.Source;
    if ((Type !== 'volume' && Type !== 'bind') || source === null) return { mount: null };
    const mode = await this.#modeOf(original, target);
    if (mode & DIRECTORY) {
      const { volume, made } = this.#large.has(target) ? NOTHING : await this.#copyOf(original, target);
      if (volume !== null)
        return { mount: { Type: 'volume', Source: volume, Target: target, ReadOnly: !writable }, made };
      this.#large.add(target);
    } else if (mode & NOT_REGULAR) {
      return { mount: null, problem: `${target} is a socket or device of the original: the copy does not have it` };
    }
    // Before the copy starts it is clear that it may not write there. What is mounted below would be writable.
    const own = Type === 'bind' ? { BindOptions: { NonRecursive: true, Propagation: 'rprivate' } } : {};
    return { mount: { Type, Source: source, Target: target, ReadOnly: true, ...own } };
  }

  /** `volume` is null when it is larger than a copy may be. */
  async #copyOf(original: Original, path: string): Promise<Copied> {
    const volume = await this.#makeVolume();
    const filler = await this.#filler(volume, path);
    const made = [`/containers/${filler.id}`, `/volumes/${volume}`];
    let bytes = 0;
    const counter = new Transform({
      transform: (chunk: Buffer, _, done) => {
        bytes += chunk.length;
        done(bytes > MAX_COPIED ? new Error('too large') : null, chunk);
      },
    });
    try {
      const source = await this.#stream('reading a mount', `/containers/${original.Id}/archive?`, {
        path: `${path}/.`,
      });
      source.on('error', (error) => counter.destroy(error));
      counter.on('close', () => source.destroy());
      await this.#raw('copying a mount', {
        method: 'PUT',
        path: `/containers/${filler.id}/archive`,
        query: { path },
        archive: source.pipe(counter),
      });
      return { volume, made };
    } catch (error) {
      if (bytes <= MAX_COPIED) throw error;
      await this.#remove(made);
      return NOTHING;
    }
  }

  /** As Go writes modes (io/fs FileMode). */
  async #modeOf(original: Original, path: string): Promise<number> {
    const { headers } = await this.#raw('looking at a mount', {
      method: 'HEAD',
      path: `/containers/${original.Id}/archive`,
      query: { path },
    });
    const stat = JSON.parse(Buffer.from(String(headers['x-docker-container-path-stat']), 'base64').toString()) as {
      mode?: unknown;
    };
    return Number(stat.mode);
  }

  async #remove(paths: readonly string[]): Promise<void> {
    const query = { force: true, v: true };
    for (const path of paths) await this.#raw('removing a copy', { method: 'DELETE', path, query });
  }

  async #stream(what: string, path: string, query: object): ReturnType<typeof open> {
    return this.#told(what, async (signal) => {
      const response = await open(this.#docker, path, signal, query);
      await requireOk(response);
      return response;
    });
  }

  async #head(what: string, request: EngineRequest, ms?: number): Promise<Buffer> {
    const respond = async (signal: AbortSignal): Promise<Buffer> => {
      const response = await begin(this.#docker, request, signal);
      await requireOk(response);
      return headOf(response, MAX_OUTPUT);
    };
    return this.#told(what, respond, ms);
  }

  async #getJson(what: string, path: string): Promise<unknown> {
    return this.#told(what, (signal) => getJson(this.#docker, path, signal, MAX_BYTES.inspect));
  }

  async #change(what: string, request: EngineRequest, ms?: number): Promise<Record<string, unknown>> {
    const { body } = await this.#raw(what, request, ms);
    const value: unknown = body.length === 0 ? {} : JSON.parse(body.toString());
    return value as Record<string, unknown>;
  }

  async #raw(what: string, request: EngineRequest, ms = REQUEST_MS): ReturnType<typeof change> {
    return this.#told(what, (signal) => change(this.#docker, request, signal), ms);
  }

  async #told<Value>(what: string, request: (signal: AbortSignal) => Promise<Value>, ms = REQUEST_MS): Promise<Value> {
    const late = timeoutSignal(ms);
    const ended = AbortSignal.any([late, this.#signal]);
    try {
      const value = await request(ended);
      // A body that broke off looks like one that ended.
      ended.throwIfAborted();
      return value;
    } catch (error) {
      if (this.#signal.aborted) throw new EunomiaError('CANCELLED', 'it was cancelled, and its copies are removed');
      if (late.aborted) throw refused(what, `no response within ${ms / 1000} s`, { late: true });
      const status = error instanceof RequestError ? error.statusCode : undefined;
      throw refused(what, messageOf(error).trim(), status === undefined ? {} : { status });
    }
  }
}

function refused(what: string, why: string, details: Record<string, unknown> = {}): EunomiaError {
  return new EunomiaError('ENGINE_REFUSED', `${what}: ${why}`, { details });
}

/**
 * Removes what rehearsals left behind: those whose process was killed, and these of this process that could not. Never rejects; false when
 * something is left.
 */
export async function clearLeftovers(host: string, ids: ReadonlySet<string>, log: Log): Promise<boolean> {
  const now = Date.now();
  return removeAll(clientOf(host), (labels) => isLeftOver(labels, now) || ids.has(labels[LABEL] ?? ''), log);
}

interface Labelled {
  readonly Id?: unknown;
  readonly Name?: unknown;
  readonly Labels?: EngineLabels | null;
}

/** Kinds of things in the order in which they can be removed. */
const kinds = [
  { list: '/containers/json?', path: '/containers', key: 'Id', query: { force: true, v: true } },
  { list: '/networks?', path: '/networks', key: 'Id', query: {} },
  { list: '/volumes?', path: '/volumes', key: 'Name', query: { force: true } },
  { list: '/images/json?', path: '/images', key: 'Id', query: { force: true } },
] as const;

/** What cannot be removed keeps nothing else from being removed. */
async function removeAll(docker: Docker, condemned: (labels: EngineLabels) => boolean, log: Log): Promise<boolean> {
  const signal = timeoutSignal(REMOVE_MS);
  let left = false;
  const attempt = async (path: string, work: () => Promise<void>): Promise<void> =>
    work().catch((error: unknown) => {
      // Somebody else, or the engine, has removed it meanwhile.
      if (error instanceof RequestError && error.statusCode === 404) return;
      left = true;
      log.warn({ error: messageOf(error) }, `cannot remove what a rehearsal of advice has made (${path.slice(1)})`);
    });
  for (const { list, path, key, query } of kinds)
    await attempt(path, async () => {
      const found = await getJson(docker, list, signal, MAX_BYTES.list, { all: true, filters: { label: [LABEL] } });
      const all = (
        Array.isArray(found) ? found : ((found as { Volumes?: unknown } | null)?.Volumes ?? [])
      ) as readonly Labelled[];
      for (const one of all.filter(({ Labels: labels }) => condemned(labels ?? {}))) {
        const at = `${path}/${encodeURIComponent(String(one[key]))}`;
        await attempt(path, async () => void (await change(docker, { method: 'DELETE', path: at, query }, signal)));
      }
    });
  return !left;
}
