import {
  FileEdit,
  FilesystemWriter,
  FileTree,
  loadChecksums,
  loadCompression,
  loadCompressors,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { dropTheirs } from './change-theirs.ts';
import { testImage } from './memory-images.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

test('a subvolume is dropped after a file was made that is not in the transaction yet', () => {
  const { devices } = testImage('basic');
  const random = seededRandom('drop');
  const writer = new FilesystemWriter(openMembers(devices), { random, now: () => 1_800_000_000n });
  const edit = new FileEdit(writer, { random, now: () => 1_800_000_000_000_000_000n });
  const countSubvolumes = () => FileTree.open(edit.tx).table.subvolumes().length;
  const before = countSubvolumes();
  for (let nr = 0; nr < 20; nr++)
    edit.files.create(edit.files.root(), new TextEncoder().encode(`new-${nr}`), { mode: 0o100644 });
  dropTheirs(edit, 'none of these');
  expect(countSubvolumes()).toBe(before - 1);
});
