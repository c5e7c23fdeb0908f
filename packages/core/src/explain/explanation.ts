// What lies at one byte of a member: values, for text and JSON alike. More than one thing can lie there: an extent that several keys
// share, say.

import type { FilePath } from '../fs/paths.ts';
import type { JournalEntryUse } from '../journal/journal.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import type { ExtentCrc, ExtentPtr, ExtentStripePtr } from '../ondisk/extent-entries.ts';
import type { Alloc } from '../ondisk/keys/alloc-bucket.ts';
import type { Annotation } from './annotate.ts';

export interface Explanation {
  readonly device: { readonly index: number; readonly name: string; readonly sizeBytes: number };
  /** Bytes from the start of the device. */
  readonly offset: number;
  /** Undefined where no bucket is: beyond the last one. */
  readonly bucket: BucketFacts | undefined;
  /** What lies there. */
  readonly places: readonly Place[];
  /** What the bytes look like although nothing refers to them: left from an earlier life. */
  readonly leftovers: readonly Place[];
  /** How the owner was looked for; none: superblocks, the journal and beyond the end say it by themselves. */
  readonly searched: 'none' | 'backpointers' | 'scan';
  /** The 512 bytes around it are all zero; undefined where they cannot be read. */
  readonly isZero: boolean | undefined;
  /** What was met on the way and may make this incomplete. */
  readonly notices: readonly string[];
}

export interface BucketFacts {
  readonly nr: number;
  readonly sizeSectors: number;
  /** Bytes from the start of the bucket. */
  readonly offset: number;
  /** Before the first bucket that is allocated from: superblock space. */
  readonly isReserved: boolean;
  /** Undefined without an alloc key: never used. */
  readonly alloc: Alloc | undefined;
  /** The alloc key could not be read, so that `alloc` says nothing. */
  readonly isLost: boolean;
}

export type Place = LayoutPlace | SuperblockPlace | JournalPlace | NodePlace | DataPlace | StripePlace;

/** A run of metadata that can be dumped with the names of its fields. */
export interface Region {
  /** The first byte, on the device. */
  readonly at: number;
  /** Decrypted. */
  readonly bytes: Uint8Array;
  readonly isDecrypted: boolean;
  /** Those that touch a range of the device, in the order of their places. */
  annotations(from: number, to: number): Iterable<Annotation>;
}

/** The table of superblock places at sector 7. */
export interface LayoutPlace {
  readonly kind: 'layout';
  readonly field: Annotation | undefined;
  readonly region: Region;
}

export interface SuperblockPlace {
  readonly kind: 'superblock';
  /** From 0, in the order of the layout; undefined for one that is not listed there. */
  readonly copy: number | undefined;
  readonly copies: number;
  readonly sector: number;
  readonly seq: number | undefined;
  /** Why it cannot be believed; undefined for a sound one. */
  readonly problem: string | undefined;
  /** Room for a copy, which this one does not take. */
  readonly isPastEnd: boolean;
  readonly field: Annotation | undefined;
  readonly region: Region;
}

export interface JournalPlace {
  readonly kind: 'journal';
  /** The number of the bucket in the journal, which is not its number on the device. */
  readonly bucketIndex: number;
  readonly bucketCount: number;
  /** Undefined after the last entry of a bucket. */
  readonly entry: JsetPlace | undefined;
  readonly field: Annotation | undefined;
  readonly region: Region | undefined;
}

export interface JsetPlace {
  readonly seq: number;
  readonly sector: number;
  readonly sizeBytes: number;
  readonly checksumGood: boolean;
  /** Left: from an earlier use of the bucket, or after the place where reading the journal ends. */
  readonly use: JournalEntryUse | 'left';
  /** Undefined in the header of the entry and after its end. */
  readonly sub: SubEntryPlace | undefined;
}

export interface SubEntryPlace {
  readonly nr: number;
  /** Such as btree_keys. */
  readonly type: string;
  readonly btree: number;
  readonly level: number;
  readonly key: { readonly nr: number; readonly key: Key } | undefined;
}

/** One replica of a btree node. */
export interface NodePlace {
  readonly kind: 'btree_node';
  readonly btree: number;
  readonly level: number;
  readonly isRoot: boolean;
  /** The key that points to it; for what is left of a node, made from what the node says. */
  readonly ptr: Key;
  readonly minKey: Bpos | undefined;
  readonly replica: { readonly nr: number; readonly count: number };
  /** Where the node begins. */
  readonly sector: number;
  /** Bytes from the start of the node. */
  readonly offset: number;
  /** What is wrong with this replica. */
  readonly problems: readonly string[];
  readonly part: NodePart;
  readonly field: Annotation | undefined;
  readonly region: Region | undefined;
}

export interface BsetPlace {
  readonly nr: number;
  readonly count: number;
  readonly offsetSectors: number;
  readonly journalSeq: number;
  /** Of a journal entry that was lost: its keys do not count. */
  readonly isBlacklisted: boolean;
}

/**
 * overwritten: a later bset has another key for its position; deletion: it is one itself; dropped: it is not sound; blacklisted: its bset
 * does not count
 */
export type KeyState = 'live' | 'overwritten' | 'deletion' | 'dropped' | 'blacklisted';

export type NodePart =
  | { readonly type: 'header'; readonly bset: BsetPlace }
  | {
      readonly type: 'key';
      readonly bset: BsetPlace;
      readonly nr: number;
      readonly key: Key;
      readonly state: KeyState;
      /** The bset whose key took its place. */
      readonly overwrittenBy: number | undefined;
      /** The journal entry whose key takes its place in a filesystem that was not unmounted. */
      readonly journalSeq: number | undefined;
      readonly files: FileReferences;
    }
  /** Between the last key of a bset and the end of its block. */
  | { readonly type: 'padding'; readonly bset: BsetPlace }
  /** After the last bset. */
  | { readonly type: 'unwritten' }
  | { readonly type: 'unreadable' };

/** Data of files. */
export interface DataPlace {
  readonly kind: 'data';
  readonly btree: 'extents' | 'reflink';
  readonly key: Key;
  readonly replica: { readonly nr: number; readonly count: number };
  readonly ptr: ExtentPtr;
  /** Undefined for data that are neither checksummed nor compressed. */
  readonly crc: ExtentCrc | undefined;
  readonly stripe: ExtentStripePtr | undefined;
  /** The bucket has been used for something else since. */
  readonly isStale: boolean;
  /**
   * live: the byte is in the file; hidden: in a part of the encoded extent that this key does not show; compressed: in the encoded bytes of
   * all that the key shows; unwritten: the extent reads as zeroes
   */
  readonly part: 'live' | 'hidden' | 'compressed' | 'unwritten';
  /** Of this copy; unknown: it cannot be read. */
  readonly checksum: 'good' | 'bad' | 'none' | 'unknown';
  /** Why the checksum is bad or unknown. */
  readonly problem: string | undefined;
  readonly files: FileReferences;
}

/** A bucket of a stripe. */
export interface StripePlace {
  readonly kind: 'stripe';
  readonly key: Key;
  readonly stripe: number;
  readonly block: number;
  readonly dataBlocks: number;
  readonly parityBlocks: number;
}

export interface FileReferences {
  readonly list: readonly FileReference[];
  /** There are more, which were not listed. */
  readonly hasMore: boolean;
}

/** A file, in one subvolume, that a key belongs to. */
export interface FileReference {
  readonly inum: bigint;
  readonly subvolume: number;
  readonly snapshot: number;
  /** Undefined when the inode is missing. */
  readonly sizeBytes: bigint | undefined;
  readonly paths: readonly FilePath[];
  /** The byte of the file; undefined where it is not one certain byte. */
  readonly offset: number | undefined;
  /** The run of the file that the key stands for, in bytes; undefined for keys that are not extents. */
  readonly range: { readonly offset: number; readonly length: number } | undefined;
}
