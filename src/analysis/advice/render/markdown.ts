import { markdownText } from '../../../base/markdown.js';
import type { Advice, AdviceLine, Aspect } from '../../../event/advice.js';

const titles: Readonly<Record<Aspect, string>> = {
  CALL: 'System calls',
  CAPABILITY: 'Capabilities',
  ROOT: 'Root file system',
  TMPFS: 'Temporary file systems',
  VOLUME: 'Volumes',
  DEVICE: 'Devices',
  USER: 'User',
  NO_NEW_PRIVILEGES: 'No new privileges',
  PORT: 'Ports',
  PEER: 'Peers',
  LIMIT: 'Limits',
};

/** The recommendation for people: each line with who needed it, when and how often. */
export function adviceMarkdown(advice: Advice): string {
  const { subject, coverage, defaultProfile, lines, problems } = advice;
  const name = subject.container?.name ?? subject.container?.id.slice(0, 12) ?? subject.image ?? 'a container';
  return [
    `# Least privilege for ${markdownText(name)}`,
    '',
    `- Image: ${markdownText(subject.image ?? 'not known')}`,
    ...(subject.containers > 1 ? [`- Seen in ${subject.containers} containers`] : []),
    `- Watched: ${(coverage.watchedNs / 1e9).toFixed(0)} s${coverage.from === null ? '' : `, from ${coverage.from} to ${coverage.to}`}`,
    `- Start seen: ${coverage.startSeen ? 'yes' : 'no'}`,
    `- System calls first seen in the last half of the time: ${coverage.newCalls} of ${coverage.calls}`,
    `- Of ${defaultProfile.allowed} calls that Docker's default profile allows, ${defaultProfile.remaining} are left` +
      (defaultProfile.beyond.length ? `; beyond it: ${markdownText(defaultProfile.beyond.join(', '))}` : ''),
    coverage.complete ? '- Complete: nothing is missing that is known.' : '- Not complete:',
    ...(coverage.complete ? [] : coverage.reasons.map((reason) => `  - ${markdownText(reason)}`)),
    ...(problems.length ? ['', '## Problems', '', ...problems.map((problem) => `- ${markdownText(problem)}`)] : []),
    ...(Object.keys(titles) as Aspect[]).flatMap((aspect) =>
      section(
        titles[aspect],
        lines.filter((line) => line.aspect === aspect),
      ),
    ),
    ...section('Programs that ran', [], coverage.programs),
    '',
  ].join('\n');
}

function section(title: string, lines: readonly AdviceLine[], list: readonly string[] = []): string[] {
  if (lines.length === 0 && list.length === 0) return [];
  const rows = lines.map(({ what, why, phase, evidence }) => {
    const seen = evidence
      ? [evidence.programs.join(', '), evidence.first, evidence.last, String(evidence.count)]
      : ['', '', '', ''];
    return `| ${[what, why, phase, ...seen].map(markdownText).join(' | ')} |`;
  });
  const table = rows.length
    ? [
        '| What | Why | When | Programs | First seen | Last seen | Count |',
        '| --- | --- | --- | --- | --- | --- | ---: |',
        ...rows,
      ]
    : [];
  return ['', `## ${title}`, '', ...table, ...list.map((one) => `- ${markdownText(one)}`)];
}
