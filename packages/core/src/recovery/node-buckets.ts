// Whether a node that a scan has found is where the filesystem as it was committed has nodes. A change that was cut off leaves new nodes behind,
// the last of them torn: in buckets that nothing had been in.

import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import type { Key } from '../ondisk/bkey.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';

/** @returns true as well where the alloc keys cannot be read */
export function isInNodeBucket(filesystem: Filesystem, ptr: Key): boolean {
  try {
    return spacePointers(entryBytesOf(ptr), 0).pointers.some(({ dev, offset }) => {
      const sectors = memberAt(filesystem.sb, dev)?.bucket_size ?? 0;
      if (sectors === 0) return false;
      const key = filesystem.btree('alloc').get(bucketPos(dev, Math.floor(offset / sectors)));
      return key !== undefined && bucketStateOf(key).dataType === TYPE.btree;
    });
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return true;
    throw thrown;
  }
}
