// What is printed: the path first, where there is one; then what is wrong, and what becomes of it.

import type {
  Decided,
  ErrorExplanation,
  ExplanationOf,
  FaultName,
  Finding,
  FindingGroup,
  RecoverReport,
} from '@bcachefs-ts/core/engine';

/** look: repairs nothing; preen: what is safe; apply: what a plan lists. */
export type Mode = 'look' | 'yes' | 'preen' | 'ask' | 'apply';

export interface Summary {
  readonly kind: 'summary';
  readonly uuid: string;
  readonly members: readonly string[];
  readonly mode: Mode;
  readonly groups: readonly FindingGroup[];
  /** Undefined where kinds of errors are not explained. */
  readonly explanationOf: ExplanationOf | undefined;
  readonly found: number;
  readonly fixed: number;
  readonly left: number;
  /** Keys that were given up, runs of bytes that cannot be read as keys, and the file that has them. */
  readonly dropped: number;
  readonly droppedRuns: number;
  readonly quarantine: string | undefined;
  readonly plan: string | undefined;
  /** The person said that no more is to be done. */
  readonly isCancelled: boolean;
  /** Neither an option nor a person at a terminal says what is to be done. */
  readonly isUnasked: boolean;
  readonly report: RecoverReport | undefined;
  readonly exitCode: number;
}

export function findingText(finding: Finding): string {
  const { path } = finding.where;
  return path === undefined ? finding.text() : `${path}: ${finding.error}: ${finding.detail}`;
}

export function decidedText({ finding, decision }: Decided): string {
  const text = findingText(finding);
  return decision === 'fix' ? `${text}: fixed` : text;
}

export function* summaryLines(summary: Summary): Generator<string> {
  const { members, mode, groups, found, fixed, left, report } = summary;
  for (const group of groups) {
    const more = group.found - group.shown;
    if (more > 0) yield `${more} more of ${group.error}`;
  }
  for (const { error } of groups) yield* explanationLines(error, summary.explanationOf);
  const name = members.join(', ');
  if (report === undefined) yield `${name}: clean, not checked (--force checks it)`;
  else if (found === 0) yield `${name}: ${report.isReplay ? replayed(report, mode) : 'clean'}`;
  else if (mode === 'look') yield `${name}: ${countText(found)} found, nothing was changed${hint(summary)}`;
  else yield `${name}: ${countText(found)} found, ${fixed} fixed, ${left} left`;
  if (summary.plan !== undefined) yield `the plan is in ${summary.plan}`;
  const count = droppedText(summary);
  if (count !== '') {
    yield summary.quarantine === undefined
      ? `${count} could not be kept`
      : `${count} could not be kept: see ${summary.quarantine}`;
  }
  if (mode === 'look') return;
  if (report?.inTheWay !== undefined) yield `nothing was repaired, since this stays as it is: ${report.inTheWay}`;
  for (const [error, count] of report?.remaining ?? [])
    yield `still wrong: ${error}, ${count === 1 ? 'once' : `${count} times`}`;
}

function droppedText({ dropped, droppedRuns }: Summary): string {
  const keys = dropped === 1 ? '1 key' : `${dropped} keys`;
  const runs = `${droppedRuns === 1 ? '1 run' : `${droppedRuns} runs`} of bytes`;
  return [dropped > 0 ? keys : '', droppedRuns > 0 ? runs : ''].filter(text => text !== '').join(' and ');
}

/** What an error means, what its repair does and what is lost: nothing where that is not known or not asked for. */
export function* explanationLines(error: FaultName, explanationOf: ExplanationOf | undefined): Generator<string> {
  const about = explained(error, explanationOf);
  if (about === undefined) return;
  yield `${error}:`;
  yield `  means:  ${about.means}`;
  yield `  repair: ${about.repair}`;
  yield `  lost:   ${about.lost}`;
}

function explained(error: FaultName, explanationOf: ExplanationOf | undefined): ErrorExplanation | undefined {
  const about = explanationOf?.(error);
  return about !== undefined && 'repair' in about ? about : undefined;
}

function hint({ isCancelled, isUnasked }: Summary): string {
  if (isCancelled) return ': stopped';
  return isUnasked ? ' (-y repairs)' : '';
}

/** A run that only looks commits as well, to what is in memory. */
const replayed = ({ seq }: RecoverReport, mode: Mode): string =>
  seq === undefined || mode === 'look'
    ? 'nothing is wrong; it was not unmounted, and its journal has to be replayed'
    : 'nothing is wrong; its journal was replayed';

const countText = (count: number): string => (count === 1 ? '1 error' : `${count} errors`);

export function summaryJson(summary: Summary): object {
  const { uuid, members, mode, found, fixed, left, dropped, droppedRuns, quarantine, plan, report, exitCode } = summary;
  return {
    filesystem: uuid,
    members,
    mode,
    found,
    fixed,
    left,
    dropped,
    dropped_runs: droppedRuns,
    quarantine: quarantine ?? null,
    plan: plan ?? null,
    errors: summary.groups.map(({ error, id, severity, found: count, fixed: done, shown }) => ({
      id: error,
      number: id,
      severity,
      found: count,
      fixed: done,
      shown,
      ...(explained(error, summary.explanationOf) ?? {}),
    })),
    replayed_journal: report?.isReplay ?? false,
    journal_seq: mode === 'look' ? null : (report?.seq ?? null),
    remaining: Object.fromEntries(report?.remaining ?? []),
    exit_code: exitCode,
  };
}
