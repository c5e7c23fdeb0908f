// What the rooms above the btrees need of an open filesystem. `Filesystem` is one; a test can put one together from parts.

import type { BlockDevice } from '../device/block-device.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { BtreeView } from './iterate.ts';

export interface FilesystemSource {
  /** The newest superblock. */
  readonly sb: Superblock;
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
  /** A btree by its name or its number. One that the filesystem does not have is empty. */
  btree(which: BtreeName | number): BtreeView;
  /** A member, if it is there. */
  device(index: number): BlockDevice | undefined;
}
