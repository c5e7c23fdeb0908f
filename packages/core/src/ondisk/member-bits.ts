// Bit fields of `bch_member.flags`: every LE64_BITMASK(BCH_MEMBER_…), named as there without the prefix. One word,
// number 0. Bits 4 to 14 are unused (once tier, has_metadata, has_data, replacement).
// Source: sb-members_format.h (v1.13.0), sb/members_format.h (v1.39.2).

import { type BitRange, bits } from './bits.ts';

export const memberBits = {
  STATE: bits(0, 0, 4),
  DISCARD: bits(0, 14, 15),
  DATA_ALLOWED: bits(0, 15, 20), // bits of data types
  GROUP: bits(0, 20, 28), // index into disk_groups plus one; 0 none
  DURABILITY: bits(0, 28, 30), // plus one; 0 means the default of 1
  FREESPACE_INITIALIZED: bits(0, 30, 31),
  RESIZE_ON_MOUNT: bits(0, 31, 32), // since 1.36
  ROTATIONAL: bits(0, 32, 33), // since 1.36
  ROTATIONAL_SET: bits(0, 33, 34), // since 1.36
  INITIALIZED: bits(0, 34, 38), // since 1.39
} as const satisfies Record<string, BitRange>;

export type MemberBitsName = keyof typeof memberBits;
