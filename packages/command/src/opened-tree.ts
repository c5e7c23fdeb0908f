// Opens the tree that a command line means: the filesystem, one of its subvolumes or snapshots, and what reads its
// data. Losses in the metadata are reported to `onDamage` with their paths; work goes on with what is left.

import {
  DataReader,
  declaredCompressionTypes,
  type Filesystem,
  FileTree,
  IndirectExtents,
  loadChecksums,
  loadCompression,
  loadMacs,
  type OnDamage,
  type RewindTarget,
} from '@bcachefs-ts/core/engine';
import type { Context } from './context.ts';
import { type FilesystemArgs, openForReading } from './filesystem-argument.ts';

/** What `filesystemWord` and `treeOptions` give. */
export interface TreeArgs extends Omit<FilesystemArgs, 'devices'> {
  readonly filesystem: string;
  readonly subvolume: number | string | undefined;
  readonly snapshot: number | undefined;
  /** Back in the journal. */
  readonly at?: RewindTarget | undefined;
}

export interface OpenedTree {
  readonly filesystem: Filesystem;
  readonly tree: FileTree;
  readonly data: DataReader;
  /** For `fileChunks` and `readFile` of many files. */
  readonly reflinks: IndirectExtents;
  close(): void;
}

/**
 * @param readsFiles their data are what the command is for: what the superblock does not declare can be read too
 * @throws as openForReading does; UsageError when there is no such subvolume or snapshot, or the journal does not reach back to `at`
 */
export async function openTree(
  context: Context,
  args: TreeArgs,
  onDamage: OnDamage,
  readsFiles = false,
): Promise<OpenedTree> {
  await loadChecksums();
  const { filesystem: word, subvolume, snapshot, at, ...others } = args;
  const present = await openForReading(context, { ...others, devices: [word] });
  try {
    await loadCompression(readsFiles ? undefined : declaredCompressionTypes(present.sb));
    const filesystem = at === undefined ? present : (await import('./back-in-time.ts')).backTo(present, at, onDamage);
    if (readsFiles && filesystem.key !== undefined) await loadMacs();
    const data = new DataReader(filesystem, { onDamage, parallel: true });
    return {
      filesystem,
      tree: FileTree.open(filesystem, { subvolume, snapshot, onDamage }),
      data,
      reflinks: new IndirectExtents(filesystem),
      close() {
        data.close();
        filesystem.close();
      },
    };
  } catch (thrown) {
    present.close();
    throw thrown;
  }
}
