// The tree of names, in the order in which filesystems are filled: parents first, siblings by the bytes of their names. On the way it is held
// to what a tree is: each directory has one name, each inode as many as it says, and at the end nothing in use was without one.
//
// What is kept: two bytes for each inode, and the names of the directories on the way from the root.

import { compareBytes, printableBytes } from '@bcachefs-ts/core/engine';
import { damaged, refusalError } from './faults.ts';
import { INCOMPAT_FILETYPE } from './features.ts';
import type { Internals } from './internals.ts';
import { NameCounts } from './name-counts.ts';
import type { Ext4Dirent, Ext4InodeKind, Ext4Name } from './types.ts';

export const ROOT_INODE = 2;
/** i_links_count of directories with more: only with dir_nlink. */
const DIR_LINKS_MAX = 65_000;

/** Sixteen times what a system call takes. */
const PATH_BYTES_MAX = 65_536;

const fileTypes: Partial<Record<Ext4InodeKind, number>> = {
  file: 1,
  dir: 2,
  chr: 3,
  blk: 4,
  fifo: 5,
  sock: 6,
  symlink: 7,
};

interface OpenDirectory {
  readonly inode: number;
  /** Empty for the root. */
  readonly name: Uint8Array;
  /** Bytes of the path to it. */
  readonly pathBytes: number;
  /** Those that are left, the next one last. */
  readonly entries: Ext4Dirent[];
  readonly nlink: number;
  directories: number;
}

export function* tree(fs: Internals): Generator<Ext4Name> {
  const counts = new NameCounts(fs.facts.inodes, fs.facts.inodesPerGroup);
  const bad = (field: string, detail: string) => damaged(fs.name, field, detail);
  const root = fs.inode(ROOT_INODE);
  if (root.kind !== 'dir') throw bad(`inode ${ROOT_INODE}`, 'the root is not a directory');
  counts.add(ROOT_INODE);
  const empty = new Uint8Array(0);
  yield { path: empty, name: empty, depth: 0, inode: root, parent: ROOT_INODE, isFurtherName: false };
  const open: OpenDirectory[] = [openDirectory(fs, ROOT_INODE, empty, 0)];
  for (let directory = open.at(-1); directory !== undefined; directory = open.at(-1)) {
    const entry = directory.entries.pop();
    if (entry === undefined) {
      const { nlink, directories, inode } = directory;
      // Where they do not fit, 1 stands for many.
      if (nlink !== directories + 2 && !(nlink === 1 && directories + 2 > DIR_LINKS_MAX - 2))
        throw bad(`directory inode ${inode}`, `it counts ${nlink} links, expected ${directories + 2}`);
      open.pop();
      continue;
    }
    const { name } = entry;
    const path = pathOf(fs, open, name);
    const inode = fs.inode(entry.inode);
    const wrong = (detail: string) => bad(`'${printableBytes(path)}'`, detail);
    if (inode.kind === 'filesystem' || inode.kind === 'ea_inode')
      throw wrong(`leads to inode ${inode.number}, which is the filesystem's own`);
    const hasTypes = (fs.facts.incompat & INCOMPAT_FILETYPE) !== 0;
    if (hasTypes && entry.fileType !== fileTypes[inode.kind])
      throw wrong(`has the type ${entry.fileType}, and inode ${inode.number} is of type ${fileTypes[inode.kind]}`);
    const names = counts.add(inode.number);
    if (inode.kind === 'dir' && names > 1) throw wrong(`is a second name of directory inode ${inode.number}`);
    if (inode.kind !== 'dir' && names > inode.nlink)
      throw wrong(`is name ${names} of inode ${inode.number}, which counts ${inode.nlink}`);
    yield { path, name, depth: open.length, inode, parent: directory.inode, isFurtherName: names > 1 };
    if (inode.kind === 'dir') {
      directory.directories++;
      open.push(openDirectory(fs, inode.number, name, path.length));
    }
  }
  for (const inode of fs.inodes()) {
    if (inode.kind === 'filesystem' || inode.kind === 'ea_inode') continue;
    const names = counts.of(inode.number);
    if (names === 0) throw bad(`inode ${inode.number}`, 'it is in use, and no name leads to it');
    if (inode.kind !== 'dir' && names !== inode.nlink)
      throw bad(`inode ${inode.number}`, `it counts ${inode.nlink} names, and has ${names}`);
  }
}

function openDirectory(fs: Internals, number: number, name: Uint8Array, pathBytes: number): OpenDirectory {
  const inode = fs.inode(number);
  const entries = [...fs.directory(inode)].sort((a, b) => compareBytes(b.name, a.name));
  for (let i = 1; i < entries.length; i++)
    if (compareBytes(entries[i - 1]!.name, entries[i]!.name) === 0)
      throw damaged(
        fs.name,
        `directory inode ${number}`,
        `the name '${printableBytes(entries[i]!.name)}' is in it twice`,
      );
  return { inode: number, name, pathBytes, entries, nlink: inode.nlink, directories: 0 };
}

/** @throws IncompatibleError for one that is too long: all of its levels are held */
function pathOf(fs: Internals, open: readonly OpenDirectory[], name: Uint8Array): Uint8Array {
  const above = open.at(-1)?.pathBytes ?? 0;
  const whole = new Uint8Array(above + (above === 0 ? 0 : 1) + name.length);
  if (whole.length > PATH_BYTES_MAX)
    throw refusalError(fs.name, {
      name: 'geometry',
      text: `has a path of ${whole.length} bytes, and only up to ${PATH_BYTES_MAX} are read; move what is so deep further up`,
      run: undefined,
    });
  let at = 0;
  for (const directory of open) {
    if (directory.name.length === 0) continue;
    whole.set(directory.name, at);
    at += directory.name.length;
    whole[at++] = 0x2f;
  }
  whole.set(name, at);
  return whole;
}
