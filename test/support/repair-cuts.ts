// Repairs of damage at random with all their writes recorded, to be cut off anywhere, and with an undo file.

import { DamageTarget, MemoryDevice, sbBits, seededRandom, withBits } from '@bcachefs-ts/core/engine';
import { editSuperblocks } from '../../packages/core/src/damage/superblock-damage.ts';
import { openOn, stateOf } from './cut-states.ts';
import { MIB } from './memory-images.ts';
import { type PowerCut, PowerCuts } from './power-cuts.ts';
import type { Random } from './random.ts';
import { type DamageBaseName, damageBases, isTyped, randomlyDamaged, repair } from './random-damage.ts';
import { recorderOn, sinkOn, undo } from './undo.ts';

/** Damage is taken from so many seeds of each base. */
const SEEDS = 700;
const UNDO_BYTES = 16 * MIB;

export interface RecordedRepair {
  readonly name: string;
  readonly key: Uint8Array | undefined;
  readonly damaged: readonly MemoryDevice[];
  readonly cuts: PowerCuts;
  /** What the whole repair makes of it. */
  readonly end: string;
}

interface DamageChoice {
  /** Also damage that a check finds nothing of: only a kernel can say whether that is right. */
  readonly isUnnoticedToo?: boolean;
}

/** @returns undefined where nothing is repaired, or not all */
export function recordedRepair(
  base: DamageBaseName,
  seed: number,
  { isUnnoticedToo = false }: DamageChoice = {},
): RecordedRepair | undefined {
  const { devices: damaged, key, hits } = randomlyDamaged(base, seed);
  // What cannot be repaired throws, or leaves something: random-damage.test.ts judges that.
  if (!isRepairable(damaged, key, isUnnoticedToo)) return undefined;
  const cuts = new PowerCuts(damaged);
  repair(cuts.devices, key);
  const end = endOf(cuts.after({ events: cuts.count }), key);
  return { name: `${base} ${seed} (${hits.join('; ')})`, key, damaged, cuts, end };
}

function isRepairable(damaged: readonly MemoryDevice[], key: Uint8Array | undefined, isUnnoticedToo: boolean): boolean {
  const devices = damaged.map(device => device.clone());
  try {
    const { left, leftCount, hasCommitted } = repair(devices, key);
    return (hasCommitted || isUnnoticedToo) && left.length === 0 && leftCount === 0;
  } catch (thrown) {
    if (!isTyped(thrown)) throw thrown;
    return false;
  }
}

/**
 * Whether a repair after a cut has come to the same end. From the first write of its superblocks on, the old state is one that was not unmounted:
 * what a damaged bset has may then count as lost, by the journal entry that it says it depends on.
 */
export function isSameEnd(recorded: RecordedRepair, end: string): boolean {
  return end === recorded.end || end === uncleanEnd(recorded);
}

function uncleanEnd({ damaged, key }: RecordedRepair): string | undefined {
  const devices = damaged.map(device => device.clone());
  try {
    const target = new DamageTarget(devices, { key, random: seededRandom('unclean'), now: () => 0n });
    editSuperblocks(target, sb => ({ ...sb, flags: withBits(sb.flags, sbBits.CLEAN, 0) }));
    repair(devices, key);
    return endOf(devices, key);
  } catch (thrown) {
    if (!isTyped(thrown)) throw thrown;
    return undefined;
  }
}

/** Repairs of some seeds. */
export function* someRepairs(
  random: Random,
  count: number,
  { bases = damageBases, ...choice }: DamageChoice & { readonly bases?: typeof damageBases } = {},
): Generator<RecordedRepair> {
  for (let found = 0; found < count; ) {
    const repaired = recordedRepair(random.pick(bases), random.below(SEEDS), choice);
    if (repaired === undefined) continue;
    found++;
    yield repaired;
  }
}

/** All that can be seen of what a repair has made, and what is wrong with it. */
export const endOf = (devices: readonly MemoryDevice[], key: Uint8Array | undefined): string =>
  stateOf(openOn(devices, key));

/** Repairs what a cut has left. @returns what that makes of it, and whether there was still something to repair */
export function repairedAfter({ cuts, key }: RecordedRepair, cut: PowerCut) {
  const devices = cuts.after(cut);
  const { found, left } = repair(devices, key);
  const end = left.length > 0 ? `left: ${left.join(', ')}` : endOf(devices, key);
  return { devices, end, wasRepaired: found.length === 0 };
}

/** A repair with an undo file, and the undo of it, recorded. */
export function recordedUndo({ damaged, key }: RecordedRepair): {
  readonly cuts: PowerCuts;
  readonly file: MemoryDevice;
} {
  const file = new MemoryDevice(UNDO_BYTES, { name: 'undo file' });
  const recorder = recorderOn(sinkOn(file));
  const changed = damaged.map(device => device.clone());
  const wrapped = changed.map(device => recorder.wrap(device));
  repair(wrapped, key);
  for (const device of wrapped) device.close();
  const cuts = new PowerCuts(changed);
  undo(file, cuts.devices);
  return { cuts, file };
}

/** Some of the points, in order, the first and the last ones among them. */
export function someOf<T>(points: Iterable<T>, count: number): readonly T[] {
  const all = [...points];
  const taken = Math.min(count, all.length);
  return Array.from({ length: taken }, (_, nr) => all[Math.round((nr * (all.length - 1)) / Math.max(1, taken - 1))]!);
}
