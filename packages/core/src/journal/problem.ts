// What reading the journal found wrong and went on from: the reader's own findings.

import type { CorruptError, Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { type Finding, findingOf } from '../report/finding.ts';

/** A damaged journal can have something wrong in every key: more than this are only counted. */
const JOURNAL_PROBLEMS_MAX = 1000;

export class JournalProblems {
  readonly list: Finding[] = [];
  /** How many were found after the list was full. */
  notListed = 0;

  add(error: FaultName, where: Location, detail: string): void {
    if (this.list.length < JOURNAL_PROBLEMS_MAX) this.list.push(findingOf({ error, detail }, where));
    else this.notListed++;
  }

  addError(thrown: CorruptError, where: Location): void {
    this.add(thrown.error, { ...where, ...thrown.where }, thrown.detail);
  }
}
