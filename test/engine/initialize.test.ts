// What a filesystem holds at first, as the reference makes it: the keys of a fresh filesystem of its own, times, seeds and journal numbers
// aside.

import {
  BtreeView,
  bposText,
  btrees,
  type FilesystemSource,
  FileTree,
  initializeFiles,
  type Key,
  loadChecksums,
  NO_OVERLAY,
  NO_TRIGGERS,
  seededRandom,
  Transaction,
  unpackInodeV3,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFixture } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';

if (whyNoFixtures !== undefined) console.warn(`initialize skipped: ${whyNoFixtures}`);
beforeAll(loadChecksums);

const plain = ({ k, value }: Key): string =>
  `${bposText(k.p)} ${k.type} ${k.size} ${Buffer.from(value).toString('hex')}`;

/** An inode without what differs each time. */
function inodeText({ k, value }: Key): string {
  const { bi_journal_seq, bi_hash_seed, bi_dir_offset, ...rest } = unpackInodeV3(value);
  const times = [rest.bi_atime, rest.bi_ctime, rest.bi_mtime, rest.bi_otime].map(time => time !== 0n);
  const fixed = { ...rest, bi_atime: 0n, bi_ctime: 0n, bi_mtime: 0n, bi_otime: 0n };
  const seen = JSON.stringify(fixed, (_, field) => (typeof field === 'bigint' ? `${field}` : field));
  return `${bposText(k.p)} ${k.type} ${seen} ${times} ${bi_journal_seq > 0n} ${bi_hash_seed !== 0n} ${bi_dir_offset !== 0n}`;
}

/** A dirent without the hash that it stands at. */
const direntText = ({ k, value }: Key): string => `${k.p[4]}:${k.p[3]}:${k.p[0]} ${Buffer.from(value).toString('hex')}`;

const textOf = (source: Pick<FilesystemSource, 'btree'>) => ({
  trees: [...source.btree('snapshot_trees').keys()].map(plain),
  snapshots: [...source.btree('snapshots').keys()].map(plain),
  subvolumes: [...source.btree('subvolumes').keys()].map(plain),
  inodes: [...source.btree('inodes').keys()].map(inodeText),
  dirents: [...source.btree('dirents').keys()].map(direntText),
});

describe.skipIf(whyNoFixtures !== undefined)('initializeFiles', () => {
  test.each(['fresh-113', 'fresh-113-3dev'])('as the reference: %s', name => {
    const filesystem = openFixture(name);
    try {
      const empty = (id: number) =>
        new BtreeView(id, undefined, { read: () => expect.fail('nothing to read') }, NO_OVERLAY);
      const base: FilesystemSource = {
        sb: filesystem.sb,
        key: undefined,
        device: () => undefined,
        btree: which => empty(typeof which === 'number' ? which : btrees.idOf(which)),
      };
      const tx = new Transaction(base, NO_TRIGGERS);
      initializeFiles(tx, { random: seededRandom('first'), now: () => 1_700_000_000_000_000_000n });
      const expected = textOf(filesystem);
      const made = textOf(tx);
      // The trigger of inodes sets the number of the journal entry.
      expect({
        ...made,
        inodes: made.inodes.map(text => text.replace(/ false true (true|false)$/, ' true true $1')),
      }).toEqual(expected);
      expect([...FileTree.open(tx).walk()].map(({ path }) => `${Buffer.from(path)}`)).toEqual(['', 'lost+found']);
    } finally {
      filesystem.close();
    }
  });
});
