import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createFixture, createServer, post, type Fixture, type FixtureOptions, type GraphQLAnswer } from './support.js';

/** Servers with rules, what they are asked, and rules to begin with. */

const tokens = { admin: 'secret-of-the-admin', operator: 'secret-of-the-operator', viewer: 'secret-of-the-viewer' };
export type Role = keyof typeof tokens;

export const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

export interface AlertFacts {
  readonly message: string;
  readonly time: string;
  readonly count: string;
}

export class RuleServer {
  readonly fixture: Fixture;
  readonly #server: ApiServer;

  constructor(fixture: Fixture, server: ApiServer) {
    this.fixture = fixture;
    this.#server = server;
  }

  static async open(options: FixtureOptions = {}): Promise<RuleServer> {
    const secrets = Object.entries(tokens).map(([role, secret]) => ({ role: role as Role, secret }));
    const fixture = await createFixture({ ...options, tokens: secrets });
    const made = new RuleServer(fixture, await createServer(fixture.services));
    closing.push(() => made.close());
    return made;
  }

  async close(): Promise<void> {
    await this.fixture.services.rules.close();
    await this.fixture.services.manager.close();
    await this.#server.close();
    await Promise.all([...this.fixture.services.stores.values()].map((store) => store.close()));
  }

  /** As on SIGTERM. */
  end(): Promise<void> {
    return this.#server.close();
  }

  async ask<Data = Record<string, never>>(
    query: string,
    variables: object = {},
    role: Role = 'admin',
  ): Promise<GraphQLAnswer<Data>> {
    return (await post<Data>(this.#server.url, { query, variables }, { authorization: `Bearer ${tokens[role]}` })).json;
  }

  load(name: string, source: string, role: Role = 'admin'): Promise<GraphQLAnswer> {
    return this.ask(
      'mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name source } }',
      { input: { name, source } },
      role,
    );
  }

  async alerts(): Promise<readonly AlertFacts[]> {
    const { data } = await this.ask<{ alerts: { nodes: readonly AlertFacts[] } }>(
      '{ alerts(first: 10000) { nodes { message time count source severity session { id name } } } }',
    );
    return data?.alerts.nodes ?? [];
  }
}

export async function folderOf(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-rules-'));
  closing.push(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return folder;
}

export const ended = (message: string, more = ''): string => `rules:
  - name: ended
    description: A process ended.
    severity: LOW
    trackers: exit
    condition: 'true'
    message: '${message}'
    key: [bootNs]
    interval: 0s
    throttle: { alerts: 10000, within: 1s }${more}`;
