// What judging keys needs to know of a filesystem: its version, its members' sizes and its options.

import { getBits } from '../ondisk/bits.ts';
import type { KeyValidateContext } from '../ondisk/keys/kind.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';

/** The superblock was verified: a node is a power of two of sectors, up to what 16 bits hold. */
export function keyContext(sb: Superblock): KeyValidateContext {
  const known = members(sb);
  const devices = known.map(member => ({
    bucketSizeSectors: member.bucket_size,
    firstBucket: member.first_bucket,
    bucketCount: member.nbuckets,
  }));
  return {
    version: sb.version,
    extentBpShift: getBits(sb.flags, sbBits.EXTENT_BP_SHIFT),
    device: index => devices[index],
    btreeNodeSectors: getBits(sb.flags, sbBits.BTREE_NODE_SIZE),
    encodedExtentMaxSectors: 2 ** getBits(sb.flags, sbBits.ENCODED_EXTENT_MAX_BITS),
  };
}
