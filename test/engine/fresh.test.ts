// The reference's own initialisation, done again: the keys that a fresh filesystem is made of (pointers to nodes, inodes, names, subvolumes)
// are put into an empty one, and what the triggers make of them is compared with what the reference has left on disk.

import {
  addDeviceBuckets,
  BtreeView,
  bposText,
  btrees,
  bucketStateOf,
  decodeJournal,
  decodeJournalV2,
  type Filesystem,
  FilesystemTriggers,
  journalBuckets,
  type Key,
  loadChecksums,
  markDeviceMetadata,
  NO_OVERLAY,
  type Superblock,
  sectionPayload,
  Transaction,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFixture } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';

beforeAll(loadChecksums);

/** What users' keys are in; the other btrees follow from them. */
const PRIMARY = [
  'snapshots', 'subvolumes', 'snapshot_trees', 'inodes', 'dirents', 'xattrs', 'extents', 'quotas', 'reflink', 'stripes',
] as const; // biome-ignore format: one line of names

const DERIVED = [
  'freespace', 'need_discard', 'lru', 'bucket_gens', 'backpointers', 'subvolume_children', 'deleted_inodes', 'reconcile_work',
] as const; // biome-ignore format: one line of names

/** Everything that the primary keys of a filesystem make follow, over nothing. */
function derivedAnew(filesystem: Filesystem): Transaction {
  const { sb, set } = filesystem;
  const triggers = new FilesystemTriggers(sb, { journalSeq: 1, readClock: 1n, writeClock: 1n });
  const empty = (id: number) =>
    new BtreeView(id, undefined, { read: () => expect.fail('nothing to read') }, NO_OVERLAY);
  const tx = new Transaction(
    {
      sb,
      key: undefined,
      device: index => filesystem.device(index),
      btree: which => empty(typeof which === 'number' ? which : btrees.idOf(which)),
    },
    triggers,
  );
  for (const { sb: own } of set.members) addDeviceBuckets(triggers, tx, own.dev_idx);
  for (const { sb: own } of set.members) {
    markDeviceMetadata(triggers, tx, own.dev_idx, own.layout, journalBucketsOf(own));
  }
  for (const [btree, root] of filesystem.replay.roots) {
    if (root.key === undefined) continue;
    tx.runTriggers({ btree, level: root.level + 1, before: undefined, after: root.key });
    for (let level = root.level; level > 0; level--) {
      for (const after of filesystem.btree(btree).keys({ level }))
        tx.runTriggers({ btree, level, before: undefined, after });
    }
  }
  for (const name of PRIMARY) for (const key of filesystem.btree(name).keys()) tx.update(name, key);
  tx.settle();
  return tx;
}

function journalBucketsOf(sb: Superblock): readonly number[] {
  const v2 = sectionPayload(sb, 'journal_v2');
  if (v2 !== undefined) return journalBuckets(decodeJournalV2(v2));
  return decodeJournal(sectionPayload(sb, 'journal') ?? new Uint8Array(0));
}

const keyLine = ({ k, value }: Key): string =>
  `${bposText(k.p)} type ${k.type} size ${k.size} ${[...value].map(byte => byte.toString(16).padStart(2, '0')).join('')}`;

/** Alloc keys without the times of changes, which are the reference's own. */
function allocLine(key: Key): string {
  const { readTime, writeTime, journalSeq, ...state } = bucketStateOf(key);
  void [readTime, writeTime, journalSeq];
  return `${bposText(key.k.p)} ${Object.values(state).join()}`;
}

/** Counters without their versions; those of zero count as none. */
const counterLines = (keys: Iterable<Key>): string[] =>
  [...keys].filter(({ value }) => value.some(byte => byte !== 0)).map(keyLine);

describe.skipIf(whyNoFixtures !== undefined)('initialisation by the reference', () => {
  test.each(['fresh-113', 'fresh-113-3dev'])('%s', name => {
    const filesystem = openFixture(name);
    try {
      const tx = derivedAnew(filesystem);
      expect([...tx.btree('backpointers').keys()].length).toBeGreaterThan(5);
      expect([...tx.btree('alloc').keys()].map(allocLine)).toEqual(
        [...filesystem.btree('alloc').keys()].map(allocLine),
      );
      for (const btree of DERIVED) {
        expect([btree, ...[...tx.btree(btree).keys()].map(keyLine)]).toEqual([
          btree,
          ...[...filesystem.btree(btree).keys()].map(keyLine),
        ]);
      }
      expect(counterLines(tx.btree('accounting').keys())).toEqual(counterLines(filesystem.btree('accounting').keys()));
    } finally {
      filesystem.close();
    }
  });
});
