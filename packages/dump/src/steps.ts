// Long work that core does step by step: between some of the steps signals are heard, so that what was begun can be cleaned up.

import { setImmediate } from 'node:timers/promises';

const STEPS_A_TURN = 64;

/** Runs the steps, tells of each, and gives back what they come to. */
export async function runSteps<T>(steps: Generator<number, T, void>, onStep: (done: number) => void): Promise<T> {
  for (let count = 1; ; count++) {
    const { done, value } = steps.next();
    if (done) return value;
    onStep(value);
    if (count % STEPS_A_TURN === 0) await setImmediate();
  }
}
