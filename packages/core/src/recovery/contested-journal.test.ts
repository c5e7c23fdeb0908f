// Superblocks that give the journal buckets which hold something else: nothing is overwritten, and the list is what is repaired.

import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { openOn } from '../../../../test/support/cut-states.ts';
import { treeText } from '../../../../test/support/file-model.ts';
import { recovered, smallTree, tamper } from '../../../../test/support/recovered.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { deletedKey } from '../btree/transaction.ts';
import { FileEdit } from '../change/file-edit.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { readBytes } from '../device/block-device.ts';
import type { MemoryDevice } from '../device/memory-device.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { encodeJournalV2, journalRanges } from '../ondisk/sb-fields/journal.ts';
import { withSection } from '../ondisk/superblock.ts';
import { openMembers } from '../superblock/member-set.ts';
import { writeSuperblocks } from '../superblock/write.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();

/** Buckets whose alloc key says a type. */
function bucketsOf(devices: readonly MemoryDevice[], type: number): readonly number[] {
  const keys = [...openOn(devices).btree('alloc').keys()];
  return keys.filter(key => bucketStateOf(key).dataType === type).map(({ k }) => bposOffsetNumber(k.p));
}

function giveToJournal(devices: readonly MemoryDevice[], buckets: readonly number[]): void {
  const payload = encodeJournalV2(journalRanges(buckets));
  writeSuperblocks(
    openMembers(devices).members.map(({ device, sb }) => ({ device, sb: withSection(sb, 'journal_v2', payload) })),
  );
}

const imageOf = (devices: readonly MemoryDevice[]) => devices.map(one => Buffer.from(readBytes(one, 0, one.sizeBytes)));

test.each([
  ['all of them', TYPE.user, 0],
  ['nodes, beside some that are its own', TYPE.btree, 4],
])('a journal in the buckets of others is moved back: %s', (_, type, ownCount) => {
  const devices = smallTree();
  const before = treeText(openOn(devices), '');
  const own = bucketsOf(devices, TYPE.journal);
  giveToJournal(devices, [...own.slice(0, ownCount), ...bucketsOf(devices, type).slice(0, 8)]);
  const { found, left, again, tree, dropped } = recovered(devices);
  expect(found).toEqual({ invalid_sb_journal: 1 });
  expect({ left, again, dropped }).toEqual({ left: [], again: [], dropped: [] });
  expect(tree).toEqual(before);
});

test('without another list nothing is repaired, and nothing overwritten', () => {
  const devices = smallTree();
  const others = bucketsOf(devices, TYPE.user);
  tamper(devices, tx => {
    for (const { k, value } of [...tx.btree('alloc').keys()])
      if (bucketStateOf({ k, value }).dataType === TYPE.journal) tx.store('alloc', deletedKey(k.p));
  });
  giveToJournal(devices, others.slice(0, 8));
  const before = imageOf(devices);
  expect(recovered(devices).found).toEqual({ invalid_sb_journal: 1 });
  expect(imageOf(devices).every((image, nr) => image.equals(before[nr]!))).toBe(true);
});

test('a change is refused before a byte is written', () => {
  const devices = smallTree();
  giveToJournal(devices, bucketsOf(devices, TYPE.user).slice(0, 8));
  const before = imageOf(devices);
  const { writer, options } = writerOn(devices, undefined, 3);
  const edit = new FileEdit(writer, options);
  edit.files.create(edit.files.root(), text.encode('new'), { mode: 0o040755 });
  expect(() => edit.commit()).toThrow(/journal: bucket \d+ is not the journal's alone, user data is in it: run fsck/);
  expect(imageOf(devices).every((image, nr) => image.equals(before[nr]!))).toBe(true);
});
