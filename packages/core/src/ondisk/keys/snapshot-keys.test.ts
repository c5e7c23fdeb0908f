// Subvolumes, snapshots, snapshot trees and quotas: what is wrong with a key, and the texts that no real key has.

import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../../util/print-buffer.ts';
import type { Key } from '../bkey.ts';
import { type Bpos, makeBpos, SPOS_MAX } from '../bpos.ts';
import { viewOf } from '../layout.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import { BchSnapshot, snapshot, snapshotState } from './snapshot.ts';
import { BchSubvolume, subvolume, subvolumeState } from './subvolume.ts';

const keyAt = (type: KeyTypeName, value: Uint8Array, p: Bpos): Key => {
  const k = { format: 1, type: keyTypes.idOf(type), pad: 0, bversion_lo: 0n, bversion_hi: 0, size: 0, p };
  return { k: { ...k, u64s: 5 + value.length / 8 }, value };
};

const textOf = (key: Key, style: '1.36' | '1.39' = '1.36') => {
  const out = new PrintBuffer();
  keyText(out, key, { device: () => undefined, label: group => `${group}`, style });
  return out.toString().replace(/^.*? {2}: /, '');
};

const errorsOf = ({ k, value }: Key) => {
  const kind = keyKind(k.type)!;
  return kind.validate(kind.decode(value), k).map(problem => problem.error);
};

const node = {
  flags: 0,
  parent: 900,
  children: [500, 400],
  subvol: 0,
  tree: 1,
  depth: 2,
  skip: [900, 950, 1000],
  btime: new Uint8Array(16),
  state: 0,
  pad: 0,
};

const LIVE = 0x757c47a2;
const DELETED = 0x7cd4a225;

const snapshotKey = (change: Partial<typeof node> = {}, size = 64, p = makeBpos(0n, 800n, 0)) => {
  const value = new Uint8Array(BchSnapshot.size);
  BchSnapshot.put(viewOf(value), 0, { ...node, ...change });
  return keyAt('snapshot', value.subarray(0, size), p);
};

describe('snapshot', () => {
  test.each([
    [{}, []],
    [{ parent: 800 }, ['snapshot_parent_bad']],
    [{ parent: 0 }, []],
    [{ children: [400, 500] }, ['snapshot_children_not_normalized']],
    [{ children: [500, 500] }, ['snapshot_child_duplicate']],
    [{ children: [0, 0] }, []],
    [{ children: [800, 1] }, ['snapshot_child_bad']],
    [{ skip: [950, 900, 1000] }, ['snapshot_skiplist_not_normalized']],
    [{ skip: [0, 0, 899] }, ['snapshot_skiplist_bad']],
    [{ pad: 1 }, ['snapshot_pad_nonzero']],
  ])('%j: %j', (change, expected) => {
    expect(errorsOf(snapshotKey(change))).toEqual(expected);
  });

  test('positions are 0:1 to 0:4294967295', () => {
    expect(errorsOf(snapshotKey({ children: [0, 0] }, 64, makeBpos(1n, 800n, 0)))).toEqual(['snapshot_pos_bad']);
    expect(errorsOf(snapshotKey({ parent: 0 }, 64, makeBpos(0n, 2n ** 32n + 800n, 0)))).toEqual(['snapshot_pos_bad']);
    // Not even 0 is a child of node 0.
    expect(errorsOf(snapshotKey({ children: [0, 0] }, 64, makeBpos(0n, 0n, 0)))).toEqual([
      'snapshot_pos_bad',
      'snapshot_child_bad',
      'snapshot_child_bad',
    ]);
  });

  test('keys of before 1.1, without depth and skiplist', () => {
    const old = snapshotKey({ skip: [3, 2, 1], pad: 1 }, 24);
    expect(errorsOf(old)).toEqual([]);
    expect(textOf(old)).toBe('parent        900 children        500        400 subvol 0 tree 1 depth 0 skiplist 0 0 0');
    expect(snapshot.encode(snapshot.decode(old.value))).toEqual(old.value);
    expect(snapshotState(snapshot.decode(old.value))).toBe('live');
  });

  test('flags until 1.38', () => {
    expect(textOf(snapshotKey({ flags: 15 }))).toMatch(/^subvol will_delete deleted no_keys parent /);
    expect([0, 1, 2, 4, 8, 9, 12].map(flags => snapshotState(snapshot.decode(snapshotKey({ flags }).value)))).toEqual([
      'live',
      'will_delete',
      'live',
      'deleted',
      'no_keys',
      'no_keys',
      'deleted',
    ]);
    expect(keyJson(snapshotKey({ flags: 9 }))).toMatchObject({
      value: { parent: 900, children: [500, 400], flags: ['will_delete', 'no_keys'], state: 'no_keys' },
    });
  });

  test('a state since 1.39, and where the flags do not say the same', () => {
    const tail = (change: Partial<typeof node>) =>
      textOf(snapshotKey(change), '1.39').replace(/^.*skiplist \d+ \d+ \d+/, '');
    expect(tail({ state: LIVE })).toBe(' live');
    expect(tail({ state: LIVE, subvol: 1, flags: 2 })).toBe(' live');
    expect(tail({ state: LIVE, subvol: 1 })).toBe(' live subvol_obsolete=0');
    expect(tail({ state: DELETED, flags: 4 })).toBe(' deleted');
    expect(tail({ state: DELETED, flags: 3 })).toBe(
      ' deleted will_delete_obsolete=1 subvol_obsolete=1 deleted_obsolete=0',
    );
    expect(tail({ state: 0x3316a8d2, flags: 1 })).toBe(' will_delete');
    expect(tail({ state: 0x372b5a01, flags: 8 })).toBe(' no_keys');
    expect(tail({ flags: 2 })).toBe(' live (not upgraded, flags 0x2:subvol)');
    expect(tail({ state: 5, flags: 6 })).toBe(' state 0x5 invalid (flags 0x6:subvol,deleted)');
    expect(keyJson(snapshotKey({ state: 5 }))).toMatchObject({ value: { state: 'invalid(0x5)' } });
  });
});

const volume = {
  flags: 0,
  snapshot: 800,
  inode: 4096n,
  creation_parent: 0,
  fs_path_parent: 1,
  otime: new Uint8Array(16),
  state: 0,
  pad: 0,
};

const subvolumeKey = (change: Partial<typeof volume> = {}, size = 48, p = makeBpos(0n, 2n, 0)) => {
  const value = new Uint8Array(BchSubvolume.size);
  BchSubvolume.put(viewOf(value), 0, { ...volume, ...change });
  return keyAt('subvolume', value.subarray(0, size), p);
};

describe('subvolume', () => {
  test('what is wrong with it', () => {
    expect(errorsOf(subvolumeKey())).toEqual([]);
    expect(errorsOf(subvolumeKey({ snapshot: 0, inode: 0n, pad: 1 }))).toEqual([
      'subvol_snapshot_bad',
      'subvol_inode_bad',
      'subvol_pad_nonzero',
    ]);
    for (const pos of [makeBpos(0n, 0n, 0), makeBpos(0n, 2n ** 31n, 0), makeBpos(1n, 2n, 0), SPOS_MAX])
      expect(errorsOf(subvolumeKey({}, 48, pos))).toEqual(['subvol_pos_bad']);
  });

  test('its text, from the oldest keys on', () => {
    expect(textOf(subvolumeKey({}, 16))).toBe('root 4096 snapshot id 800');
    expect(textOf(subvolumeKey({ flags: 7 }, 40))).toBe(
      'root 4096 snapshot id 800 creation_parent 0 fs_parent 1 ro snapshot unlinked',
    );
    const tail = (change: Partial<typeof volume>) => textOf(subvolumeKey(change), '1.39').replace(/^.*fs_parent 1/, '');
    expect(tail({ state: 0x4ad5447e })).toBe(' live');
    expect(tail({ state: 0x4ad5447e, flags: 4 })).toBe(' live unlinked_obsolete=1');
    expect(tail({ state: 0x2d358e8f, flags: 4 })).toBe(' unlinked');
    expect(tail({ state: 0x3c6b2d4c, flags: 4 })).toBe(' deleted');
    expect(tail({ flags: 4 })).toBe(' unlinked (not upgraded, unlinked_obsolete=1)');
    expect(tail({ state: 9 })).toBe(' state 0x9 invalid (unlinked_obsolete=0)');
    expect(subvolumeState(subvolume.decode(subvolumeKey({ state: 9 }).value))).toBeUndefined();
    const old = subvolumeKey({ flags: 3 }, 16);
    expect(subvolume.encode(subvolume.decode(old.value))).toEqual(old.value);
    expect(keyJson(subvolumeKey({ flags: 5 }))).toMatchObject({
      value: { root: 4096n, snapshot: 800, flags: ['ro', 'unlinked'], state: 'unlinked' },
    });
  });
});

describe('snapshot_tree and quota', () => {
  const value = (...bytes: readonly number[]) => Uint8Array.from({ length: 32 }, (_, i) => bytes[i] ?? 0);

  test('snapshot_tree', () => {
    const tree = value(0, 0, 0, 0, 255, 255, 255, 255).subarray(0, 8);
    expect(textOf(keyAt('snapshot_tree', tree, makeBpos(0n, 3n, 0)))).toBe('subvol 0 root snapshot 4294967295');
    expect(errorsOf(keyAt('snapshot_tree', tree, makeBpos(0n, 3n, 0)))).toEqual([]);
    expect(errorsOf(keyAt('snapshot_tree', tree, makeBpos(0n, 0n, 0)))).toEqual(['snapshot_tree_pos_bad']);
    expect(errorsOf(keyAt('snapshot_tree', tree, SPOS_MAX))).toEqual(['snapshot_tree_pos_bad']);
  });

  test('quota', () => {
    const limits = value(1, 0, 0, 0, 0, 0, 0, 0, 2);
    expect(errorsOf(keyAt('quota', limits, makeBpos(2n, 3n, 0)))).toEqual([]);
    expect(errorsOf(keyAt('quota', limits, makeBpos(3n, 3n, 0)))).toEqual(['quota_type_invalid']);
    expect(keyJson(keyAt('quota', limits, makeBpos(2n, 3n, 0)))).toMatchObject({
      value: { quota_type: 'project', space: { hardlimit: 1n, softlimit: 2n }, inodes: { hardlimit: 0n } },
    });
    expect(textOf(keyAt('quota', limits.subarray(0, 24), makeBpos(2n, 3n, 0)))).toBe(
      '(damaged: 24 bytes, expected 32 or more)',
    );
  });
});
