// Long work that core does step by step: between some of the steps signals are heard, so that what was begun can be cleaned up.

import { setImmediate } from 'node:timers/promises';

/** Signals wait this long at most, or for one step that takes longer. */
const TURN_MS = 20;

/** Runs the steps, calls `onStep` after each, and returns the result. */
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
