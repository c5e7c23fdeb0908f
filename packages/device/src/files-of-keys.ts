// Which files keys belong to: for lists of what is lost or left, each file once.

import {
  type BucketReference,
  btrees,
  compareBpos,
  FileFinder,
  type FileReferences,
  type Filesystem,
  type Key,
  pathText,
} from '@bcachefs-ts/core/engine';

/** Files that are listed. */
const FILES_MAX = 1000;
const REFLINK = btrees.idOf('reflink');

/** Paths of the files, and of what belongs to no file the btree: each once, in the order of the keys, those of shared data last. */
export function filesOfKeys(filesystem: Filesystem, keys: readonly BucketReference[]): readonly string[] {
  const finder = new FileFinder(filesystem, () => {});
  const names = new Set<string>();
  const addFiles = ({ list }: FileReferences) => {
    for (const { inum, paths } of list) {
      const [first] = paths;
      names.add(first === undefined ? `inode ${inum}` : `/${pathText(first.path).replace(/^\//, '')}`);
    }
  };
  const shared: Key[] = [];
  for (const { btree, level, pos } of keys) {
    if (names.size >= FILES_MAX) return [...names];
    const key = level > 0 ? undefined : filesystem.btree(btree).get(pos);
    if (key === undefined) names.add(`the btree ${btrees.nameOf(btree)}`);
    else if (btree === REFLINK) shared.push({ k: { ...key.k, p: key.k.p.slice() }, value: key.value });
    else {
      const files = finder.ofKey(btree, key);
      if (files.list.length === 0) names.add(nothingLeads(btree));
      addFiles(files);
    }
  }
  // Who shares something is found in all keys of files: once for all of it.
  const found = new Set<number>();
  if (shared.length > 0) {
    shared.sort((a, b) => compareBpos(a.k.p, b.k.p));
    for (const files of finder.ofIndirects(shared)) {
      if (files.list.length > 0) for (const nr of files.to) found.add(nr);
      addFiles(files);
      if (names.size >= FILES_MAX) return [...names];
    }
    if (found.size < shared.length) names.add(nothingLeads(REFLINK));
  }
  return [...names];
}

const nothingLeads = (btree: number): string => `a file that nothing leads to (${btrees.nameOf(btree)})`;
