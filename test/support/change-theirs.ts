// Changes of files that a kernel has made, by the engine and at random: for tests that let a kernel judge what has become of them.

import { type FileEdit, type FileRef, FileTree } from '@bcachefs-ts/core/engine';
import type { Random } from './random.ts';

const text = new TextEncoder();

interface Found {
  readonly directory: FileRef;
  readonly name: Uint8Array;
  readonly type: number;
  readonly ref: FileRef;
}

/**
 * Changes files that the kernel has made: some go, some are cut, written into, renamed or given attributes; subvolumes are snapshotted.
 * @param top what is below it is not theirs
 * @returns how many it has changed
 */
export function changeTheirs(edit: FileEdit, random: Random, top: string, wanted: number): number {
  const { files } = edit;
  files.flush();
  const tree = FileTree.open(edit.tx);
  const untouched = new Set<Found>();
  for (const { entry, node, path } of tree.walk()) {
    if (entry === undefined || node === undefined || Buffer.from(path).toString().startsWith(top)) continue;
    if (tree.table.subvolume(entry.directory.subvolume)?.isReadOnly) continue;
    const { directory, name, type } = entry;
    untouched.add({ directory, name, type, ref: { subvolume: node.subvolume, inum: node.inum } });
  }
  let count = 0;
  for (let step = 0; count < wanted && untouched.size > 0; step++) {
    const one = random.pick([...untouched]);
    untouched.delete(one);
    // What was moved or deleted with something else is left out.
    if (files.lookup(one.directory, one.name)?.inum !== one.ref.inum) continue;
    if (changeOne(edit, random, one, step)) count++;
  }
  return count;
}

const DT = { dir: 4, file: 8, subvolume: 16 };

function changeOne({ files, content }: FileEdit, random: Random, one: Found, step: number): boolean {
  const { directory, name, type, ref } = one;
  const choice = random.below(6);
  if (type === DT.subvolume) {
    if (choice > 1) return false;
    files.createSnapshot(files.root(), text.encode(`snapshot-${step}-${ref.subvolume}`), ref.subvolume);
  } else if (choice === 0 && type !== DT.dir) files.remove(directory, name);
  else if (choice === 1 && (type === DT.file || type === DT.dir))
    files.setXattr(ref, 'user.changed', text.encode(`step ${step}`));
  else if (type !== DT.file) return false;
  else if (choice === 2) content.truncate(ref, random.below(Number(files.inode(ref).bi_size) + 1));
  else if (choice === 3) {
    const bytes = random.below(2) ? text.encode('in between') : new Uint8Array(30_000).fill(7);
    content.write(ref, random.below(50_000), bytes);
  } else if (choice === 4) content.punch(ref, random.below(20_000), 20_000 + random.below(40_000));
  else files.rename(directory, name, directory, text.encode(`renamed-${step}`));
  return true;
}

/** One of the subvolumes with nothing below them goes, others having been snapshotted from it or not. */
export function dropTheirs(edit: FileEdit, top: string): void {
  // A name is in the transaction at once, the inode of a new file is not.
  edit.files.flush();
  const tree = FileTree.open(edit.tx);
  for (const { entry, node, path } of tree.walk()) {
    if (entry?.type !== 16 || node === undefined || Buffer.from(path).toString().startsWith(top)) continue;
    if (tree.table.subvolumes().some(({ fsPathParent }) => fsPathParent === node.subvolume)) continue;
    if (tree.table.subvolume(entry.directory.subvolume)?.isReadOnly) continue;
    edit.files.deleteSubvolume(entry.directory, entry.name);
    return;
  }
}
