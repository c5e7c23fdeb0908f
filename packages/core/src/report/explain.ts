// The door to the explanations of errors, which are loaded only when somebody wants to read one.

import type { FaultName } from '../ondisk/faults.ts';
import type { ErrorExplanation, NeverRaised } from './explanations/explanation.ts';

/** Undefined for errors that only later kernels have and nothing here raises. */
export type ExplanationOf = (name: FaultName) => ErrorExplanation | NeverRaised | undefined;

export async function loadExplanations(): Promise<ExplanationOf> {
  const { explanationOf } = await import('./explanations/index.ts');
  return explanationOf;
}
