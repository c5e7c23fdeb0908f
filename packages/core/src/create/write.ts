// Puts a planned filesystem onto its devices: old signatures go first, then comes what it holds, and last every superblock copy on
// every device.

import type { BlockDevice } from '../device/block-device.ts';
import { assert } from '../ondisk/errors.ts';
import { SB_LAYOUT_SECTOR } from '../ondisk/superblock.ts';
import { type Signature, type WipedRange, wipeSignatures } from '../probe/index.ts';
import { type MemberToWrite, writeSuperblocks } from '../superblock/write.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { clearOldLife } from './old-contents.ts';
import type { FormatPlan } from './plan.ts';

/** One device to format, and what was recognised on it. */
export interface FormatTarget {
  readonly device: BlockDevice;
  /** From `probeSignatures`: wiped, with all their backups. */
  readonly signatures: readonly Signature[];
  /** It may hold what was left of a filesystem with the internal UUID of the plan: see clearOldLife. */
  readonly hasOldLife?: boolean;
}

/** A planned filesystem with all that it will hold; nothing is written yet. */
export interface NewFilesystem {
  /**
   * Writes everything but the superblocks step by step, and sees to it that it is on the devices.
   * @returns the superblocks, for `writeSuperblocks`
   */
  write(): Generator<void, readonly MemberToWrite[], void>;
}

/** `formatSteps` at once. */
export function writeFormat(...request: Parameters<typeof formatSteps>): WipedRange[][] {
  return allSteps(formatSteps(...request));
}

/**
 * Writes a new filesystem; between two steps it can be given up. A crash in between leaves devices without a filesystem, never a half one: a superblock appears on a
 * device only after everything that could contradict it is gone, and all that it speaks of is there.
 * @param targets in the order of the plan's superblocks
 * @param contents what is to be in it, planned for the same devices; without it the kernel completes the filesystem at the first mount
 * @returns what was wiped, by device
 */
export function* formatSteps(
  plan: FormatPlan,
  targets: readonly FormatTarget[],
  contents?: NewFilesystem,
): Generator<void, WipedRange[][], void> {
  assert(plan.superblocks.length === targets.length, 'one superblock for each device');
  const wiped = targets.map(({ device, signatures }) => {
    const ranges = wipeSignatures(device, signatures);
    // Boot sectors and partition tables: nothing of ours is here, and what stays would confuse other tools.
    device.write(0, new Uint8Array(sectorsToBytes(SB_LAYOUT_SECTOR)));
    device.flush();
    return ranges;
  });
  for (const [index, { device, hasOldLife }] of targets.entries()) {
    if (hasOldLife) yield* clearOldLife(device, plan.superblocks[index]!, plan.geometry.devices[index]!);
  }
  const superblocks =
    contents === undefined
      ? targets.map(({ device }, index) => ({ device, sb: plan.superblocks[index]! }))
      : yield* contents.write();
  writeSuperblocks(superblocks);
  return wiped;
}
