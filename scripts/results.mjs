import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { root } from './setup/project.mjs';

/** A reporter of vitest. Writes what passed, failed and was skipped into the file that EUNOMIA_TEST_RESULTS names. */
// oxlint-disable-next-line import/no-default-export -- vitest asks for it
export default class Results {
  onTestRunEnd(modules) {
    const results = { passed: 0, failed: [], skipped: [] };
    for (const module of modules) {
      const file = relative(root, module.moduleId);
      const failedBefore = results.failed.length;
      for (const test of module.children.allTests()) {
        const { state, errors = [] } = test.result();
        const one = { file, name: test.fullName.replaceAll(' > ', ' ') };
        if (state === 'passed') results.passed++;
        else if (state === 'failed') results.failed.push({ ...one, message: errors.map(withCauses).join('\n') });
        else results.skipped.push(one);
      }
      // Of a file that could not even be collected, or whose hook failed.
      if (module.state() === 'failed' && results.failed.length === failedBefore) {
        const errors = [...module.errors(), ...[...module.children.allSuites()].flatMap((suite) => suite.errors())];
        results.failed.push({ file, name: 'the file itself', message: errors.map(withCauses).join('\n') });
      }
    }
    writeFileSync(process.env.EUNOMIA_TEST_RESULTS, JSON.stringify(results));
  }
}

/** "fetch failed" alone says nothing: its cause tells that nobody listened, or that the port is one which fetch refuses. */
function withCauses({ name, message, stack, cause }) {
  const text = stack || [name, message].filter(Boolean).join(': ');
  return cause
    ? `${text}\nCaused by: ${withCauses(typeof cause === 'object' ? cause : { message: String(cause) })}`
    : text;
}
