// A new filesystem with files in it. It is made empty, opened, and filled by the engine in as many commits as it takes; its superblocks
// are held back in memory meanwhile, so that devices have no filesystem until they have all of it.

import type { IsHeld } from '../alloc/allocator.ts';
import { BatchedEdit } from '../change/batched-edit.ts';
import { FilesystemWriter } from '../change/writer.ts';
import type { BlockDevice, ByteRange } from '../device/block-device.ts';
import { HeldDevice } from '../device/held-device.ts';
import { fitJournal } from '../members/fit-journal.ts';
import { assert } from '../ondisk/errors.ts';
import { type BchSbLayout, SB_LAYOUT_SECTOR, SB_SECTOR } from '../ondisk/superblock.ts';
import { openMembers } from '../superblock/member-set.ts';
import { type MemberToWrite, writeLayout, writeSuperblocks } from '../superblock/write.ts';
import type { RandomSource } from '../util/random.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import type { FormatPlan } from './plan.ts';
import type { NewFilesystem } from './write.ts';

export interface FillOptions {
  readonly random: RandomSource;
  /** Nanoseconds since 1970. */
  readonly now: bigint;
  /** Makes the files. What is compressed needs `loadCompressors` before. */
  fill(edit: BatchedEdit): Iterable<void> | undefined;
  /** When all files are there: what else is to be done to the filesystem. */
  finish?(writer: FilesystemWriter): Iterable<void> | undefined;
  /** See BatchedEditOptions. */
  readonly changesMax?: number;
  /** See AllocatorOptions: where other things lie that become files of it, or stay. */
  readonly isExcluded?: IsHeld | undefined;
  /** Files may take what a filesystem keeps back, since they lie on the devices already. */
  readonly usesReserve?: boolean;
  /** The only device will be cut to what the files need: the journal becomes as long as it is on such a device, before `finish`. */
  readonly willBeCut?: boolean;
}

/**
 * @param contents of the empty filesystem, planned for the same devices
 * @returns contents for `writeFormat`; writing them throws what `fill` throws, NoSpaceError and DeviceError
 */
export function filledContents(
  plan: FormatPlan,
  devices: readonly BlockDevice[],
  contents: NewFilesystem,
  { random, now, fill, finish, changesMax, isExcluded, usesReserve = false, willBeCut = false }: FillOptions,
): NewFilesystem {
  return {
    *write() {
      const empty = yield* contents.write();
      const held = empty.map(({ device, sb }) => ({ device: new HeldDevice(device, superblockRanges(sb.layout)), sb }));
      writeSuperblocks(held);
      for (const { device, sb } of held) writeLayout(device, sb.layout);
      const writeTime = now / NANOSECONDS_PER_SECOND;
      const open = () =>
        new FilesystemWriter(openMembers(held.map(({ device }) => device)), {
          key: plan.key,
          random,
          now: () => writeTime,
          isNew: true,
        });
      let writer = open();
      const edit = new BatchedEdit(writer, {
        random,
        now: () => now,
        isExcluded,
        makesRoom: usesReserve,
        ...(changesMax === undefined ? {} : { changesMax }),
      });
      yield* fill(edit) ?? [];
      edit.finish();
      yield;
      if (willBeCut && fitJournal(writer, writeTime)) writer = open();
      yield* finish?.(writer) ?? [];
      const { members } = writer.filesystem.set;
      const filled = members.map(({ sb }): MemberToWrite => {
        const device = devices[sb.dev_idx];
        assert(device !== undefined, 'the members are the devices');
        return { device, sb };
      });
      writer.filesystem.close();
      for (const { device } of filled) device.flush();
      return filled;
    },
  };
}

const NANOSECONDS_PER_SECOND = 1_000_000_000n;

/** All copies, and the layout that leads to them; with the usual first copy, all that lies in front of it. */
function superblockRanges({ sb_offset, nr_superblocks, sb_max_size_bits }: BchSbLayout): readonly ByteRange[] {
  const length = sectorsToBytes(2 ** sb_max_size_bits);
  const copies = sb_offset.slice(0, nr_superblocks).map((sector): ByteRange => {
    const offset = sectorsToBytes(Number(sector));
    return Number(sector) === SB_SECTOR ? { offset: 0, length: offset + length } : { offset, length };
  });
  if (copies.every(({ offset }) => offset > 0))
    copies.push({ offset: sectorsToBytes(SB_LAYOUT_SECTOR), length: sectorsToBytes(1) });
  return copies.toSorted((a, b) => a.offset - b.offset);
}
