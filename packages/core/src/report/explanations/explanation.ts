// What is said of an error beside its name: for people who have to decide whether they want it repaired.

import type { FsckErrorName } from '../../ondisk/fsck-errors.ts';
import type { OwnFaultName } from '../../ondisk/own-faults.ts';

/** Each a short sentence. */
export interface ErrorExplanation {
  readonly means: string;
  /** What fsck does about it. */
  readonly repair: string;
  /** What is gone after that. */
  readonly lost: string;
}

/** Of an error that Linux 6.12 has, and that is not raised here. */
export interface NeverRaised {
  readonly means: string;
  readonly whyNever: string;
}

/** Our own errors have their meaning in their table. */
export type ErrorExplanations = { readonly [N in FsckErrorName]?: ErrorExplanation | NeverRaised } & {
  readonly [N in OwnFaultName]?: Omit<ErrorExplanation, 'means'>;
};
