// The other way round: where on the devices a file is: its inode and names in nodes of the btrees, and each run of it with every copy.

import { btreePtrPlaces } from '../btree/node-read.ts';
import { entriesOf, pointerParts } from '../check/pointers.ts';
import { BucketGens, type PtrAge } from '../data/bucket-gens.ts';
import { type FileSegment, fileSegments, fileSize, IndirectExtents } from '../data/segments.ts';
import type { FileNode, FileTree } from '../fs/file-tree.ts';
import { overlayIndex } from '../journal/overlay.ts';
import { BKEY_U64S, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { ExtentCrc, ExtentPtr, ExtentStripePtr } from '../ondisk/extent-entries.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { isCompressed } from './data-place.ts';
import { pointedSectors } from './pointers.ts';

/** Where a key is. */
export interface KeyLocation {
  readonly btree: BtreeName;
  readonly pos: Bpos;
  /** The entry that has it, when it is only in the journal. */
  readonly journalSeq: number | undefined;
  /** Each replica of its leaf; none for a key that is only in the journal. */
  readonly replicas: readonly KeyReplica[];
}

export interface KeyReplica {
  readonly dev: number;
  /** Where the node begins. */
  readonly nodeSector: number;
  /** The key's first byte, on the device. */
  readonly offset: number;
  readonly lengthBytes: number;
}

/** One copy of a run of a file. */
export interface LocatedReplica {
  readonly ptr: ExtentPtr;
  readonly crc: ExtentCrc | undefined;
  readonly stripe: ExtentStripePtr | undefined;
  readonly isCompressed: boolean;
  /** Bytes on the device: where the run begins; of compressed data, where all that has to be read begins. */
  readonly offset: number;
  /** What lies there of the run; of compressed data all that has to be read. */
  readonly lengthBytes: number;
  /** Undefined when the member is not known. */
  readonly bucket: { readonly nr: number; readonly offset: number } | undefined;
  readonly age: PtrAge;
}

/** A run of a file. */
export interface LocatedRun {
  readonly kind: FileSegment['kind'];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly lengthBytes: number;
  /** What the run is shown by; undefined where nothing is stored. */
  readonly key: Key | undefined;
  /** reflink: the bytes are shared. */
  readonly btree: 'extents' | 'reflink' | undefined;
  readonly replicas: readonly LocatedReplica[];
  /** Where inline data is: in the key. */
  readonly inline: KeyLocation | undefined;
  /** Why it is lost. */
  readonly problem: string | undefined;
}

export class Locator {
  readonly #source: Filesystem;
  readonly #gens: BucketGens;
  readonly #reflinks: IndirectExtents;
  readonly #onDamage: (damage: Damage) => void;

  constructor(source: Filesystem, onDamage: (damage: Damage) => void) {
    this.#source = source;
    this.#onDamage = onDamage;
    this.#gens = new BucketGens(source, onDamage);
    this.#reflinks = new IndirectExtents(source);
  }

  /** Where a key of a leaf is; undefined when there is none at this position. */
  key(btree: BtreeName, pos: Bpos): KeyLocation | undefined {
    const view = this.#source.btree(btree);
    const over = this.#source.replay.overlay.keysOf(view.id, 0);
    const newer = over[overlayIndex(over, pos)];
    if (newer !== undefined && compareBpos(newer.key.k.p, pos) === 0) {
      return { btree, pos, journalSeq: newer.seq, replicas: [] };
    }
    for (const node of view.nodes({ from: pos, to: pos, onDamage: this.#onDamage })) {
      const index = node.indexOf(pos);
      if (index >= node.count || compareBpos(node.position(index), pos) !== 0) continue;
      const { format, u64s } = node.stored(index);
      const headerU64s = format === KEY_FORMAT_CURRENT ? BKEY_U64S : node.facts.format.key_u64s;
      const start = node.key(index).value.byteOffset - 8 * headerU64s;
      const { replicas } = btreePtrPlaces(view.id, 0, node.facts.ptr);
      return {
        btree,
        pos,
        journalSeq: undefined,
        replicas: replicas.map(({ dev, offset }) => ({
          dev,
          nodeSector: offset,
          offset: sectorsToBytes(offset) + start,
          lengthBytes: 8 * u64s,
        })),
      };
    }
    return undefined;
  }

  /** Where the inode of a file is. */
  inode({ inum, keySnapshot }: FileNode): KeyLocation | undefined {
    return this.key('inodes', makeBpos(0n, inum, keySnapshot));
  }

  /**
   * The runs of a file, in order and without gaps.
   * @throws CorruptError when its size is none
   */
  *runs(tree: FileTree, { inum, snapshot, inode }: FileNode): Generator<LocatedRun> {
    const sizeBytes = fileSize(inode.bi_size, bposText(makeBpos(0n, inum, snapshot)));
    const options = { onDamage: this.#onDamage, reflinks: this.#reflinks };
    for (const segment of fileSegments(this.#source, tree.table, { inum, snapshot, sizeBytes }, options)) {
      yield this.#run(segment);
    }
  }

  #run(segment: FileSegment): LocatedRun {
    const { kind, offset, length: lengthBytes } = segment;
    const common = { kind, offset, lengthBytes };
    const empty = { key: undefined, btree: undefined, replicas: [], inline: undefined, problem: undefined };
    switch (segment.kind) {
      case 'data': {
        const { key, btree, keyOffset } = segment;
        return { ...common, ...empty, key, btree, replicas: this.#replicas(key, keyOffset, lengthBytes) };
      }
      case 'inline': {
        const { key, btree } = segment;
        return { ...common, ...empty, key, btree, inline: this.key(btree, key.k.p) };
      }
      case 'lost':
        return { ...common, ...empty, problem: segment.error.message };
      default:
        return { ...common, ...empty };
    }
  }

  #replicas(key: Key, keyOffset: number, lengthBytes: number): readonly LocatedReplica[] {
    const known = members(this.#source.sb);
    return pointerParts(entriesOf(key)).map(parts => {
      const { ptr, crc, stripe } = parts;
      const isWhole = isCompressed(parts);
      const skip = isWhole ? 0 : sectorsToBytes(crc?.offset ?? 0) + keyOffset;
      const offset = sectorsToBytes(ptr.offset) + skip;
      const bucketBytes = sectorsToBytes(known[ptr.dev]?.bucket_size ?? 0);
      return {
        ptr,
        crc,
        stripe,
        isCompressed: isWhole,
        offset,
        lengthBytes: isWhole ? sectorsToBytes(pointedSectors(key, parts)) : lengthBytes,
        bucket: bucketBytes === 0 ? undefined : { nr: Math.floor(offset / bucketBytes), offset: offset % bucketBytes },
        age: this.#gens.ageOf(ptr),
      };
    });
  }
}
