// Reports what a command meets on its way, on stderr and at once: the first losses one by one, of the others only how many.

import type { Context } from './context.ts';

/** Each is one line; a filesystem that is badly damaged has as many as it has files. */
const REPORTED_MAX = 100;

export class DamageLog {
  readonly #context: Context;
  count = 0;
  /** For JSON: the first ones. */
  readonly messages: string[] = [];

  constructor(context: Context) {
    this.#context = context;
  }

  report(message: string): void {
    this.count++;
    if (this.count > REPORTED_MAX) return;
    this.messages.push(message);
    this.#context.warn(message);
  }

  /** For `onDamage` of a tree. */
  readonly onDamage = (damage: { readonly message: string }): void => this.report(damage.message);

  /** To be called at the end. */
  finish(): void {
    if (this.count > REPORTED_MAX) this.#context.warn(`and ${this.count - REPORTED_MAX} more`);
  }
}
