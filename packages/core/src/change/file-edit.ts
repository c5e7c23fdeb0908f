// A change of files from its beginning to its commit: a transaction with all triggers, room for data and nodes, and the writers of names and
// contents over it, put together. Each is used once: a commit takes it, or it is dropped, and nothing has happened.

import { BucketAllocator } from '../alloc/allocator.ts';
import { releaseEmptied } from '../alloc/release-emptied.ts';
import { renewGens } from '../alloc/renew-gens.ts';
import type { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import type { Transaction } from '../btree/transaction.ts';
import { ExtentWriter } from '../data/extent-write.ts';
import { FileContent, type FileContentOptions } from '../fs/file-content.ts';
import { FileWriter, type FileWriterOptions } from '../fs/file-writer.ts';
import { getBits } from '../ondisk/bits.ts';
import { compressionOptions, compressionTypes } from '../ondisk/compression-types.ts';
import type { CorruptError } from '../ondisk/errors.ts';
import { type FeatureName, incompatFeatures } from '../ondisk/features.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { FilesystemTriggers } from './triggers.ts';
import type { CommitReport, FilesystemWriter, StageRequest } from './writer.ts';

export interface FileEditOptions extends FileWriterOptions, FileContentOptions {
  /** For edits that remove: they are possible on a full filesystem. */
  readonly makesRoom?: boolean;
  /** Told when what is there contradicts a change, which then goes on as far as it can; without it this is thrown. */
  readonly onDamage?: ((damage: CorruptError) => void) | undefined;
}

export class FileEdit {
  readonly tx: Transaction;
  readonly triggers: FilesystemTriggers;
  readonly allocator: BucketAllocator;
  /** Names, inodes, attributes. */
  readonly files: FileWriter;
  readonly content: FileContent;
  readonly #writer: FilesystemWriter;
  readonly #options: FileEditOptions;
  readonly #extents: ExtentWriter;

  /**
   * @param writer whose next commit this may become; `loadCompressors` has to have been awaited where data is compressed
   * @param after the part of the same change that was staged; without it, what has been staged is given up
   */
  constructor(writer: FilesystemWriter, options: FileEditOptions, after?: FileEdit) {
    if (after === undefined) writer.dropStaged();
    this.#options = options;
    const { filesystem } = writer;
    const { sb, replay } = filesystem;
    const { clocks } = replay;
    this.#writer = writer;
    this.triggers = new FilesystemTriggers(sb, {
      journalSeq: writer.nextSeq,
      // 0 says never.
      readClock: clocks.read > 0n ? clocks.read : 1n,
      writeClock: clocks.write > 0n ? clocks.write : 1n,
      ...(options.onDamage === undefined ? {} : { onDamage: options.onDamage }),
    });
    this.tx = writer.begin(this.triggers);
    renewGens(this.triggers, this.tx);
    const nodes = {
      replicas: getBits(sb.flags, sbBits.META_REPLICAS_WANT),
      target: getBits(sb.flags, sbBits.METADATA_TARGET),
    };
    const isHeld = (dev: number, bucket: number) => writer.isHeld(dev, bucket);
    // Else each part would leave the nodes that it replaced behind.
    if (after !== undefined) releaseEmptied(this.triggers, this.tx, { isHeld });
    this.allocator = new BucketAllocator(filesystem, this.triggers, nodes, {
      usesReserve: options.makesRoom ?? false,
      ...(after === undefined ? {} : { isHeld, after: after.allocator }),
    });
    this.files = new FileWriter(this.tx, options);
    this.#extents = new ExtentWriter(this.tx, this.allocator, {
      versions: writer.keyVersions,
      devices: this.triggers.devices,
    });
    this.content = new FileContent(this.files, this.#extents, options);
  }

  /**
   * Everything or nothing, with what has been staged. The edit is used up.
   * @throws NoSpaceError, CorruptError before anything counts; DeviceError at any point
   */
  commit(): CommitReport {
    return this.#writer.commit(this.#request());
  }

  /**
   * Lets go of the memory that the changes so far take: they are written as a part of what a later commit commits, and nothing counts yet.
   * What is known of files by their FileRef stays true; nobody may be in the middle of reading.
   * @returns the edit to go on with; this one is used up
   * @throws as `commit` does
   */
  stage(): FileEdit {
    this.#writer.stage(this.#request());
    return new FileEdit(this.#writer, this.#options, this);
  }

  #request(): StageRequest {
    // Before data goes where another edit may have its own.
    this.#writer.refuseOther(this.tx);
    this.content.flush();
    const { clocks } = this.#writer.filesystem.replay;
    return {
      tx: this.tx,
      allocator: this.allocator,
      check: () => this.allocator.checkGrowth(this.tx),
      superblock: superblockWith(this.triggers.needs, this.#featureNames()),
      clocks: {
        keyVersion: this.#writer.keyVersions.newest,
        read: clocks.read,
        write: clocks.write + BigInt(this.#extents.sectorsWritten),
      },
    };
  }

  #featureNames(): readonly FeatureName[] {
    const names: FeatureName[] = [...this.files.optionFeatures];
    if (this.content.hasInlineData) names.push('inline_data');
    for (const type of this.#extents.compressionTypes) {
      const feature = compressionOptions.byName(compressionTypes.nameOf(type))?.feature;
      if (feature != null) names.push(feature);
    }
    return names;
  }
}

/** A function of its own, since it is kept until the commit and would keep whatever is around it: an edit that has been staged. */
const superblockWith =
  (needs: SuperblockNeeds, names: readonly FeatureName[]) =>
  (sb: Superblock): Superblock =>
    withFeatures(needs.applyTo(sb), names);

function withFeatures(sb: Superblock, names: readonly FeatureName[]): Superblock {
  const [features = 0n, ...others] = sb.features;
  const needed = names.reduce((mask, name) => mask | (1n << BigInt(incompatFeatures.idOf(name))), features);
  return needed === features ? sb : { ...sb, features: [needed, ...others] };
}
