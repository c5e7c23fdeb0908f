// Repairs that wait until a walk is over: a walk is not to meet what its own findings changed, and between two repairs what was changed may
// be staged, so that memory does not grow with what is wrong.

import type { PassContext } from '../pass.ts';

export class RepairQueue {
  readonly #context: PassContext;
  readonly #waiting: (() => void)[] = [];

  constructor(context: PassContext) {
    this.#context = context;
  }

  add(repair: () => void): void {
    this.#waiting.push(repair);
  }

  /** @returns whether there was anything to do */
  run(): boolean {
    for (const repair of this.#waiting) {
      repair();
      this.#context.checkpoint();
    }
    return this.#waiting.splice(0).length > 0;
  }
}
