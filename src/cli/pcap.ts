import type { Command } from 'commander';
import type { Client } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { pathsOf } from './field.js';
import { checkFile, toFile, toOutput } from './file.js';
import { PacketCounter } from './packet-counter.js';
import { withSession } from './session.js';
import { targetInput, withTarget, type TargetFlags } from './target.js';
import { UsageError, wholeNumber } from './usage.js';
import { whereInput } from './where.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags, TargetFlags {
  readonly output?: string;
  readonly snap?: number;
  readonly where?: string;
  readonly for?: string;
  readonly name?: string;
}

export function addPcap(program: Command, world: World): void {
  const command = withConnection(program.command('pcap')).description(
    'write IP packets of containers and processes as pcapng, for Wireshark and tcpdump, until Ctrl-C or --for',
  );
  withTarget(command)
    .option('-o, --output <file>', 'write to this file, which appears when it is complete; default: standard output')
    .option('--snap <bytes>', 'bytes of each packet that are kept (default: 256)', wholeNumber('--snap', 0, 16_384))
    .option('--where <expression>', 'only packets that match this CEL expression: targetPort == 443')
    .option('--for <duration>', 'stop after this time: 500ms, 10s, 5m')
    .option('--name <text>', 'a name for the session')
    .action(async (flags: Flags) => {
      if (flags.output === undefined && world.output.width !== null)
        throw new UsageError(
          '--output: packets are no text for a terminal; name a file, or use a pipe: eunomia pcap | tcpdump -r -',
        );
      if (flags.output !== undefined) await checkFile(flags.output);
      await withClient(world, flags, (client) => capture(client, flags, world));
    });
}

async function capture(client: Client, flags: Flags, world: World): Promise<void> {
  const input = {
    trackers: [{ packet: flags.snap === undefined ? {} : { snapLength: flags.snap } }],
    target: targetInput(flags),
    where: flags.where === undefined ? null : await whereInput(flags.where, flags, await pathsOf(client, ['packet'])),
    capture: 'DEMANDED',
    fields: ['data'],
    for: flags.for ?? null,
    name: flags.name ?? 'eunomia pcap',
  };
  return withSession(client, input, async (id, stop) => {
    const end = (): void => void stop().catch(() => undefined);
    world.signal.addEventListener('abort', end, { once: true });
    if (world.signal.aborted) end();
    try {
      world.tell(`capturing${flags.for === undefined ? '' : ` for ${flags.for}`}; Ctrl-C stops`);
      const counter = new PacketCounter();
      let isWhole = false;
      const pieces = (async function* () {
        for await (const piece of client.download(`/export/${encodeURIComponent(id)}.pcapng`, { follow: 'true' })) {
          counter.add(Buffer.from(piece));
          yield piece;
        }
        isWhole = true;
      })();
      const bytes =
        flags.output === undefined ? await toOutput(pieces, world.output) : await toFile(pieces, flags.output);
      const { stats } = await stop();
      const dropped = isWhole ? Number(stats.delivered) - counter.packets : 0;
      const packets =
        `${counter.packets} packets, ${stats.lost} lost` +
        (dropped > 0 ? `, ${dropped} dropped (too many to write: --where, --container or a smaller --snap helps)` : '');
      world.tell(flags.output === undefined ? packets : `${flags.output}: ${packets}, ${bytes} bytes`);
    } finally {
      world.signal.removeEventListener('abort', end);
    }
  });
}
