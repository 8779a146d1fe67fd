import type { Advice, AdviceFile } from '../../../event/advice.js';
import { apparmor } from './apparmor.js';
import { compose } from './compose.js';
import { dockerRun } from './docker-run.js';
import { kubernetes } from './kubernetes.js';
import { adviceMarkdown } from './markdown.js';
import { rules } from './rules.js';

/** The files of a recommendation, each as its consumer takes it. */
export function renderAdvice(advice: Advice): AdviceFile[] {
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  return [
    { name: 'seccomp.json', content: json(advice.rights.seccomp) },
    { name: 'docker-run.txt', content: dockerRun(advice) },
    { name: 'compose.override.yaml', content: compose(advice) },
    { name: 'kubernetes.yaml', content: kubernetes(advice) },
    { name: 'apparmor.profile', content: apparmor(advice) },
    { name: 'rules.yaml', content: rules(advice) },
    { name: 'advice.json', content: json(advice) },
    { name: 'advice.md', content: adviceMarkdown(advice) },
  ];
}
