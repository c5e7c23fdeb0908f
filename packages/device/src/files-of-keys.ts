// Which files keys belong to: for lists of what is lost or left, each file once.

import { type BucketReference, btrees, FileFinder, type Filesystem, pathText } from '@bcachefs-ts/core/engine';

/** Files that are listed. */
const FILES_MAX = 1000;

/** Paths of the files, and of what belongs to no file the btree: each once, in the order of the keys. */
export function filesOfKeys(filesystem: Filesystem, keys: readonly BucketReference[]): readonly string[] {
  const finder = new FileFinder(filesystem, () => {});
  const names = new Set<string>();
  for (const { btree, level, pos } of keys) {
    if (names.size >= FILES_MAX) break;
    const key = level > 0 ? undefined : filesystem.btree(btree).get(pos);
    if (key === undefined) {
      names.add(`the btree ${btrees.nameOf(btree)}`);
      continue;
    }
    const files = finder.ofKey(btree, key).list;
    if (files.length === 0) names.add(`a file that nothing leads to (${btrees.nameOf(btree)})`);
    for (const { inum, paths } of files) {
      const [first] = paths;
      names.add(first === undefined ? `inode ${inum}` : `/${pathText(first.path).replace(/^\//, '')}`);
    }
  }
  return [...names];
}
