// All nodes of extents are gone for good: what was in a file reads as an error, not as zeroes without a word. Nor is that forgotten when the
// repair is cut off, and the next one finds the empty nodes that it had written.

import { beforeAll, expect, test } from 'vitest';
import { openOn } from '../../../../test/support/cut-states.ts';
import { treeText } from '../../../../test/support/file-model.ts';
import { PowerCuts } from '../../../../test/support/power-cuts.ts';
import { repair } from '../../../../test/support/random-damage.ts';
import { recovered, smallTree } from '../../../../test/support/recovered.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { damageRecipe } from '../damage/recipes.ts';
import { DamageTarget } from '../damage/target.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { seededRandom } from '../util/random.ts';

beforeAll(loadChecksums);

// A file may have several names, and be seen in several subvolumes.
test.each([
  [false, 3],
  [true, 5],
])('files whose extents are lost cannot be read (snapshots: %s)', (hasSubvolumes, fileCount) => {
  const devices = smallTree({ hasSubvolumes });
  const names = treeText(openOn(devices), '')
    .filter(line => line.includes(' file '))
    .map(line => line.split(' file ')[0]!);
  const target = new DamageTarget(devices, { random: seededRandom('lost'), now: () => 1_800_000_000n });
  damageRecipe('leaf-zero-extents').run(target);
  const { found, left, again } = recovered(devices);
  expect(found.btree_root_unreadable_and_scan_found_nothing).toBe(1);
  expect(found.inode_i_sectors_wrong).toBe(fileCount);
  expect({ left, again }).toEqual({ left: [], again: [] });
  const filesystem = openOn(devices);
  for (const name of names) expect(() => treeText(filesystem, name), name).toThrow(CorruptError);
});

test('a repair that is cut off does not hide what is lost from the next one', () => {
  const devices = smallTree();
  const names = treeText(openOn(devices), '')
    .filter(line => line.includes(' file '))
    .map(line => line.split(' file ')[0]!);
  const target = new DamageTarget(devices, { random: seededRandom('lost'), now: () => 1_800_000_000n });
  damageRecipe('leaf-zero-extents').run(target);
  const cuts = new PowerCuts(devices);
  repair(cuts.devices);
  for (const events of [1, Math.floor(cuts.count / 2), cuts.count - 1]) {
    const left = cuts.after({ events });
    expect(repair(left).left).toEqual([]);
    const filesystem = openOn(left);
    for (const name of names)
      expect(() => treeText(filesystem, name), `${name} after ${events} writes`).toThrow(CorruptError);
  }
});
