// What the checker says: findings, and which rules were not asked.

import type { Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { PassName } from '../ondisk/passes.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { FactsOf, ValuesOf } from '../report/facts.ts';
import { type Damage, type Finding, finding } from '../report/finding.ts';
import { Reporter } from '../report/reporter.ts';
import { invariantRules, type Rule, type RuleName, whySkipped } from './rules.ts';

export interface SkippedRule {
  readonly rule: RuleName;
  readonly why: string;
}

export interface InvariantResult {
  /** At most FINDINGS_PER_ERROR of each error. */
  readonly findings: readonly Finding[];
  /** How often each error was found, what is not among `findings` included. */
  readonly counts: ReadonlyMap<FaultName, number>;
  /** Rules that filesystems of this version, or in this state, are not judged by. */
  readonly skipped: readonly SkippedRule[];
}

const FINDINGS_PER_ERROR = 1000;

/** Rules whose facts are what there is and what there should be, as numbers. */
type ComparedName = {
  [R in RuleName]: { readonly found: number; readonly expected: number } extends ValuesOf<R> ? R : never;
}[RuleName];

export interface InvariantReportOptions {
  readonly onFinding?: ((finding: Finding, pass: PassName | undefined) => void) | undefined;
  /** All findings are given to `onFinding`, and none is kept. */
  readonly isStream?: boolean;
}

export class InvariantReport {
  readonly #reporter: Reporter;
  readonly #findings: Finding[] = [];
  readonly #skipped = new Map<RuleName, string>();

  constructor(
    sb: Pick<Superblock, 'version' | 'version_min' | 'flags'>,
    { onFinding, isStream = false }: InvariantReportOptions = {},
  ) {
    this.#reporter = new Reporter({
      policy: { kind: 'no' },
      shownPerError: isStream ? Number.POSITIVE_INFINITY : FINDINGS_PER_ERROR,
      onFinding: ({ finding: found, pass }) => {
        if (!isStream) this.#findings.push(found);
        onFinding?.(found, pass);
      },
    });
    for (const rule of invariantRules.rows) {
      const why = whySkipped(rule, sb);
      if (why !== undefined) this.#skipped.set(rule.name, why);
    }
  }

  /** Says no more of a rule, such as one that has no ground to stand on in this filesystem. */
  skip(rule: RuleName, why: string): void {
    if (!this.#skipped.has(rule)) this.#skipped.set(rule, why);
  }

  skipGroup(group: Rule['group'], why: string): void {
    for (const rule of invariantRules.rows) if (rule.group === group) this.skip(rule.name, why);
  }

  /** Whether a rule is asked at all: what only serves one that is not need not be worked out. */
  asks(rule: RuleName): boolean {
    return !this.#skipped.has(rule);
  }

  /** A breach of a rule. */
  add<R extends RuleName>(rule: R, where: Location, facts: ValuesOf<R>): void {
    if (!this.asks(rule)) return;
    const { pass } = invariantRules.byName(rule)!;
    this.#reporter.found(finding<R>(rule, where, facts as FactsOf<R>), { pass });
  }

  /** The same when two values differ. */
  compare(rule: ComparedName, where: Location, found: number, expected: number): void {
    if (found !== expected) this.add(rule, where, { found, expected });
  }

  /** A node, a bset or a key that the reader could not use. */
  damaged(damage: Damage): void {
    this.#reporter.found(damage, { pass: 'check_topology' });
  }

  result(): InvariantResult {
    const skipped = [...this.#skipped].map(([rule, why]) => ({ rule, why }));
    const counts = new Map(this.#reporter.groups().map(({ error, found }) => [error, found]));
    return { findings: this.#findings, counts, skipped };
  }
}
