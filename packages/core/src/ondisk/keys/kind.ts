// What a key type is to the rest of core: one file per type beside this one, one row per type in index.ts.

import type { PrintBuffer } from '../../util/print-buffer.ts';
import type { Bkey } from '../bkey.ts';
import type { ExtentTextContext } from '../extent-entries.ts';
import type { FaultName } from '../faults.ts';
import type { Release } from '../releases.ts';
import type { KeyTypeName } from './key-types.ts';

/** Something wrong with a key, whose place its reader knows: with that it is a finding (findingOf). */
export interface KeyProblem {
  readonly error: FaultName;
  /** What was found and what was expected. */
  readonly detail: string;
}

/** What decides how bytes are meant where they do not say it themselves. */
export interface KeyFormat {
  /** The filesystem's metadata version: the newest. Before 1.15 the positions of accounting keys are in another byte order. */
  readonly version?: number;
  /** The superblock's EXTENT_BP_SHIFT, of which positions of backpointers are made: 0, which stands for 10. */
  readonly extentBpShift?: number;
}

/** What a key's text may need beyond its own bytes. What is left out has the default that is named here. */
export interface KeyTextContext extends ExtentTextContext, KeyFormat {
  /** Whose text: 1.36's. */
  readonly style?: Release;
  /** A time: the local time, as ctime(3) writes it. */
  dateTime?(secondsSince1970: number | bigint): string;
  /**
   * Names and values of users, which can be any bytes: UTF-8, with what a terminal would obey and what is not UTF-8 escaped.
   * The reference prints them as they are.
   */
  bytesText?(source: Uint8Array): string;
  /** The superblock's shard_inode_numbers_bits: 0. */
  readonly shardInodeNumbersBits?: number;
}

/** What a validator may know of a member. */
export interface KeyValidateDevice {
  readonly bucketSizeSectors: number;
  readonly firstBucket: number;
  readonly bucketCount: number;
}

/** What judging a key may need beyond its own bytes. What is left out is not judged. */
export interface KeyValidateContext extends KeyFormat {
  /** The key is about to be written (BCH_VALIDATE_commit): some errors are tolerated in old keys, but not in new ones. */
  readonly writing?: boolean;
  /** Undefined for a member that does not exist: pointers to it are judged by check_allocations. */
  device?(index: number): KeyValidateDevice | undefined;
  /** The superblock's btree_node_size. */
  readonly btreeNodeSectors?: number;
  /** The superblock's encoded_extent_max. */
  readonly encodedExtentMaxSectors?: number;
}

export interface KeyKind<V> {
  readonly name: KeyTypeName;
  /** The shortest value that the type has had, in bytes. */
  readonly minBytes: number;
  /** @param value a multiple of 8 bytes, `minBytes` or more */
  decode(value: Uint8Array): V;
  encode(value: V): Uint8Array;
  /** Judges what can be judged from the key alone, and with what `context` knows; an empty list means that it is sound. */
  validate(value: V, k: Bkey, context?: KeyValidateContext): KeyProblem[];
  text(out: PrintBuffer, value: V, context: KeyTextContext, k: Bkey): void;
  json(value: V, k: Bkey, format: KeyFormat): unknown;
}
