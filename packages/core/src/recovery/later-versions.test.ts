// Damaged filesystems of the later versions that are written: what is wrong with them is found and repaired as at 1.13.

import { beforeAll, expect, test } from 'vitest';
import { sampleOf } from '../../../../test/support/long.ts';
import { recovered, smallTree } from '../../../../test/support/recovered.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { damageRecipes } from '../damage/recipes.ts';
import { DamageTarget } from '../damage/target.ts';
import { UsageError } from '../ondisk/errors.ts';
import { versionOf } from '../ondisk/versions.ts';
import { seededRandom } from '../util/random.ts';

beforeAll(loadChecksums);

const version = versionOf('inode_has_case_insensitive');

test('nothing is found where nothing is wrong', () => {
  expect(recovered(smallTree({ hasSubvolumes: true, version }))).toMatchObject({ found: {}, left: [], again: [] });
});

test.each(['bp-missing', 'acct-missing'])('%s is found as at 1.13', name => {
  const recipe = damageRecipes.find(one => one.name === name);
  const foundAt = (options: { readonly version?: number }) => {
    const devices = smallTree({ hasSubvolumes: true, ...options });
    recipe?.run(new DamageTarget(devices, { random: seededRandom('later'), now: () => 1_800_000_000n }));
    return Object.keys(recovered(devices).found);
  };
  expect(foundAt({ version })).toEqual(foundAt({}));
  expect(foundAt({ version })).not.toEqual([]);
});

// Any damage at all is random-damage.test.ts's.
const named = damageRecipes.filter(({ name }) => name !== 'random');
const FEW = ['alloc-gen', 'bp-missing', 'acct-missing', 'inode-nlink-high', 'leaf-zero-extents', 'snap-depth'];

test.each(sampleOf('damages at 1.28', named, FEW))('$name', recipe => {
  const devices = smallTree({ hasSubvolumes: true, version });
  try {
    recipe.run(new DamageTarget(devices, { random: seededRandom('later'), now: () => 1_800_000_000n }));
  } catch (thrown) {
    // There are no stripes, nor quotas.
    if (thrown instanceof UsageError && thrown.code === 'nothing_to_damage') return;
    throw thrown;
  }
  const { left, again } = recovered(devices);
  expect({ left, again }).toEqual({ left: [], again: [] });
});
