// What is done in steps, so that somebody can look at it between two of them or give up, done at once.

/** @returns what the steps come to. @throws as they do */
export function allSteps<T>(steps: Generator<unknown, T, void>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
