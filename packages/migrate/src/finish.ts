// The end of a migration: bcachefs gets its superblocks at the usual places, and ext4 is no more. Each step leaves a filesystem that mounts, and being
// cut off, the same again completes it.

import {
  type BlockDevice,
  FilesystemWriter,
  openMembers,
  type RandomSource,
  SECTOR_BYTES,
  sectorsToBytes,
  type UsualSuperblocksReport,
  usualSuperblocksSteps,
} from '@bcachefs-ts/core/engine';
import { EXT4_SUPERBLOCK_AT, EXT4_SUPERBLOCK_BYTES } from './mark.ts';
import { recordPlaces } from './record.ts';

export interface FinishOptions {
  readonly random: RandomSource;
  /** Seconds since 1970. */
  readonly now: () => bigint;
  readonly key?: Uint8Array | undefined;
}

/** A step is a commit. @param device open for writing and for nothing else @throws NoSpaceError, CorruptError, DeviceError, UsageError */
export function* finishSteps(
  device: BlockDevice,
  { random, now, key }: FinishOptions,
): Generator<void, UsualSuperblocksReport, void> {
  const writer = new FilesystemWriter(openMembers([device]), { random, now, key });
  const report = yield* usualSuperblocksSteps(writer, 0);
  endExt4(device);
  const { layout } = writer.filesystem.sb;
  // What rollback would need is gone, and is not to be found.
  for (const place of recordPlaces(layout)) {
    const head = new Uint8Array(SECTOR_BYTES);
    if (place >= sectorsToBytes(Number(layout.sb_offset[layout.nr_superblocks - 1]))) device.write(place, head);
  }
  device.flush();
  return report;
}

/** Its superblock becomes zeroes: what looks for filesystems finds bcachefs only. */
function endExt4(device: BlockDevice): void {
  device.write(EXT4_SUPERBLOCK_AT, new Uint8Array(EXT4_SUPERBLOCK_BYTES));
  device.flush();
}
