// What the rooms above the btrees need of an open filesystem. `Filesystem` is one; a test can put one together from parts.

import type { BlockDevice } from '../device/block-device.ts';
import type { BtreeRoot } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { KeyLookupOptions, NodeWalkOptions, WalkOptions } from './iterate.ts';
import type { BtreeNode } from './node.ts';

export interface FilesystemSource {
  /** The newest superblock. */
  readonly sb: Superblock;
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
  /** A btree by its name or its number. One that the filesystem does not have is empty. */
  btree(which: BtreeName | number): KeyReader;
  /** A member, if it is there. */
  device(index: number): BlockDevice | undefined;
}

/** The keys of one btree, in the order of positions. BtreeView reads them from disk; a transaction lays its changes over them. */
export interface KeyReader {
  readonly id: number;
  readonly name: string;
  /** The root on disk. Undefined for a btree that was never made, and one whose root was lost. */
  readonly root: BtreeRoot | undefined;
  /** The keys between two positions, deleted ones left out. */
  keys(options?: WalkOptions): Generator<Key>;
  /** The nodes on disk that hold positions of a range. */
  nodes(options?: NodeWalkOptions): Generator<BtreeNode>;
  /** The key at exactly this position. */
  get(pos: Bpos, options?: KeyLookupOptions): Key | undefined;
  /** The first key between two positions, both included. */
  first(from: Bpos, to: Bpos, options?: KeyLookupOptions): Key | undefined;
}
