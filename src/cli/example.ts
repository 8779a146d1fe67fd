import type { Command } from 'commander';

/** What people want of a command first. Shown at the end of its help. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  run: [
    "eunomia run exec -c 'web-*' --wait",
    `eunomia run open --where 'path.startsWith("/etc/") && errno == "EACCES"'`,
    'eunomia run open:failedOnly tcp --for 10s -o json',
    'eunomia run exec -f time,container.name,args -n 100 -o csv',
  ],
  top: [
    'eunomia top open --by container.name',
    'eunomia top fileio --by container.name,path --sum writtenBytes --every 5s',
    `eunomia top exec --where 'comm == "curl"' --by name,parentComm`,
  ],
  start: [
    'eunomia start exec open --persist',
    `eunomia start tcp -c 'db-*' --for 1h --where 'errno != null' --name refused`,
  ],
  attach: ['eunomia attach SESSION --replay 100'],
  history: [
    "eunomia history --from 2h -c 'web-*'",
    "eunomia history --where 'errno != null' --count-by container.name,path",
  ],
  alerts: [
    'eunomia alerts --follow',
    'eunomia alerts show ALERT',
    "eunomia alerts silence --rule 'terminal-*' --for 1h --reason 'an upgrade'",
  ],
  export: ['eunomia export SESSION -o trace.ndjson', "eunomia export --from 24h -c 'web-*' -o web.parquet"],
  report: ['eunomia report web --for 30s', 'eunomia report web --since 24h'],
  pcap: ['eunomia pcap -c web -o web.pcapng'],
};

/** Adds those of a command to its help. */
export function addExamples(command: Command): void {
  const own = examples[command.name()];
  if (own) command.addHelpText('after', `\nExamples:\n${own.map((line) => `  ${line}`).join('\n')}`);
}
