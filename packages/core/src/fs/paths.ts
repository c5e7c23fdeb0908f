// From an inode to its names: an inode knows the dirent that led to it last (bi_dir, bi_dir_offset), which leads up to the root step by
// step. Where that dirent is missing or leads somewhere else, and for hard links, all dirents of the snapshot are searched.
// Source: bch2_inum_to_path in fs-common.c, v1.36.1; inode_walk of fsck.c, v1.13.0.

import { bposInode, makeBpos } from '../ondisk/bpos.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { visibleKeyAt, visibleKeys } from '../snapshots/visible.ts';
import { type DirectoryEntry, entryOf } from './dirents.ts';
import { type FileNode, type FileTree, joinPath } from './file-tree.ts';
import { readInode } from './inode.ts';

export interface FilePath {
  /** From the root of subvolume 1, or as far as it is known; empty for a root. */
  readonly path: Uint8Array;
  /** Whether it begins at a root; else at the directory `topInode`, whose own name is not known. */
  readonly isWhole: boolean;
  readonly topInode: bigint;
}

/** The longest way up. */
const DEPTH_MAX = 4096;
/** The most names of one inode that are given. */
const NAMES_MAX = 1000;

const DIRENT = keyTypes.idOf('dirent');
const NO_BYTES = new Uint8Array(0);

/**
 * The paths of an inode of the tree's own subvolume.
 * @param options `search`: `none` for what backpointers say, one path; `fallback` searches when they say nothing; `all` searches for every
 * hard link. A search reads the whole btree of dirents.
 * @throws as BtreeView.keys, unless the tree reports damage
 */
export function pathsOf(
  tree: FileTree,
  inum: bigint,
  { search = 'fallback' }: { readonly search?: 'none' | 'fallback' | 'all' } = {},
): readonly FilePath[] {
  const node = tree.node(inum);
  if (node !== undefined && search !== 'all') {
    const found = pathUp(tree, node);
    if (found.topInode !== inum || found.isWhole || search === 'none') return [found];
  }
  const paths: FilePath[] = [];
  for (const { directory, name } of namesOf(tree, inum)) {
    const parent = tree.node(directory);
    const above = parent === undefined ? { path: NO_BYTES, isWhole: false, topInode: directory } : pathUp(tree, parent);
    paths.push({ ...above, path: above.path.length === 0 ? name : joinPath([above.path, name]) });
    if (paths.length === NAMES_MAX) break;
  }
  if (paths.length === 0 && node !== undefined) return [pathUp(tree, node)];
  return paths;
}

/** Up by backpointers, into the subvolumes that it is inside of. */
function pathUp(tree: FileTree, start: FileNode): FilePath {
  const names: Uint8Array[] = [];
  const passed = new Set<string>();
  let node = start;
  let isWhole = false;
  while (names.length < DEPTH_MAX) {
    const parent = parentOf(tree, node);
    if (parent === 'root') isWhole = true;
    if (parent === 'root' || parent === undefined) break;
    const id = `${parent.node.subvolume}:${parent.node.inum}`;
    if (passed.has(id)) break;
    passed.add(id);
    names.push(parent.name);
    node = parent.node;
  }
  return { path: names.length === 0 ? NO_BYTES : joinPath(names.toReversed()), isWhole, topInode: node.inum };
}

/** Undefined when the inode does not say, or says what is not so. */
function parentOf(
  tree: FileTree,
  { inode, inum, subvolume, snapshot }: FileNode,
): { readonly node: FileNode; readonly name: Uint8Array } | 'root' | undefined {
  const own = tree.table.subvolume(subvolume);
  const isSubvolumeRoot = own !== undefined && own.rootInode === inum;
  if (isSubvolumeRoot && inode.bi_parent_subvol === 0) return 'root';
  if (inode.bi_dir === 0n) return !isSubvolumeRoot && inum === tree.rootInode ? 'root' : undefined;
  const outer = isSubvolumeRoot ? tree.table.subvolume(inode.bi_parent_subvol) : undefined;
  if (isSubvolumeRoot && outer === undefined) return undefined;
  const [outerSubvolume, outerSnapshot] = outer === undefined ? [subvolume, snapshot] : [outer.id, outer.snapshot];
  const onDamage = tree.onDamageAt(undefined);
  const pos = makeBpos(inode.bi_dir, inode.bi_dir_offset, outerSnapshot);
  const key = visibleKeyAt(tree.source.btree('dirents'), tree.table, outerSnapshot, pos, { onDamage });
  const entry = key?.k.type === DIRENT ? entryOf(key, onDamage) : undefined;
  if (entry === undefined || !leadsTo(entry, isSubvolumeRoot ? subvolume : undefined, inum)) return undefined;
  const found = readInode(tree.source, tree.table, outerSnapshot, inode.bi_dir, { onDamage });
  if (found === undefined) return undefined;
  return {
    node: { inum: inode.bi_dir, subvolume: outerSubvolume, snapshot: outerSnapshot, ...found },
    name: entry.name,
  };
}

function leadsTo({ target }: DirectoryEntry, subvolume: number | undefined, inum: bigint): boolean {
  return 'inum' in target ? subvolume === undefined && target.inum === inum : target.child_subvol === subvolume;
}

/** All dirents of the snapshot that lead to an inode. */
function* namesOf(tree: FileTree, inum: bigint): Generator<{ readonly directory: bigint; readonly name: Uint8Array }> {
  const onDamage = tree.onDamageAt(undefined);
  const options = onDamage === undefined ? {} : { onDamage };
  for (const key of visibleKeys(tree.source.btree('dirents'), tree.table, tree.snapshot, options)) {
    if (key.k.type !== DIRENT) continue;
    const entry = entryOf(key, onDamage);
    if (entry !== undefined && leadsTo(entry, undefined, inum)) {
      yield { directory: bposInode(key.k.p), name: entry.name };
    }
  }
}
