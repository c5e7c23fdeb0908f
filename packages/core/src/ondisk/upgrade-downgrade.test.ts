import { expect, test } from 'vitest';
import { fsckErrors } from './fsck-errors.ts';
import { fsckPassesOf, passMask } from './passes.ts';
import { downgradeEntries, upgradeNeeds, upgradeTable } from './upgrade-downgrade.ts';
import { versionNumber, versionOf } from './versions.ts';

test('versions rise in the table', () => {
  const crossed = upgradeTable.map(change => change.version);
  expect(crossed).toEqual(crossed.toSorted((a, b) => a - b));
});

test('upgrading from 1.3 to 1.13', () => {
  const { passes, errors } = upgradeNeeds(versionOf('rebalance_work'), versionOf('inode_has_child_snapshots'));
  expect(passes).toBe(passMask(['check_dirents', 'check_subvols', 'check_allocations', 'check_inodes']));
  expect(errors).toContain(fsckErrors.idOf('inode_has_child_snapshots_wrong'));
  expect(errors).not.toContain(fsckErrors.idOf('snapshot_bad_depth'));
  expect(new Set(errors).size).toBe(errors.length);
});

test('upgrading from before backpointers checks everything', () => {
  const { passes } = upgradeNeeds(versionOf('new_data_types'), versionOf('inode_has_child_snapshots'));
  expect(passes & fsckPassesOf('1.13')).toBe(fsckPassesOf('1.13'));
  expect(upgradeNeeds(1037, 1037)).toEqual({ passes: 0n, errors: [] });
});

test('the downgrade section of a 1.13 filesystem has three entries, with stripes four', () => {
  const shape = downgradeEntries(1037).map(entry => [versionNumber(entry.version), entry.passes, entry.errors.length]);
  const allocations = passMask(['check_allocations']);
  expect(shape).toEqual([
    ['1.9', allocations, 12],
    ['1.10', allocations, 13],
    ['1.12', allocations, 1],
  ]);
  const withStripes = downgradeEntries(1037, true);
  expect(withStripes.map(entry => versionNumber(entry.version))).toEqual(['1.8', '1.9', '1.10', '1.12']);
  expect(withStripes[0]?.errors).toEqual([fsckErrors.idOf('alloc_key_dirty_sectors_wrong')]);
  expect(downgradeEntries(29)).toEqual([]);
});
