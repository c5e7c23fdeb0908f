// Single copies of a superblock that say something else than the others, under checksums that are right.

import { type MemoryDevice, openMember, type Superblock } from '@bcachefs-ts/core/engine';
import { superblockCopyBytes } from '../../packages/core/src/superblock/write.ts';

/** Writes some copies of a member's superblock anew, as the first one is but for an edit. */
export function editCopies(
  device: MemoryDevice,
  which: 'first' | 'others' | 'all',
  edit: (sb: Superblock) => Superblock,
): void {
  const { sb } = openMember(device);
  const offsets = sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks);
  for (const [nr, offset] of offsets.entries())
    if (which === 'all' || (which === 'first') === (nr === 0))
      device.write(Number(offset) * 512, superblockCopyBytes(edit(sb), offset));
}
