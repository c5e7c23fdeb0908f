// ls -R: each directory is read once, and what comes out is what a walk gives that reads each for its names and again for its subdirectories.

import {
  type FileEntry,
  FileTree,
  filesystemOf,
  isDirectory,
  loadChecksums,
  MemoryDevice,
  openMembers,
} from '@bcachefs-ts/core/engine';
import { expect, test } from 'vitest';
import { sortedDirectories, sortedWalk } from '../../packages/files/src/sorted-walk.ts';
import { testImageContents } from '../support/images.ts';

const text = (path: Uint8Array) => Buffer.from(path).toString('latin1');

test('ls -R reads every directory once', async () => {
  await loadChecksums();
  const filesystem = filesystemOf(openMembers(testImageContents('basic').map(bytes => MemoryDevice.from(bytes))));
  const tree = FileTree.open(filesystem);
  const takes = (_: FileEntry) => true;
  const root = tree.root();
  const names = (directory: ReturnType<typeof tree.root>, path: Uint8Array) =>
    [...sortedWalk(tree, directory, path, { takes, depthMax: 1 })].map(item => text(item.path));

  const none = new Uint8Array(0);
  const plain = [{ path: '', names: names(root, none) }];
  for (const item of sortedWalk(tree, root, none, { takes })) {
    if (item.node === undefined || !isDirectory(item.node.inode) || item.isRepeated) continue;
    plain.push({ path: text(item.path), names: names(item.node, item.path) });
  }
  expect(plain.length).toBeGreaterThan(3);

  let reads = 0;
  const entries = tree.entries.bind(tree);
  tree.entries = (...words) => {
    reads++;
    return entries(...words);
  };
  const found = [...sortedDirectories(tree, root, none, takes)].map(({ path, items }) => ({
    path: text(path),
    names: items.map(item => text(item.path)),
  }));
  expect(found).toEqual(plain);
  expect(reads).toBe(plain.length);
});
