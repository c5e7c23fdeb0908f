// What a person sees when a case fails: which case, which step, what errno, and the kernel's own last words.

import type { CaseResult, RunResult, StepResult } from './run.ts';
import { describeStep } from './steps.ts';

const KERNEL_LINES = 14;
const CASES_SHOWN = 5;

/** Thrown by `runInKernel` when a case failed. `result` has everything, also the cases that went well. */
export class KernelFailure extends Error {
  override name = 'KernelFailure';
  readonly #result: RunResult;

  constructor(result: RunResult) {
    super(describeFailures(result));
    this.#result = result;
  }

  // A getter, so that a test runner that prints the error's fields does not print a whole kernel log.
  get result(): RunResult {
    return this.#result;
  }
}

function describeFailures(result: RunResult): string {
  const failed = result.cases.filter(one => !one.ok);
  const shown = failed.slice(0, CASES_SHOWN).map(one => describeCase(one));
  if (failed.length > CASES_SHOWN) shown.push(`… and ${failed.length - CASES_SHOWN} more failed cases`);
  return shown.join('\n\n');
}

function describeCase(one: CaseResult): string {
  const last = one.steps.at(-1);
  const head = `case ${JSON.stringify(one.name)}`;
  if (!last || last.ok) return [`${head}: ${one.message ?? one.ended}`, ...kernelWords(one.log)].join('\n');
  return [
    `${head}, step ${one.steps.length - 1} (${describeStep(last.step)}): ${whatWentWrong(last)}`,
    ...output('stdout', last.stdout),
    ...output('stderr', last.stderr),
    ...kernelWords(last.log),
  ].join('\n');
}

function whatWentWrong(last: StepResult): string {
  const wanted = last.step.expectFailure;
  if (wanted && !last.errno && !last.message) return `succeeded, expected ${wanted === true ? 'a failure' : wanted}`;
  const found = [last.errno, last.message].filter(Boolean).join(': ');
  return wanted && wanted !== true ? `${found}; expected ${wanted}` : found;
}

function output(name: string, text: string): string[] {
  const lines = text.trimEnd().split('\n').slice(-8);
  return text.trim() === '' ? [] : [`  ${name}:`, ...lines.map(line => `    ${line.slice(0, 300)}`)];
}

/** The last lines, without the rows of registers and addresses that a panic ends with. */
export function kernelWords(log: readonly string[]): string[] {
  const words = log.filter(line => line.trim() !== '' && !NOISE.test(line));
  if (words.length === 0) return ['  the kernel said nothing'];
  // What a stack trace is about comes before it.
  const bug = words.findIndex(line => /^(BUG|Oops|kernel BUG|sysrq: Trigger a crash|Kernel panic)/.test(line));
  const from = bug >= 0 ? Math.max(0, bug - 4) : Math.max(0, words.length - KERNEL_LINES);
  const lines = words.slice(from, from + KERNEL_LINES + (bug >= 0 ? 4 : 0));
  return ['  the kernel said:', ...lines.map(line => `    ${line.slice(0, 300)}`)];
}

const NOISE =
  /^(R[A-Z0-9]{2}:|RIP:|Code:|CR2:|FS:|CS:|DR[0-7]:|PKRU:|kernel-vm: |Modules linked in:|Hardware name:|CPU: \d|\s*<\/?TASK>|---\[|\s*\? )/;
