// Long work that core does step by step: between some of the steps signals are heard, so that what was begun can be cleaned up.

import { setImmediate } from 'node:timers/promises';

/** So long signals wait at the most, but for steps that take longer. */
const TURN_MS = 20;

/** Runs the steps, tells of each, and gives back what they come to. */
export async function runSteps<S, T>(steps: Generator<S, T, void>, onStep: (step: S) => void): Promise<T> {
  for (let turn = performance.now(); ; ) {
    const { done, value } = steps.next();
    if (done) return value;
    onStep(value);
    if (performance.now() - turn < TURN_MS) continue;
    await setImmediate();
    turn = performance.now();
  }
}
