// Long work that core does step by step: between some of the steps signals are heard, so that what was begun can be cleaned up.

import { setImmediate } from 'node:timers/promises';
import { Interrupted } from './host.ts';

/** Signals wait this long at most, or for one step that takes longer. */
const TURN_MS = 20;

/** Whether the process was asked to stop. */
export interface Interruption {
  readonly isAsked: boolean;
  /** Signals end the process again, or clean up before. */
  end(): void;
}

/** The turn in which signals are heard. */
export class Turns {
  #last = performance.now();

  /** To be called between steps. @throws Interrupted when the process was asked to stop */
  async turn(interruption: Interruption): Promise<void> {
    if (performance.now() - this.#last >= TURN_MS) {
      await setImmediate();
      this.#last = performance.now();
    }
    if (interruption.isAsked) throw new Interrupted();
  }
}

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
