// How the rooms above the btrees say what was lost: the same errors that readers of nodes throw, to a listener if there is one.

import type { Damage } from '../report/finding.ts';

export type OnDamage = (damage: Damage) => void;

export interface DamageOptions {
  /** Called with each loss and each contradiction; work then goes on with what is left. Without it the first one is thrown. */
  readonly onDamage?: OnDamage | undefined;
}

/** @throws the damage when there is no listener */
export function reportDamage(damage: Damage, onDamage: OnDamage | undefined): void {
  if (onDamage === undefined) throw damage;
  onDamage(damage);
}
