// What a dump is made of: runs of bytes on a member that hold metadata, each a whole thing (a superblock copy, a journal bucket, a
// btree node), and the socket for what changes them on their way into the dump. metadata-ranges.ts finds the ranges of an open
// filesystem, dump.ts reads them, has them changed and writes them; sanitise/ is one that changes.

import type { FilesystemSource } from '../btree/source.ts';
import type { ReplayState } from '../journal/replay.ts';
import type { MemberSet } from '../superblock/member-set.ts';

/** What a dump is made of. `Filesystem` is one. */
export interface DumpSource extends FilesystemSource {
  readonly set: MemberSet;
  readonly replay: ReplayState;
}

/**
 * `layout`: the table of superblock places at sector 7. `superblock`: one copy. `journal`: one whole journal bucket. `btree_node`: one
 * replica of one node, as long as the filesystem's nodes are.
 */
export type MetadataKind = 'layout' | 'superblock' | 'journal' | 'btree_node';

/** A run of bytes of one member. It may reach past the end of a bucket or overlap another one only where a pointer is damaged. */
export interface MetadataRange {
  readonly kind: MetadataKind;
  /** Index of the member. */
  readonly device: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Only for btree nodes. */
  readonly node: DumpedNode | undefined;
}

/** What the pointer to a node says about it; the node itself may say something else when it is damaged. */
export interface DumpedNode {
  readonly btree: number;
  readonly level: number;
  /** Undefined for btree_ptr, which does not have it. */
  readonly seq: bigint | undefined;
  /** 0 where the pointer does not say it. */
  readonly sectorsWritten: number;
}

/** Changes what goes into a dump. */
export interface DumpTransform {
  /**
   * Called once for each range, in the order of members and of offsets on each. The bytes after the last entry of a bucket or the
   * last bset of a node, left from an earlier use, are zeroes already.
   * @param bytes as many as the range says; the callee may change them in place, the caller does not use them afterwards
   * @returns what is dumped: `bytes` or another array of the same length
   */
  transform(range: MetadataRange, bytes: Uint8Array): Uint8Array;
}
