// The one funnel for findings: a check calls `found` and does what it answers. What may be repaired (the policy), who is asked, how
// often, what is counted and how much is shown is decided here, once. Mirrors fix_problem (e2fsck) and __bch2_fsck_err (error.c).

import type { Location } from '../ondisk/errors.ts';
import { assert } from '../ondisk/errors.ts';
import { type FaultName, faultOf } from '../ondisk/faults.ts';
import type { Severity } from '../ondisk/own-faults.ts';
import type { PassName } from '../ondisk/passes.ts';
import { type AnswerGroup, answerGroupOf } from './answer-groups.ts';
import { factsJson } from './facts.ts';
import type { Finding } from './finding.ts';

export type Decision = 'fix' | 'ignore';

/**
 * yes, no  this time
 * all      yes, and to all that follow of its group, or of its error where it is in none
 * none     no, likewise
 * quit     no more: this one and all that follow stay as they are
 */
export type Answer = 'yes' | 'no' | 'all' | 'none' | 'quit';

/** What somebody is asked. */
export interface Question extends Reported {
  /** Its answer is that of the whole group, whose question is to be shown. */
  readonly group: AnswerGroup | undefined;
}

/**
 * no     nothing is repaired
 * yes    everything is
 * preen  what is safe is; the first that is not stops the repair
 * plan   everything would be: the repairs are made where they change nothing, and nothing counts as repaired
 * ask    somebody decides
 * listed what a list names is repaired, one by one, and nothing else
 */
export type Policy =
  | { readonly kind: 'no' | 'yes' | 'preen' | 'plan' }
  | { readonly kind: 'listed'; isListed(reported: Reported): boolean }
  | { readonly kind: 'ask'; ask(question: Question): Answer };

/** What the code that finds something knows besides. */
export interface Proposal {
  /** The pass that found it; the reporter's current one. */
  readonly pass?: PassName;
  /** Whether the repair cannot lose anything, where that is not as the error's own row says. */
  readonly safe?: boolean;
  /** Nothing is known that would repair it: it is counted as left, without a question. */
  readonly isRepairable?: boolean;
  /** The key, or whatever is repaired, as it is and as it would be, in words. */
  readonly before?: string;
  readonly after?: string;
}

/** A finding with all that is known of it. */
export interface Reported {
  readonly finding: Finding;
  /** The stable number of its error. */
  readonly id: number;
  readonly severity: Severity;
  readonly safe: boolean;
  readonly pass: PassName | undefined;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** One that was decided. */
export interface Decided extends Reported {
  readonly decision: Decision;
}

/** All findings of one error. */
export interface FindingGroup {
  readonly error: FaultName;
  readonly id: number;
  readonly severity: Severity;
  /** How often it was found, and how often that was answered with a repair. */
  readonly found: number;
  readonly fixed: number;
  /** This many of them were given to `onFinding`; the others are only counted. */
  readonly shown: number;
}

export interface ReporterOptions {
  readonly policy: Policy;
  /** Called with each finding and what was decided, up to `shownPerError` of one error and `shownMax` in all. */
  readonly onFinding?: ((decided: Decided) => void) | undefined;
  /** Infinity: all of them. */
  readonly shownPerError?: number;
  /** And of all errors together. Infinity: all of them. */
  readonly shownMax?: number;
  /** Errors that are expected (`errors_silent` of the superblock): repaired without a word where anything is, and not counted. */
  readonly silent?: ReadonlySet<FaultName>;
}

/** How many findings that are left are told apart. */
const LEFT_MAX = 10_000;

/** Why the rest stays as it is: somebody quit, preening met what is not safe, or what is there is not enough to judge by. */
export type StopReason = 'quit' | 'unsafe' | 'unknown';

export class Reporter {
  readonly #options: ReporterOptions;
  #shown = 0;
  readonly #groups = new Map<FaultName, { found: number; fixed: number; shown: number }>();
  /** Answers that hold for all that follow, by group or error. */
  readonly #latched = new Map<string, Decision>();
  #stopped: StopReason | undefined;
  #repairs = 0;
  /** What stays as it is, once `isRepeated` is set. */
  readonly #left = new Set<string>();
  /** What was found before is found again, since passes run once more: it is not counted twice. */
  isRepeated = false;
  /** The pass that is running: what it finds is its. */
  pass: PassName | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** Set when nothing more will be repaired: a pass that only looks for what it could repair may end. */
  get stopped(): StopReason | undefined {
    return this.#stopped;
  }

  /** Nothing is repaired from now on: too much of the filesystem is not there to be judged. What was agreed before does not count either. */
  leaveRest(): void {
    if (this.#stopped !== 'quit') this.#stopped = 'unknown';
  }

  /** @returns whether it is to be repaired */
  found(finding: Finding, proposal: Proposal = {}): Decision {
    const reported = this.#reported(finding, proposal);
    return this.#note(reported, proposal, this.#decisionOn(reported, proposal));
  }

  /**
   * Findings that have one repair, which is made when all of them are to be repaired.
   * @param list called twice
   * @returns whether it is
   */
  foundTogether(list: () => Iterable<Finding>, proposal: Proposal = {}): boolean {
    let isAgreed = true;
    for (const one of list())
      if (this.#decisionOn(this.#reported(one, proposal), proposal) === 'ignore') isAgreed = false;
    for (const one of list()) this.#note(this.#reported(one, proposal), proposal, isAgreed ? 'fix' : 'ignore');
    return isAgreed;
  }

  #reported(finding: Finding, { pass = this.pass, safe, before, after }: Proposal): Reported {
    const fault = faultOf(finding.error);
    return { finding, id: fault.id, severity: fault.severity, safe: safe ?? fault.safe, pass, before, after };
  }

  #decisionOn(reported: Reported, proposal: Proposal): Decision {
    if (this.#isSilent(reported, proposal)) return this.#stopped === undefined ? 'fix' : 'ignore';
    return (proposal.isRepairable ?? true) ? this.#decide(reported) : this.#leave(reported);
  }

  #note(reported: Reported, proposal: Proposal, decision: Decision): Decision {
    if (decision === 'fix') this.#repairs++;
    if (this.#isSilent(reported, proposal) || (decision === 'ignore' && this.#isKnown(reported.finding)))
      return decision;
    const isPlan = this.#options.policy.kind === 'plan';
    this.#count(reported, isPlan ? 'ignore' : decision);
    return decision;
  }

  /** What loses something is never repaired without a word by who preens, whatever a superblock says is expected. */
  #isSilent({ finding, safe }: Reported, { isRepairable = true }: Proposal): boolean {
    const { policy, silent } = this.#options;
    if (!isRepairable || silent?.has(finding.error) !== true) return false;
    return policy.kind !== 'no' && (safe || policy.kind !== 'preen');
  }

  /** Whether it was left before. */
  #isKnown(finding: Finding): boolean {
    if (this.#left.size >= LEFT_MAX) return this.isRepeated;
    const text = finding.text();
    if (this.isRepeated && this.#left.has(text)) return true;
    this.#left.add(text);
    return false;
  }

  #decide(reported: Reported): Decision {
    const { policy } = this.#options;
    if (this.#stopped !== undefined) return 'ignore';
    switch (policy.kind) {
      case 'no':
        return 'ignore';
      case 'yes':
      case 'plan':
        return 'fix';
      case 'preen':
        return reported.safe ? 'fix' : this.#leave(reported);
      case 'listed':
        return policy.isListed(reported) ? 'fix' : 'ignore';
      case 'ask':
        return this.#ask(reported, policy.ask);
    }
  }

  /** What cannot be repaired, or not safely, is more than who preens may pass over. */
  #leave({ safe }: Reported): Decision {
    if (this.#options.policy.kind === 'preen' && !safe) this.#stopped ??= 'unsafe';
    return 'ignore';
  }

  #ask(reported: Reported, ask: (question: Question) => Answer): Decision {
    const { error } = reported.finding;
    const group = answerGroupOf(error);
    const latch = group?.name ?? error;
    const latched = this.#latched.get(latch);
    if (latched !== undefined) return latched;
    const answer = ask({ ...reported, group });
    if (answer === 'quit') this.#stopped = 'quit';
    const decision = answer === 'yes' || answer === 'all' ? 'fix' : 'ignore';
    const holds = group !== undefined || answer === 'all' || answer === 'none';
    if (holds && answer !== 'quit') this.#latched.set(latch, decision);
    return decision;
  }

  #count(reported: Reported, decision: Decision): void {
    const { error } = reported.finding;
    let group = this.#groups.get(error);
    if (group === undefined) {
      group = { found: 0, fixed: 0, shown: 0 };
      this.#groups.set(error, group);
    }
    group.found++;
    if (decision === 'fix') group.fixed++;
    const { shownMax = Number.POSITIVE_INFINITY, shownPerError = Number.POSITIVE_INFINITY } = this.#options;
    if (group.shown >= shownPerError || this.#shown >= shownMax) return;
    group.shown++;
    this.#shown++;
    this.#options.onFinding?.({ ...reported, decision });
  }

  /** Each error that was found, in the order of the first of each. */
  groups(): readonly FindingGroup[] {
    return [...this.#groups].map(([error, counts]) => {
      const { id, severity } = faultOf(error);
      return { error, id, severity, ...counts };
    });
  }

  /** How often an error was found. */
  countOf(error: FaultName): number {
    return this.#groups.get(error)?.found ?? 0;
  }

  get foundCount(): number {
    return this.#sum(({ found }) => found);
  }

  get fixedCount(): number {
    return this.#sum(({ fixed }) => fixed);
  }

  /** How often the answer was to repair: in a plan, what would be. */
  get repairCount(): number {
    return this.#repairs;
  }

  /** What stays as it is. */
  get leftCount(): number {
    return this.foundCount - this.fixedCount;
  }

  #sum(of: (group: { readonly found: number; readonly fixed: number }) => number): number {
    const sum = [...this.#groups.values()].reduce((total, group) => total + of(group), 0);
    assert(Number.isSafeInteger(sum), 'findings are counted exactly');
    return sum;
  }
}

/** A finding as one line of JSON has it. Members are always there, in this order. */
export function decidedJson({ finding, id, severity, safe, pass, before, after, decision }: Decided): object {
  const { path, ...where }: Location = finding.where;
  return {
    id: finding.error,
    number: id,
    pass: pass ?? null,
    severity,
    safe,
    where,
    path: path ?? null,
    facts: factsJson(finding.facts),
    detail: finding.detail,
    before: before ?? null,
    after: after ?? null,
    decision,
  };
}
