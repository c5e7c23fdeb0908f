// The last lines of a test run: what ran, what was skipped and why, and how many tests ran out of time. Suites that cannot run say so with
// a line of the form "WHAT skipped: WHY"; the lines of one WHY become one.

import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

type UserConsoleLog = Parameters<NonNullable<Reporter['onUserConsoleLog']>>[0];

const SKIPPED = /^(.*?) skipped: (.*)$/gm;

export class SummaryReporter implements Reporter {
  readonly #left: readonly string[];

  /** @param left files that this run leaves to longer ones */
  constructor(left: readonly string[] = []) {
    this.#left = left;
  }

  /** What is skipped, by the reason. */
  readonly #skipped = new Map<string, Set<string>>();

  onUserConsoleLog({ content }: UserConsoleLog): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
    for (const [, what = '', why = ''] of content.replaceAll(/\x1b\[[0-9;]*m/g, '').matchAll(SKIPPED)) {
      const names = this.#skipped.get(why) ?? new Set();
      this.#skipped.set(why, names.add(what));
    }
  }

  onTestRunEnd(modules: readonly TestModule[], _errors: unknown, reason: TestRunEndReason): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    let timedOut = 0;
    const broken: string[] = [];
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        counts[state]++;
        if (errors?.some(({ message }) => /timed out/.test(message))) timedOut++;
      }
      // Something outside of its tests failed.
      if (module.errors().length > 0) broken.push(module.relativeModuleId);
    }
    const lines: string[] = [''];
    for (const [why, names] of this.#skipped) lines.push(`skipped: ${why}`, `  ${[...names].join(', ')}`);
    if (this.#left.length > 0) {
      const names = this.#left.map(path => path.replace(/^test\/|\.test\.ts$/g, ''));
      lines.push('left to `npm test -- --long`, and run when they are named:', `  ${names.join(', ')}`);
    }
    if (timedOut > 0) {
      const limits = process.env.BCACHEFS_TEST_PATIENCE;
      const how = limits === undefined ? '' : ` (limits were ${limits} times those of an idle machine)`;
      lines.push(`ran out of time: ${timedOut} of the failed tests${how}`);
    }
    if (broken.length > 0) lines.push(`failed outside of their tests: ${broken.join(', ')}`);
    if (reason === 'interrupted') lines.push('interrupted: not all tests were run');
    const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
    lines.push(`tests: ${counts.passed} passed, ${counts.failed + counts.pending} failed${skipped}`, '');
    process.stdout.write(lines.join('\n'));
  }
}
