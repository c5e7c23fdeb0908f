// How the rooms above the btrees say what was lost: the same errors that readers of nodes throw, to a listener if there is one.

import type { Damage } from '../report/finding.ts';

export type OnDamage = (damage: Damage) => void;

export interface DamageOptions {
  /** Told of each loss and each contradiction; work then goes on with what is left. Without it the first one is thrown. */
  readonly onDamage?: OnDamage | undefined;
}

/** @throws the damage when nobody wants to hear of it */
export function tellDamage(damage: Damage, onDamage: OnDamage | undefined): void {
  if (onDamage === undefined) throw damage;
  onDamage(damage);
}
