// The key that a snapshot sees at one position: looked up, and found by the walk over all that it sees.

import { filesystemOf, loadChecksums, MemoryDevice, openMembers, SnapshotTable, visibleKeyAt, visibleKeys } from '@bcachefs-ts/core/engine'; // biome-ignore format: one line of names
import { expect, test } from 'vitest';
import { testImageContents } from '../support/images.ts';

test('lookups see what walks see, in every snapshot', async () => {
  await loadChecksums();
  const filesystem = filesystemOf(openMembers(testImageContents('basic').map(bytes => MemoryDevice.from(bytes))));
  const table = SnapshotTable.read(filesystem);
  expect(table.nodes().length).toBeGreaterThan(1);
  let hidden = 0;
  for (const name of ['inodes', 'dirents', 'xattrs'] as const) {
    const btree = filesystem.btree(name);
    const positions = [...btree.keys()].map(({ k }) => k.p.slice());
    expect(positions.length).toBeGreaterThan(0);
    for (const { id } of table.nodes()) {
      for (const pos of positions) {
        const walked = visibleKeys(btree, table, id, { from: pos, to: pos }).next().value;
        if (walked === undefined) hidden++;
        expect(visibleKeyAt(btree, table, id, pos)).toEqual(walked);
      }
    }
  }
  // Some snapshots lack what others have: both answers were seen.
  expect(hidden).toBeGreaterThan(0);
});
