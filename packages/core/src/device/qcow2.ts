// What a qcow2 file is made of, as far as both its reader and its writer need it. All numbers are big-endian. A file is a row of clusters;
// a table of tables (L1, then L2) says for each cluster of the virtual disk which cluster of the file holds it.
// Source: docs/interop/qcow2.txt of QEMU 7.2.

/** `QFI` and 0xfb. */
export const QCOW2_MAGIC = 0x5146_49fb;

/** Lengths of the header: version 3 has at least this much, and says how long it is. */
export const QCOW2_HEADER_V2_BYTES = 72;
export const QCOW2_HEADER_V3_BYTES = 104;

/** Where the header's members are. */
export const QCOW2 = {
  magic: 0, // u32
  version: 4, // u32
  backing_file_offset: 8, // u64; 0: none
  backing_file_size: 16, // u32
  cluster_bits: 20, // u32
  size: 24, // u64, of the virtual disk, in bytes
  crypt_method: 32, // u32; 0: none
  l1_size: 36, // u32, in entries
  l1_table_offset: 40, // u64
  refcount_table_offset: 48, // u64
  refcount_table_clusters: 56, // u32
  nb_snapshots: 60, // u32
  snapshots_offset: 64, // u64
  incompatible_features: 72, // u64, from here on in version 3 only
  header_length: 100, // u32
  compression_type: 104, // u8; 0: deflate
} as const;

export const QCOW2_CLUSTER_BITS_MIN = 9;
export const QCOW2_CLUSTER_BITS_MAX = 21;

/** QEMU refuses larger L1 tables. */
export const QCOW2_L1_BYTES_MAX = 32 * 2 ** 20;

/** Bytes of an entry of any table. */
export const QCOW2_ENTRY_BYTES = 8;

/** In the high word of an L1 or L2 entry: the cluster's reference count is exactly one. */
export const QCOW2_COPIED = 0x8000_0000;
/** In the high word of an L2 entry: compressed. */
export const QCOW2_COMPRESSED = 0x4000_0000;
/** The bits of a cluster's place in the high word of an L1 or L2 entry. */
export const QCOW2_OFFSET_HIGH = 0x00ff_ffff;
