// What a superblock says of its journal and of its roots, and is not so.

import { beforeAll, expect, test } from 'vitest';
import { openOn } from '../../../../test/support/cut-states.ts';
import { treeText } from '../../../../test/support/file-model.ts';
import { formattedImage } from '../../../../test/support/memory-images.ts';
import { recovered, smallTree, tamper } from '../../../../test/support/recovered.ts';
import { deletedKey, makeKey } from '../btree/transaction.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import type { MemoryDevice } from '../device/memory-device.ts';
import { readJournal } from '../journal/journal.ts';
import type { JournalOverlay } from '../journal/overlay.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type Clean, decodeClean, encodeClean } from '../ondisk/sb-fields/clean.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { findingText } from '../report/finding.ts';
import { openMembers } from '../superblock/member-set.ts';
import { writeSuperblocks } from '../superblock/write.ts';
import { unmarkedEntries } from './journal-claims.ts';
import { surveyBtree } from './topology.ts';

beforeAll(loadChecksums);

function editSuperblocks(devices: readonly MemoryDevice[], edit: (sb: Superblock) => Superblock): void {
  writeSuperblocks(openMembers(devices).members.map(({ device, sb }) => ({ device, sb: edit(sb) })));
}

const editClean = (devices: readonly MemoryDevice[], edit: (clean: Clean) => Clean) =>
  editSuperblocks(devices, sb =>
    withSection(sb, 'clean', encodeClean(edit(decodeClean(sectionPayload(sb, 'clean')!)))),
  );

/** Everything is kept, the error is found, and the next check finds nothing. */
function expectRepaired(devices: readonly MemoryDevice[], error: string, before: readonly string[]): void {
  const { found, again, tree } = recovered(devices);
  expect(Object.keys(found)).toContain(error);
  expect(again).toEqual([]);
  expect(tree).toEqual(before);
}

test('a journal that goes on after the clean shutdown of the superblock', () => {
  const devices = smallTree();
  const before = treeText(openOn(devices), '');
  editClean(devices, clean => ({ ...clean, journal_seq: clean.journal_seq - 1 }));
  expectRepaired(devices, 'sb_clean_journal_seq_mismatch', before);
});

test('a root that ends too early', () => {
  const devices = smallTree();
  const before = treeText(openOn(devices), '');
  const root = jsetEntryTypes.idOf('btree_root');
  editClean(devices, clean => ({
    ...clean,
    entries: clean.entries.map(entry => {
      if (entry.type !== root || entry.btree_id !== btrees.idOf('xattrs')) return entry;
      const payload = entry.payload.slice();
      // The snapshot of its position, which is the lowest word.
      viewOf(payload).setUint32(20, 0, true);
      return { ...entry, payload };
    }),
  }));
  expectRepaired(devices, 'btree_root_bad_max_key', before);
});

test('entries on members that are not listed for it', () => {
  const devices = smallTree();
  editSuperblocks(devices, sb => withSection(sb, 'replicas_v0', new Uint8Array(8)));
  const { set, replay, key } = openOn(devices);
  const reading = readJournal(set, key);
  const entries = reading.entries.map(entry => ({ ...entry, use: 'replay' as const }));
  expect(entries.length).toBeGreaterThan(1);
  const found = unmarkedEntries(new Filesystem(set, { ...replay, journal: { ...reading, entries } }, key));
  expect(found.map(findingText)).toEqual([
    expect.stringMatching(
      /^journal entry \d+: journal_entry_replicas_not_marked: entry \d+ is in journal: 1\/1 \[0\], which/,
    ),
  ]);
});

test.each([
  [2, 'btree_node_topology_empty_interior_node'],
  [1, 'btree_node_topology_interior_node_empty'],
])('a btree of three levels without nodes at level %d and below it', (level, error) => {
  const quotas = btrees.idOf('quotas');
  const { set, replay, key } = deepBtree(quotas);
  const { overlay } = replay;
  const gone = [...new Filesystem(set, replay, key).btree(quotas).keys({ level })].map(({ k }) =>
    deletedKey(k.p.slice()),
  );
  const keysOf: JournalOverlay['keysOf'] = (btree, at) =>
    btree === quotas && at === level
      ? gone.map(one => ({ key: one, seq: 1, deltas: undefined }))
      : overlay.keysOf(btree, at);
  const altered = new Filesystem(set, { ...replay, overlay: { ...overlay, keysOf } }, key);
  expect(surveyBtree(altered, quotas).findings.map(found => found.error)).toContain(error);
});

/** A filesystem with small nodes, and so many keys in a btree that it has two levels of interior nodes. */
function deepBtree(btree: number): Filesystem {
  const { devices } = formattedImage({ options: { btree_node_size: '8k' } });
  const quota = keyTypes.idOf('quota');
  for (let part = 0; part < 6; part++) {
    tamper(devices, tx => {
      for (let id = 0; id < 700; id++)
        tx.store(btree, makeKey(quota, makeBpos(0n, BigInt(1 + part * 700 + id), 0), new Uint8Array(240)));
    });
  }
  const filesystem = openOn(devices);
  expect(filesystem.replay.roots.get(btree)?.level).toBe(2);
  return filesystem;
}
