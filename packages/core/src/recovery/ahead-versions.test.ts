// A key of every btree and level has a version that was not given yet. Linux 6.12 asks it of all but the counters, and does not call the
// filesystem clean until it is so.

import { beforeAll, expect, test } from 'vitest';
import { openOn } from '../../../../test/support/cut-states.ts';
import { damageBase } from '../../../../test/support/random-damage.ts';
import { recovered, smallTree } from '../../../../test/support/recovered.ts';
import { makeKey } from '../btree/transaction.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { loadCompression } from '../compress/decompress.ts';
import { DamageTarget } from '../damage/target.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { btrees } from '../ondisk/btrees.ts';
import { seededRandom } from '../util/random.ts';
import { AheadVersions } from './ahead-versions.ts';
import { surveyBtree } from './topology.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const AHEAD = 0x00ff_0000_0000_0000n;
const ACCOUNTING = btrees.idOf('accounting');
const OF_DATA = [btrees.idOf('extents'), btrees.idOf('reflink')];

const cloneOf = (name: 'basic' | 'deep') => damageBase(name).devices.map(device => device.clone());

/** The first key of each btree gets a version. @returns the btrees that have one: of those that list space, the commit may have written it again */
function giveVersions(devices: readonly BlockDevice[], isWanted: (btree: number) => boolean): readonly number[] {
  new DamageTarget(devices, { random: seededRandom('ahead'), now: () => 1_800_000_000n }).commit(tx => {
    for (const btree of openOn(devices).replay.roots.keys()) {
      const [key] = isWanted(btree) ? tx.btree(btree).keys() : [];
      if (key === undefined) continue;
      tx.store(btree, makeKey(key.k.type, key.k.p.slice(), key.value.slice(), { ...key.k, bversion_lo: AHEAD }));
    }
  });
  return aheadIn(devices);
}

/** Btrees of which a leaf has such a key. */
function aheadIn(devices: readonly BlockDevice[]): readonly number[] {
  const filesystem = openOn(devices);
  return [...filesystem.replay.roots.keys()].filter(
    btree => btree !== ACCOUNTING && [...filesystem.btree(btree).keys()].some(({ k }) => k.bversion_lo >= AHEAD),
  );
}

test('keys that are not of data have none afterwards', () => {
  const devices = cloneOf('basic');
  const { keyVersion } = openOn(devices).replay.clocks;
  const changed = giveVersions(devices, btree => btree !== ACCOUNTING && !OF_DATA.includes(btree));
  expect(changed.length).toBeGreaterThan(8);
  const { found, left, again } = recovered(devices);
  expect(found).toEqual({ bkey_version_in_future: changed.length });
  expect({ left, again }).toEqual({ left: [], again: [] });
  expect(openOn(devices).replay.clocks.keyVersion).toBe(keyVersion);
  expect(aheadIn(devices)).toEqual([]);
});

test('of data the recorded version is raised, of what files share too', () => {
  for (const data of OF_DATA) {
    const devices = cloneOf('basic');
    expect(giveVersions(devices, btree => btree === data)).toEqual([data]);
    const { found, left, again } = recovered(devices);
    expect(found).toEqual({ bkey_version_in_future: 1 });
    expect({ left, again }).toEqual({ left: [], again: [] });
    expect(openOn(devices).replay.clocks.keyVersion).toBe(AHEAD);
  }
});

test('who does not want it keeps the keys as they are', () => {
  const devices = smallTree();
  giveVersions(devices, btree => btree === btrees.idOf('inodes'));
  const before = devices.map(device => device.clone());
  expect(recovered(devices, { kind: 'no' }).found).toEqual({ bkey_version_in_future: 1 });
  expect(devices).toEqual(before);
});

test('pointers to nodes are asked, of data too', () => {
  const filesystem = openOn(damageBase('deep').devices);
  const extents = btrees.idOf('extents');
  const pointers = [...filesystem.btree(extents).keys({ level: 1 })].map(({ k, value }) => ({
    key: { k: { ...k, p: k.p.slice(), bversion_lo: AHEAD }, value: value.slice() },
    seq: 1,
    deltas: undefined,
  }));
  expect(pointers.length).toBeGreaterThan(1);
  const at = (level: number, btree = extents) => {
    const overlay = {
      ...filesystem.replay.overlay,
      keysOf: (of: number, on: number) => (of === btree && on === level ? pointers : []),
    };
    const versions = new AheadVersions(filesystem.at({ ...filesystem.replay, overlay }), btree);
    versions.visitJournal();
    return versions.finding()?.where.level;
  };
  expect(at(1)).toBe(1);
  expect(at(0)).toBeUndefined();
  expect(at(1, ACCOUNTING)).toBeUndefined();
  expect(surveyBtree(filesystem, extents).aheadVersions).toBeUndefined();
});
