// In which state of a migration a device is, found by what is on it and by nothing else: whether sector 8 has a superblock, whether the layout leads
// to one, and how ext4's own superblock is marked.

import {
  type BchSbLayout,
  type BlockDevice,
  CorruptError,
  IncompatibleError,
  readLayout,
  readSuperblockAt,
  SB_LAYOUT_SECTOR,
  SB_SECTOR,
  type Superblock,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';
import { type LaidBytes, type Mark, markOf, readExt4Superblock, unmarkedSuperblock } from './mark.ts';
import { readRecord } from './record.ts';

export type MigrationState =
  /** An ext2, ext3 or ext4 that no migration has begun on. */
  | { readonly kind: 'ext4' }
  /** It is marked, and there is no bcachefs: a migration or a rollback was cut off. */
  | { readonly kind: 'interrupted'; readonly mark: Mark }
  /** Both are there. `original` is what ext4's reader needs to see. */
  | {
      readonly kind: 'migrated';
      readonly sb: Superblock;
      readonly mark: Mark;
      readonly start: Uint8Array;
      readonly original: readonly LaidBytes[];
    }
  /** A bcachefs at its usual place; ext4's magic may be left of a finish that was cut off. */
  | { readonly kind: 'bcachefs'; readonly sb: Superblock; readonly hasExt4Magic: boolean }
  /** A bcachefs of which the usual place is empty, and which this program has not migrated. */
  | { readonly kind: 'elsewhere'; readonly sb: Superblock }
  | { readonly kind: 'none' };

/** @throws DeviceError */
export function migrationState(device: BlockDevice): MigrationState {
  const mark = device.sizeBytes < 4096 ? undefined : markOf(readExt4Superblock(device));
  const usual = superblockAt(device, SB_SECTOR);
  if (usual !== undefined) return { kind: 'bcachefs', sb: usual, hasExt4Magic: mark !== undefined };
  const sb = superblockOf(device);
  if (sb !== undefined) {
    // Finishing was cut off where the first copy was being written.
    if (Number(sb.layout.sb_offset[0]) === SB_SECTOR) return { kind: 'bcachefs', sb, hasExt4Magic: mark !== undefined };
    const start = readRecord(device, sb);
    if (start === undefined || mark === undefined) return { kind: 'elsewhere', sb };
    return { kind: 'migrated', sb, mark, start, original: [unmarkedSuperblock(device), sectorOf(start)] };
  }
  if (mark === undefined) return { kind: 'none' };
  return mark === 'none' ? { kind: 'ext4' } : { kind: 'interrupted', mark };
}

/** The sector of the commit as it was before. */
function sectorOf(start: Uint8Array): LaidBytes {
  const at = sectorsToBytes(SB_LAYOUT_SECTOR);
  return { at, bytes: start.slice(at, at + sectorsToBytes(1)) };
}

/** The first copy that the layout leads to and that is whole. */
function superblockOf(device: BlockDevice): Superblock | undefined {
  let layout: BchSbLayout;
  try {
    layout = readLayout(device);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return undefined;
    throw thrown;
  }
  for (const sector of layout.sb_offset.slice(0, layout.nr_superblocks)) {
    const bytes = sectorsToBytes(Number(sector));
    if (Number(sector) === SB_SECTOR || bytes + sectorsToBytes(1) > device.sizeBytes) continue;
    const sb = superblockAt(device, Number(sector));
    if (sb !== undefined) return sb;
  }
  return undefined;
}

function superblockAt(device: BlockDevice, sector: number): Superblock | undefined {
  if (sectorsToBytes(sector + 2) > device.sizeBytes) return undefined;
  try {
    return readSuperblockAt(device, sector).sb;
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError) return undefined;
    throw thrown;
  }
}
