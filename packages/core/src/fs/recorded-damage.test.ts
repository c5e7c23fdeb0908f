import { expect, test } from 'vitest';
import { handMadeSource, key } from '../../../../test/support/hand-made-btrees.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { fsckErrors } from '../ondisk/fsck-errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { openMembers } from '../superblock/member-set.ts';
import { RecordedDamage } from './recorded-damage.ts';

const [ROOT, LEFT, RIGHT] = [0xffff_ffff, 0xffff_fffe, 0xffff_fffd] as const;
const LOST = fsckErrors.idOf('extent_ptrs_all_invalid');

function node(id: number, parent: number, children: readonly [number, number]) {
  const value = new Uint8Array(64);
  const view = viewOf(value);
  view.setUint32(4, parent, true);
  view.setUint32(8, children[0], true);
  view.setUint32(12, children[1], true);
  view.setUint32(20, 1, true);
  return key('snapshot', makeBpos(0n, BigInt(id), 0), value);
}

test('a snapshot has what its ancestors recorded, until it is cleared there', () => {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  const { sb } = openMembers(devices).newest;
  /** id: 16 bits, count: 32, the time of the last one: 40, that of the first one: 40. */
  const recorded = (first: number) => {
    const value = new Uint8Array(16);
    viewOf(value).setBigUint64(0, BigInt(LOST) | (3n << 16n) | (20n << 48n), true);
    viewOf(value).setBigUint64(8, BigInt(first) << 24n, true);
    return value;
  };
  const source = handMadeSource(sb, {
    snapshots: [node(ROOT, 0, [LEFT, RIGHT]), node(LEFT, ROOT, [0, 0]), node(RIGHT, ROOT, [0, 0])],
    damage: [
      key('damage', makeBpos(0n, 4100n, ROOT), recorded(10)),
      key('whiteout', makeBpos(0n, 4100n, RIGHT)),
      key('damage', makeBpos(0n, 4101n, LEFT), recorded(11)),
    ],
  });
  const damage = new RecordedDamage(source, SnapshotTable.read(source));
  expect(damage.isEmpty).toBe(false);
  expect(damage.of({ inum: 4100n, snapshot: LEFT })).toEqual([{ id: LOST, count: 3, first: 10, last: 20n }]);
  expect(damage.of({ inum: 4100n, snapshot: RIGHT })).toEqual([]);
  expect(damage.of({ inum: 4101n, snapshot: LEFT })).toMatchObject([{ first: 11 }]);
  expect(damage.of({ inum: 4101n, snapshot: ROOT })).toEqual([]);
  expect(new RecordedDamage(handMadeSource(sb, {}), SnapshotTable.read(source)).isEmpty).toBe(true);
});
