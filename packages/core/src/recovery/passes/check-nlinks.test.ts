// Link counts that are too high, too low and missing, of files and directories.

import { beforeAll, expect, test } from 'vitest';
import { openOn } from '../../../../../test/support/cut-states.ts';
import { treeText } from '../../../../../test/support/file-model.ts';
import { recovered, smallTree, tamper } from '../../../../../test/support/recovered.ts';
import { makeKey, type Transaction } from '../../btree/transaction.ts';
import { loadChecksums } from '../../checksum/checksum.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import { packInode } from '../../fs/inode-pack.ts';
import { isDirectory } from '../../ondisk/inode-unpack.ts';

beforeAll(loadChecksums);

/** @returns how many inodes were altered */
function setLinks(tx: Transaction, wanted: (isDir: boolean, nlink: number) => number | undefined): void {
  for (const key of [...tx.btree('inodes').keys()]) {
    const inode = inodeOfKey(key, undefined);
    if (inode === undefined) continue;
    const nlink = wanted(isDirectory(inode), inode.bi_nlink);
    if (nlink === undefined) continue;
    tx.update('inodes', makeKey(key.k.type, key.k.p, packInode({ ...inode, bi_nlink: nlink }), key.k));
  }
}

test('link counts become what the names say', () => {
  const devices = smallTree();
  const before = treeText(openOn(devices), '');
  tamper(devices, tx => setLinks(tx, (isDir, nlink) => (isDir ? nlink + 3 : nlink > 0 ? 7 : 1)));
  const { found, left, again, tree } = recovered(devices);
  expect(found).toMatchObject({ inode_dir_wrong_nlink: 5, inode_wrong_nlink: 3 });
  expect(left).toEqual([]);
  expect(again).toEqual([]);
  expect(tree).toEqual(before);
});

test('a file of several names that counts none', () => {
  const devices = smallTree();
  tamper(devices, tx => setLinks(tx, isDir => (isDir ? undefined : 0)));
  const { found, left } = recovered(devices);
  expect(found).toMatchObject({ inode_multiple_links_but_nlink_0: 1 });
  expect(left).toEqual([]);
});

test('what is only looked at stays as it is', () => {
  const devices = smallTree();
  tamper(devices, tx => setLinks(tx, isDir => (isDir ? undefined : 0)));
  const { found, left, again } = recovered(devices, { kind: 'no' });
  expect(found).toMatchObject({ inode_multiple_links_but_nlink_0: 1 });
  expect(left.filter(line => line.includes('nlink_0'))).toHaveLength(1);
  expect(again).toEqual(['inode_multiple_links_but_nlink_0']);
});
