import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { root } from '#eunomia/base/paths.js';
import type { Answer, Ask } from './protocol.js';

/** bench/query/audience.ts, a process of its own. */
export class Audience {
  readonly #child = fork(join(root, 'build/bench/query/audience.js'));

  async ask<Kind extends Answer['kind'] = 'done'>(ask: Ask): Promise<Extract<Answer, { kind: Kind }>> {
    const answered = once(this.#child, 'message') as Promise<[Answer]>;
    this.#child.send(ask);
    const [answer] = await answered;
    if (answer.kind === 'failed') throw new Error(`the audience: ${answer.message}`);
    return answer as Extract<Answer, { kind: Kind }>;
  }

  async close(): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }
}
