// A finding: something wrong with a filesystem, as data. The code that finds it says what (a name of ondisk/faults.ts), where, and the facts as
// values; a repair acts on the values, and a listing asks for text. CorruptError and DeviceError are findings as they stand.

import { type CorruptError, type DeviceError, faultText, type Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { type Detail, type FactsOf, factWords, isDetail } from './facts.ts';

export interface Finding<N extends FaultName = FaultName> {
  readonly error: N;
  readonly where: Location;
  readonly facts: FactsOf<N>;
  /** What was found and what was expected, in words. */
  readonly detail: string;
  /** In one line, with the place and the name: `alloc 0:37:0: alloc_key_dirty_sectors_wrong: found 3, expected 128`. */
  text(): string;
}

/** What a reader met and went on without: a node, a key, part of the journal. It can be thrown too. */
export type Damage = CorruptError | DeviceError;

class ValueFinding<N extends FaultName> implements Finding<N> {
  constructor(
    readonly error: N,
    readonly where: Location,
    readonly facts: FactsOf<N>,
  ) {}

  get detail(): string {
    const { facts } = this;
    if (isDetail(facts)) return facts.detail;
    const [found, expected] = factWords(this.error, facts) ?? [];
    return `found ${found}, expected ${expected}`;
  }

  text(): string {
    return faultText(this);
  }
}

/** A finding with its facts as values (facts.ts). */
export function finding<N extends FaultName>(error: N, where: Location, facts: FactsOf<N>): Finding<N> {
  return new ValueFinding(error, where, facts);
}

/** A finding of a reader or validator that says in a sentence what is wrong: a KeyProblem, a problem of a superblock. */
export function findingOf(problem: { readonly error: FaultName } & Detail, where: Location): Finding {
  const facts: Detail = { detail: problem.detail };
  return new ValueFinding<FaultName>(problem.error, where, facts);
}

/** Whether a finding is one of this error, and its facts the values of that. */
export function isFindingOf<N extends FaultName>(found: Finding, error: N): found is Finding<N> {
  return found.error === error;
}

export const findingText = (found: Pick<Finding, 'text'>): string => found.text();
