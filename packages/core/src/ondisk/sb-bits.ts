// Bit fields of `bch_sb.flags[7]`: every LE64_BITMASK(BCH_SB_…), named as there without the prefix, and those of the
// ext section's `flags0`. `bits(word, lo, hi)`, hi exclusive. "since" and "until" name releases; bits are never reused
// for something else.
// Source: bcachefs_format.h, v1.13.0 to v1.39.2.

import { type BitRange, bits } from './bits.ts';

/** Ranges over the seven words of `flags`. */
export const sbBits = {
  INITIALIZED: bits(0, 0, 1),
  CLEAN: bits(0, 1, 2), // a hint; the clean section decides
  CSUM_TYPE: bits(0, 2, 8), // checksum type of the superblock itself
  ERROR_ACTION: bits(0, 8, 12),
  BTREE_NODE_SIZE: bits(0, 12, 28), // sectors
  GC_RESERVE: bits(0, 28, 33),
  ROOT_RESERVE: bits(0, 33, 40),
  META_CSUM_TYPE: bits(0, 40, 44),
  DATA_CSUM_TYPE: bits(0, 44, 48),
  META_REPLICAS_WANT: bits(0, 48, 52),
  DATA_REPLICAS_WANT: bits(0, 52, 56),
  POSIX_ACL: bits(0, 56, 57),
  USRQUOTA: bits(0, 57, 58),
  GRPQUOTA: bits(0, 58, 59),
  PRJQUOTA: bits(0, 59, 60),
  HAS_ERRORS: bits(0, 60, 61),
  HAS_TOPOLOGY_ERRORS: bits(0, 61, 62),
  BIG_ENDIAN: bits(0, 62, 63),
  PROMOTE_WHOLE_EXTENTS: bits(0, 63, 64),
  STR_HASH_TYPE: bits(1, 0, 4),
  COMPRESSION_TYPE_LO: bits(1, 4, 8),
  INODE_32BIT: bits(1, 8, 9),
  '128_BIT_MACS': bits(1, 9, 10),
  ENCRYPTION_TYPE: bits(1, 10, 14), // 0 none, 1 chacha20/poly1305
  ENCODED_EXTENT_MAX_BITS: bits(1, 14, 20), // log2 of sectors
  META_REPLICAS_REQ: bits(1, 20, 24),
  DATA_REPLICAS_REQ: bits(1, 24, 28),
  PROMOTE_TARGET: bits(1, 28, 40), // targets: see the disk_groups section
  FOREGROUND_TARGET: bits(1, 40, 52),
  BACKGROUND_TARGET: bits(1, 52, 64),
  BACKGROUND_COMPRESSION_TYPE_LO: bits(2, 0, 4),
  GC_RESERVE_BYTES: bits(2, 4, 64), // sectors
  ERASURE_CODE: bits(3, 0, 16),
  METADATA_TARGET: bits(3, 16, 28),
  SHARD_INUMS: bits(3, 28, 29),
  INODES_USE_KEY_CACHE: bits(3, 29, 30), // until 1.13
  JOURNAL_FLUSH_DELAY: bits(3, 30, 62), // ms
  JOURNAL_FLUSH_DISABLED: bits(3, 62, 63),
  MULTI_DEVICE: bits(3, 63, 64), // since 1.36
  JOURNAL_RECLAIM_DELAY: bits(4, 0, 32), // ms
  JOURNAL_TRANSACTION_NAMES: bits(4, 32, 33),
  NOCOW: bits(4, 33, 34),
  WRITE_BUFFER_SIZE: bits(4, 34, 54), // no option uses it
  VERSION_UPGRADE: bits(4, 54, 56),
  COMPRESSION_TYPE_HI: bits(4, 56, 60),
  BACKGROUND_COMPRESSION_TYPE_HI: bits(4, 60, 64),
  VERSION_UPGRADE_COMPLETE: bits(5, 0, 16), // metadata version
  ALLOCATOR_STUCK_TIMEOUT: bits(5, 16, 32),
  VERSION_INCOMPAT: bits(5, 32, 48), // metadata version: newest that gated structures may be of; since 1.36
  VERSION_INCOMPAT_ALLOWED: bits(5, 48, 64), // metadata version: up to which the above may go; since 1.36
  SHARD_INUMS_NBITS: bits(6, 0, 4), // since 1.36
  WRITE_ERROR_TIMEOUT: bits(6, 4, 14), // since 1.36
  CSUM_ERR_RETRY_NR: bits(6, 14, 20), // since 1.36
  DEGRADED_ACTION: bits(6, 20, 22), // since 1.36
  CASEFOLD: bits(6, 22, 23), // since 1.36
  REBALANCE_AC_ONLY: bits(6, 23, 24), // since 1.36
  WRITEBACK_TIMEOUT: bits(6, 24, 40), // since 1.36
  EXTENT_BP_SHIFT: bits(6, 40, 48), // since 1.36
  SCRUB_JOURNAL: bits(6, 48, 50), // since 1.39
  EC_MAX_DATA_BLOCKS: bits(6, 50, 58), // since 1.39
  MOVE_WRITES_FUA: bits(6, 58, 59), // since 1.39
  DIRENTS_SANITIZED: bits(6, 59, 60), // since 1.39
} as const satisfies Record<string, BitRange>;

/** Ranges over one word: `flags0` of the ext section. */
export const sbExtBits = {
  DEV_READAHEAD: bits(0, 0, 20), // since 1.39
  EC_STRIPE_BUF_LIMIT: bits(0, 20, 26), // since 1.39
  SCRUB_MAX_REWIND_SECS: bits(0, 26, 38), // since 1.39
  DISCARD_BUFFER: bits(0, 38, 42), // since 1.39
  BTREE_CACHE_SHRINKER_SEEKS: bits(0, 42, 49), // since 1.39
} as const satisfies Record<string, BitRange>;

export type SbBitsName = keyof typeof sbBits;
