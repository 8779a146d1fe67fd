import { AskThread } from '../../base/ask-thread.js';
import { unpack } from '../../base/packed.js';
import { inTurns } from '../../base/turn.js';
import type { ParsedYaml } from '../../base/yaml.js';
import { checkSize, type RuleSource } from '../../rules/format.js';
import type { RuleFileProtocol } from './protocol.js';

/** A file of 4 MiB, as the library has it. */
const HEAP_MIB = 1024;

/** The server's end of the thread that parses rule files. */
export class RuleFileThread {
  readonly #thread = new AskThread<RuleFileProtocol>({
    file: 'service/rules/worker',
    name: 'rule files',
    does: 'parses rule files',
    heapMiB: HEAP_MIB,
  });

  /** The same files with what is in them. Throws BAD_RULES for one that is too large; what else is wrong is in `parsed`. */
  async parse(sources: readonly RuleSource[]): Promise<readonly RuleSource[]> {
    const all: RuleSource[] = [];
    for (const source of sources) {
      checkSize(source);
      const packed = await this.#thread.ask('parse', source.text);
      all.push({ ...source, parsed: await inTurns(unpack<ParsedYaml>(packed)) });
    }
    return all;
  }

  /** Idempotent. */
  end(): Promise<void> {
    return this.#thread.end();
  }
}
