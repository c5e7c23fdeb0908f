// What a restore reads from: a tree of files, whichever. Tests give trees that no image could hold.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  CorruptError,
  DeviceError,
  type ExtendedAttribute,
  type FileChunk,
  type FileFinding,
  type FileNode,
  type FileStat,
  fileChunks,
  type Orphan,
  orphans,
  type WalkItem,
} from '@bcachefs-ts/core/engine';

/** What tells files apart: hard links share it. */
export interface SourceNode {
  readonly inum: bigint;
  readonly subvolume: number;
  readonly snapshot: number;
}

/** As FileTree.walk gives it. */
export interface SourceItem<Node extends SourceNode> {
  readonly path: Uint8Array;
  readonly depth: number;
  readonly entry: { readonly name: Uint8Array } | undefined;
  readonly node: Node | undefined;
}

export interface ReadOptions {
  readonly onFinding: (finding: FileFinding) => void;
  readonly ignoreErrors: boolean;
}

export interface RestoreSource<Node extends SourceNode = FileNode> {
  /** Folders before what is in them; `descend` is asked when the next item is wanted. The order is the same each time. */
  walk(options: { readonly from?: Node; descend(): boolean }): Iterable<SourceItem<Node>>;
  orphans(): Iterable<{ readonly node: Node; readonly isUnlinked: boolean }>;
  stat(node: Node): FileStat;
  xattrs(node: Node, path: Uint8Array): readonly ExtendedAttribute[];
  /** The data of a file or symlink. */
  chunks(node: Node, sizeBytes: number, options: ReadOptions): Iterable<FileChunk>;
}

/** @param onRootless called for a tree without a root, which then is empty; without it that is thrown */
export function sourceOf(
  { tree, data, reflinks }: OpenedTree,
  onRootless?: (error: CorruptError | DeviceError) => void,
): RestoreSource {
  return {
    *walk(options): Generator<WalkItem> {
      try {
        yield* tree.walk(options);
      } catch (thrown) {
        const isRootless =
          (thrown instanceof CorruptError && thrown.error === 'root_dir_missing') ||
          (thrown instanceof DeviceError && thrown.kind === 'missing');
        if (!isRootless || onRootless === undefined) throw thrown;
        onRootless(thrown);
      }
    },
    orphans: (): Iterable<Orphan> => orphans(tree),
    stat: node => tree.stat(node),
    xattrs: (node, path) => tree.xattrs(node, { path }),
    chunks: (node, sizeBytes, options) =>
      fileChunks(data, tree.table, { inum: node.inum, snapshot: node.snapshot, sizeBytes }, { ...options, reflinks }),
  };
}
