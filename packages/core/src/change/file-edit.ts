// A change of files from its beginning to its commit: a transaction with all triggers, room for data and nodes, and the writers of names and
// contents over it, put together. Each is used once: a commit takes it, or it is dropped, and nothing has happened.

import type { BucketAllocator, IsHeld } from '../alloc/allocator.ts';
import type { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import type { Transaction } from '../btree/transaction.ts';
import { ExtentWriter } from '../data/extent-write.ts';
import { EditState, type TreeEditorOptions } from '../fs/edit-state.ts';
import { FileContent, type FileContentOptions } from '../fs/file-content.ts';
import { TreeEditor } from '../fs/tree-editor.ts';
import { compressionOptions, compressionTypes } from '../ondisk/compression-types.ts';
import type { CorruptError } from '../ondisk/errors.ts';
import { type FeatureName, incompatFeatures } from '../ondisk/features.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { beginChange, type Change, type ChangeParts, type StageExtras } from './change.ts';
import type { FilesystemTriggers } from './triggers.ts';
import type { CommitReport, FilesystemWriter } from './writer.ts';

export interface FileEditOptions extends TreeEditorOptions, FileContentOptions {
  /** For edits that remove: they are possible on a full filesystem. */
  readonly makesRoom?: boolean;
  /** See ChangeOptions. */
  readonly releasesEmptied?: boolean;
  /** See AllocatorOptions. */
  readonly isExcluded?: IsHeld | undefined;
  /** Called when what is there contradicts a change, which then goes on as far as it can; without it this is thrown. */
  readonly onDamage?: ((damage: CorruptError) => void) | undefined;
}

export class FileEdit implements ChangeParts {
  readonly #change: Change;
  /** Names, inodes, attributes. */
  readonly files: TreeEditor;
  readonly content: FileContent;
  readonly #writer: FilesystemWriter;
  readonly #options: FileEditOptions;
  readonly #extents: ExtentWriter;

  /**
   * @param writer whose next commit this may become; `loadCompressors` has to have been awaited where data is compressed
   * @param after the part of the same change that was staged; without it, what has been staged is given up
   */
  constructor(writer: FilesystemWriter, options: FileEditOptions, after?: FileEdit) {
    this.#writer = writer;
    this.#options = options;
    this.#change = beginChange(writer, {
      usesReserve: options.makesRoom ?? false,
      isExcluded: options.isExcluded,
      onDamage: options.onDamage,
      releasesEmptied: options.releasesEmptied ?? false,
      after,
    });
    const state = new EditState(this.tx, options);
    this.files = new TreeEditor(state);
    this.#extents = new ExtentWriter(this.tx, this.allocator, {
      versions: writer.keyVersions,
      devices: this.triggers.devices,
    });
    this.content = new FileContent(state, this.#extents, options);
  }

  get tx(): Transaction {
    return this.#change.tx;
  }

  get triggers(): FilesystemTriggers {
    return this.#change.triggers;
  }

  get allocator(): BucketAllocator {
    return this.#change.allocator;
  }

  /**
   * Everything or nothing, with what has been staged. The edit is used up.
   * @throws NoSpaceError, CorruptError before anything counts; DeviceError at any point
   */
  commit(): CommitReport {
    return this.#change.commit(this.#extras());
  }

  /**
   * Lets go of the memory that the changes so far take: they are written as a part of what a later commit commits, and nothing counts yet.
   * What is known of files by their FileRef stays true; nothing may be in the middle of a read.
   * @returns the edit to go on with; this one is used up
   * @throws as `commit` does
   */
  stage(): FileEdit {
    this.#change.stage(this.#extras());
    return new FileEdit(this.#writer, this.#options, this);
  }

  #extras(): StageExtras {
    // Before data goes where another edit may have its own.
    this.#writer.refuseOther(this.tx);
    this.content.flush();
    const { clocks } = this.#writer.filesystem.replay;
    return {
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
    const names: FeatureName[] = [...this.files.optionFeatures, ...compressionFeatures(this.#extents)];
    if (this.content.hasInlineData) names.push('inline_data');
    return names;
  }
}

/** Features of the compression types that extents have got. */
export function compressionFeatures({ compressionTypes: types }: ExtentWriter): readonly FeatureName[] {
  return [...types].flatMap(type => {
    const feature = compressionOptions.byName(compressionTypes.nameOf(type))?.feature;
    return feature == null ? [] : [feature];
  });
}

/** A function of its own, since it is kept until the commit and would keep whatever is around it: an edit that has been staged. */
export const superblockWith =
  (needs: SuperblockNeeds, names: readonly FeatureName[]) =>
  (sb: Superblock): Superblock =>
    withFeatures(needs.applyTo(sb), names);

function withFeatures(sb: Superblock, names: readonly FeatureName[]): Superblock {
  const [features = 0n, ...others] = sb.features;
  const needed = names.reduce((mask, name) => mask | (1n << BigInt(incompatFeatures.idOf(name))), features);
  return needed === features ? sb : { ...sb, features: [needed, ...others] };
}
