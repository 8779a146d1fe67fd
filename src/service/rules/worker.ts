import { parentPort } from 'node:worker_threads';
import { serveChannel, Transferred } from '../../base/channel.js';
import { buffersOf, pack } from '../../base/packed.js';
import { finish } from '../../base/turn.js';
import { parsingYaml } from '../../base/yaml.js';
import type { RuleFileProtocol } from './protocol.js';

/** The thread that parses rule files: to compose a document of some 100 KiB takes 100 ms and more in one piece. */

const port = parentPort;
if (!port) throw new Error('rule files are parsed in a thread of its own');

serveChannel<RuleFileProtocol>(
  port,
  {
    asks: {
      parse: (text) => {
        const parsed = finish(pack(finish(parsingYaml(text))));
        return new Transferred(parsed, buffersOf(parsed));
      },
    },
    posts: {},
  },
  { code: 'INTERNAL_SERVER_ERROR' },
);
