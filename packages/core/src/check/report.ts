// What the checker says: findings, and which rules were not asked.

import { type Location, locationText } from '../ondisk/errors.ts';
import { invariantRules, type Rule, type RuleName, whySkipped } from './rules.ts';

/** One breach of a rule. */
export interface InvariantFinding {
  readonly rule: RuleName;
  readonly where: Location;
  /** What the rest of the filesystem says should be there. */
  readonly expected: string;
  /** What is there. */
  readonly found: string;
}

export interface SkippedRule {
  readonly rule: RuleName;
  readonly why: string;
}

export interface InvariantResult {
  /** At most FINDINGS_PER_RULE of each rule. */
  readonly findings: readonly InvariantFinding[];
  /** How often each rule was broken, the breaches that are not among `findings` included. */
  readonly counts: ReadonlyMap<RuleName, number>;
  /** Rules that filesystems of this version, or in this state, are not judged by. */
  readonly skipped: readonly SkippedRule[];
}

/** `alloc 0:37:0: alloc_key_dirty_sectors_wrong: found 3, expected 128` */
export function findingText({ rule, where, expected, found }: InvariantFinding): string {
  return `${locationText(where)}: ${rule}: found ${found}, expected ${expected}`;
}

const FINDINGS_PER_RULE = 1000;

export class InvariantReport {
  readonly #onFinding: ((finding: InvariantFinding) => void) | undefined;
  readonly #findings: InvariantFinding[] = [];
  readonly #counts = new Map<RuleName, number>();
  readonly #skipped = new Map<RuleName, string>();

  constructor(version: number, onFinding: ((finding: InvariantFinding) => void) | undefined) {
    this.#onFinding = onFinding;
    for (const rule of invariantRules.rows) {
      const why = whySkipped(rule, version);
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

  add(rule: RuleName, where: Location, found: unknown, expected: unknown): void {
    if (!this.asks(rule)) return;
    const count = (this.#counts.get(rule) ?? 0) + 1;
    this.#counts.set(rule, count);
    if (count > FINDINGS_PER_RULE) return;
    const finding = { rule, where, expected: `${expected}`, found: `${found}` };
    this.#findings.push(finding);
    this.#onFinding?.(finding);
  }

  /** The same when two values differ. */
  compare(rule: RuleName, where: Location, found: number | string, expected: number | string): void {
    if (found !== expected) this.add(rule, where, found, expected);
  }

  result(): InvariantResult {
    const skipped = [...this.#skipped].map(([rule, why]) => ({ rule, why }));
    return { findings: this.#findings, counts: this.#counts, skipped };
  }
}
