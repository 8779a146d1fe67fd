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
  serve: [
    'eunomia serve --port 5000 --retention-age 30d',
    'eunomia serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --tokens-file tokens',
  ],
  trackers: ['eunomia trackers open'],
  containers: ['eunomia containers --all'],
  processes: ["eunomia processes --container web --where 'uid == 0'"],
  sockets: ['eunomia sockets --listening'],
  files: ["eunomia files --container 'web-*' -n 100"],
  mounts: ['eunomia mounts --container web'],
  status: ['eunomia status --server http://127.0.0.1:4000'],
  sessions: ['eunomia sessions --running'],
  stop: ['eunomia stop SESSION --remove'],
  queries: ['eunomia queries --kind filter'],
  update: ["eunomia update SESSION --where 'errno != null' --for 1h"],
  replay: ['eunomia replay trace.ndjson', 'eunomia replay trace.ndjson --port 4001 --speed 10'],
  advise: ['eunomia advise web --for 10m --out web-advice'],
  backup: ['eunomia backup -o history.duckdb'],
  plugin: ['eunomia plugin new my-plugin', 'eunomia plugin load my-plugin/plugin.ts'],
  rules: ['eunomia rules check rules', 'eunomia rules explain rules --rule shell-in-container'],
  mcp: ['eunomia mcp --server https://host:4000', 'eunomia mcp --listen 127.0.0.1:4100 --server https://host:4000'],
};

/** Adds those of a command to its help. */
export function addExamples(command: Command): void {
  const own = examples[command.name()];
  if (own) command.addHelpText('after', `\nExamples:\n${own.map((line) => `  ${line}`).join('\n')}`);
}
