// Reading nodes: what is merged from their bsets, and every way in which a replica can be wrong, with the exact error.

import { describe, expect, test } from 'vitest';
import {
  BLOCK_BYTES,
  buildNode,
  type NodeSpec,
  nodePtr,
  type PtrSpec,
  TEST_SEQ,
  testKey,
} from '../../../../test/support/nodes.ts';
import { sealVstruct } from '../checksum/checksum.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText, makeBpos, POS_MIN } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { versionOf } from '../ondisk/versions.ts';
import type { BtreeNode } from './node.ts';
import { NodeReader, type NodeSource } from './node-read.ts';

const MAGIC = 0xfeed_beefn;
const LRU = btrees.idOf('lru'); // keys of type set, without values and snapshots
const EXTENTS = btrees.idOf('extents');
const NODE_BYTES = 8 * BLOCK_BYTES;
const SECTOR = 8;

const base: NodeSource = {
  magic: MAGIC,
  nodeSectors: NODE_BYTES / 512,
  blockSectors: 1,
  version: versionOf('inode_has_child_snapshots'),
  versionMin: versionOf('freespace'),
  key: undefined,
  device: () => undefined,
  isBlacklisted: () => false,
  values: undefined,
};

function deviceWith(node: Uint8Array, name = 'a.img'): MemoryDevice {
  const bytes = new Uint8Array(SECTOR * 512 + NODE_BYTES);
  bytes.set(node, SECTOR * 512);
  return MemoryDevice.from(bytes, { name });
}

interface Case {
  readonly node?: Partial<NodeSpec>;
  readonly ptr?: Partial<PtrSpec>;
  readonly source?: Partial<NodeSource>;
  readonly btree?: number;
  readonly level?: number;
  readonly damage?: (bytes: Uint8Array) => void;
  readonly salvage?: boolean;
}

const set = (inode: number, offset = 0) => testKey('set', [inode, offset]);
const deleted = (inode: number, offset = 0) => testKey('deleted', [inode, offset]);

function read({ node, ptr, source, btree = LRU, level = 0, damage, salvage = false }: Case): BtreeNode {
  const bytes = buildNode({ magic: MAGIC, btree: LRU, bsets: [{ keys: [set(1), set(2)] }], ...node });
  const written = bytes.length / 512;
  damage?.(bytes);
  const device = deviceWith(bytes);
  const reader = new NodeReader({ ...base, device: () => device, ...source });
  return reader.read(btree, level, nodePtr({ written, replicas: [{ dev: 0, sector: SECTOR }], ...ptr }), { salvage });
}

const positions = (node: BtreeNode) => Array.from({ length: node.count }, (_, i) => bposText(node.position(i)));

function errorOf(body: () => unknown): string {
  try {
    body();
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError) return thrown.error;
    if (thrown instanceof DeviceError) return thrown.kind;
    throw thrown;
  }
  return 'no error';
}

describe('bsets', () => {
  test('are merged; of one position the newest key counts, and a deletion takes it away', () => {
    const older = testKey('cookie', [2, 0], new Uint8Array(8));
    const newer = testKey('cookie', [2, 0], new Uint8Array(8).fill(1));
    const node = read({
      node: {
        bsets: [
          { keys: [set(1), older, set(4), set(6)] },
          { keys: [deleted(1), set(3), deleted(9)], journalSeq: 2 },
          { keys: [newer, deleted(4), set(5)], journalSeq: 3 },
          { keys: [deleted(5), set(5), set(7)], journalSeq: 3 },
        ],
      },
    });
    expect(positions(node)).toEqual(['2:0:0', '3:0:0', '5:0:0', '6:0:0', '7:0:0']);
    expect(node.key(0).value[0]).toBe(1);
    expect(node.facts.bsets.map(bset => bset.keys.count)).toEqual([4, 3, 3, 3]);
    expect(node.indexOf(makeBpos(4n, 0n, 0))).toBe(2);
    expect(node.usage()).toEqual({ packed: 0, unpacked: 5, liveU64s: 26 });
  });

  test('of lost journal entries are left out', () => {
    const node = read({
      node: { bsets: [{ keys: [set(1)] }, { keys: [set(2)], journalSeq: 7 }, { keys: [set(3)], journalSeq: 5 }] },
      ptr: { written: 0 },
      source: { isBlacklisted: seq => seq === 7 },
    });
    expect(positions(node)).toEqual(['1:0:0', '3:0:0']);
    expect(node.facts.bsets.map(bset => bset.blacklisted)).toEqual([false, true, false]);
  });

  test('end where the pointer says, and without that where the sequence number changes', () => {
    const bsets = [{ keys: [set(1)] }, { keys: [set(2)] }];
    expect(positions(read({ node: { bsets }, ptr: { written: 1 } }))).toEqual(['1:0:0']);
    expect(positions(read({ node: { bsets }, ptr: { written: 0 } }))).toEqual(['1:0:0', '2:0:0']);
  });
});

describe('a replica that is not what the pointer says', () => {
  test.each<[string, Case]>([
    ['btree_node_bad_magic', { source: { magic: 1n } }],
    ['btree_node_bad_seq', { ptr: { seq: 5n } }],
    ['btree_node_bad_btree', { btree: btrees.idOf('freespace') }],
    ['btree_node_bad_level', { node: { level: 1, bsets: [{ keys: [] }] } }],
    ['btree_node_bad_min_key', { ptr: { min: makeBpos(1n, 0n, 0) } }],
    ['btree_node_bad_max_key', { ptr: { max: makeBpos(9n, 0n, 0) } }],
    ['btree_node_data_missing', { ptr: { written: 3 } }],
    [
      'btree_node_bset_after_end',
      {
        node: { bsets: [{ keys: [set(1)] }, { keys: [set(2)] }, { keys: [set(3)] }] },
        ptr: { written: 0 },
        damage: bytes => bytes.fill(0, 512, 1024),
      },
    ],
    [
      'bset_past_end_of_btree_node',
      { node: { bsets: [{ keys: Array.from({ length: 20 }, (_, i) => set(i)) }] }, ptr: { written: 1 } },
    ],
    ['bset_bad_csum', { damage: bytes => bytes.fill(1, 180, 181) }],
    [
      'bset_bad_csum',
      { node: { bsets: [{ keys: [set(1)] }, { keys: [set(2)] }] }, damage: bytes => bytes.fill(1, 590, 591) },
    ],
    ['bset_unknown_csum', { damage: bytes => bytes.fill(9, 152, 153) }],
    ['bset_empty', { node: { bsets: [{ keys: [set(1)] }, { keys: [] }] } }],
    ['bset_wrong_sector_offset', { node: { bsets: [{ keys: [set(1)] }, { keys: [set(2)], flags: 5 << 16 }] } }],
    ['bset_blacklisted_journal_seq', { source: { isBlacklisted: () => true } }],
    ['btree_node_bset_older_than_sb_min', { source: { versionMin: versionOf('inode_has_child_snapshots') + 1 } }],
    ['btree_node_bset_newer_than_sb', { source: { version: versionOf('snapshot_trees') } }],
    ['btree_node_unsupported_version', { node: { bsets: [{ keys: [], version: versionOf('inode_v2') }] } }],
    ['btree_node_unsupported_version', { node: { bsets: [{ keys: [], flags: 0x20 }] } }],
    ['btree_node_big_endian', { node: { bsets: [{ keys: [], flags: 0x10 }] } }],
    ['btree_node_bkey_out_of_order', { node: { bsets: [{ keys: [set(2), set(1)] }] } }],
    ['btree_node_bkey_out_of_order', { node: { bsets: [{ keys: [set(1), set(1)] }] } }],
    ['btree_node_bkey_out_of_order', { node: { bsets: [{ keys: [set(1), deleted(1)] }] } }],
    ['bkey_before_start_of_btree_node', { node: { min: makeBpos(2n, 0n, 0) }, ptr: { min: makeBpos(2n, 0n, 0) } }],
    ['bkey_after_end_of_btree_node', { node: { max: makeBpos(1n, 0n, 0) }, ptr: { max: makeBpos(1n, 0n, 0) } }],
    ['bkey_invalid_type_for_btree', { node: { bsets: [{ keys: [testKey('dirent', [1, 0])] }] } }],
    ['bkey_size_nonzero', { node: { bsets: [{ keys: [testKey('set', [1, 0], undefined, 4)] }] } }],
    ['bkey_snapshot_nonzero', { node: { bsets: [{ keys: [testKey('set', [1, 0, 7])] }] } }],
    ['bkey_at_pos_max', { node: { bsets: [{ keys: [testKey('set', [2n ** 64n - 1n, 2n ** 64n - 1n])] }] } }],
    [
      'bkey_extent_size_zero',
      { btree: EXTENTS, node: { btree: EXTENTS, bsets: [{ keys: [testKey('extent', [1, 8, 1])] }] } },
    ],
    [
      'bkey_extent_size_greater_than_offset',
      { btree: EXTENTS, node: { btree: EXTENTS, bsets: [{ keys: [testKey('extent', [1, 8, 1], undefined, 9)] }] } },
    ],
    [
      'bkey_snapshot_zero',
      { btree: EXTENTS, node: { btree: EXTENTS, bsets: [{ keys: [testKey('extent', [1, 8], undefined, 8)] }] } },
    ],
  ])('%s', (error, wrong) => {
    expect(errorOf(() => read(wrong))).toBe(error);
  });

  test.each<[string, (view: DataView) => void]>([
    ['btree_node_bad_format', view => view.setUint8(81, 5)],
    ['btree_node_bkey_past_bset_end', view => view.setUint8(200, 200)],
    ['btree_node_bkey_bad_format', view => view.setUint8(161, 2)],
    ['btree_node_bkey_bad_u64s', view => view.setUint8(160, 4)],
    ['count_out_of_range', view => view.setUint8(151, 1)],
  ])('%s, with a right checksum', (error, change) => {
    const damage = (bytes: Uint8Array) => {
      change(viewOf(bytes));
      sealVstruct(1, bytes.subarray(0, 160 + 8 * viewOf(bytes).getUint16(158, true)));
    };
    expect(errorOf(() => read({ damage }))).toBe(error);
  });

  test('a key that is not a pointer', () => {
    const reader = new NodeReader(base);
    expect(errorOf(() => reader.read(LRU, 0, set(1)))).toBe('bkey_invalid_type_for_btree');
    expect(errorOf(() => reader.read(LRU, 0, testKey('btree_ptr_v2', [1, 0], new Uint8Array(8))))).toBe(
      'bkey_val_size_too_small',
    );
    expect(errorOf(() => reader.read(LRU, 0, nodePtr({ written: 0, replicas: [] })))).toBe('extent_ptrs_no_ptrs');
    expect(errorOf(() => reader.read(LRU, 0, nodePtr({ written: 0, replicas: [{ dev: 3, sector: 8 }] })))).toBe(
      'missing',
    );
  });
});

describe('replicas', () => {
  const good = buildNode({ magic: MAGIC, btree: LRU, bsets: [{ keys: [set(1)] }] });
  const bad = good.slice();
  bad[170] = 1;
  const ptr = nodePtr({ written: 1, replicas: [0, 1, 2].map(dev => ({ dev, sector: SECTOR })) });
  const readerOf = (...devices: readonly (Uint8Array | undefined)[]) =>
    new NodeReader({
      ...base,
      device(index) {
        const bytes = devices[index];
        return bytes === undefined ? undefined : deviceWith(bytes, `dev${index}.img`);
      },
    });

  test('are tried one after the other', () => {
    expect(readerOf(undefined, bad, good).read(LRU, 0, ptr).facts.device).toBe('dev2.img');
  });

  test('a sound one is better than what is left of another', () => {
    const node = readerOf(bad, undefined, good).read(LRU, 0, ptr, { salvage: true });
    expect(node.facts).toMatchObject({ device: 'dev2.img', damage: [] });
  });

  test('when none can be read, the error names each', () => {
    expect(() => readerOf(bad, undefined, bad).read(LRU, 0, ptr)).toThrow(
      /^lru SPOS_MAX level 0, dev0.img sector 8: the bset at sector 0 has checksum .*; other replicas: member 1: .* given; .*dev2.img/,
    );
  });
});

describe('what is left of a damaged node', () => {
  const keysOf = (bsets: NodeSpec['bsets'], damage?: Case['damage']) => {
    const node = read({ node: { bsets }, salvage: true, ...(damage === undefined ? {} : { damage }) });
    const leftOut = node.facts.leftOut.map(one => ('key' in one ? bposText(one.key.k.p) : one.bytes.length));
    return { positions: positions(node), damage: node.facts.damage.map(({ error }) => error), leftOut };
  };

  test('faulty keys are left out', () => {
    expect(keysOf([{ keys: [set(1), testKey('set', [2, 0], undefined, 4), set(3)] }])).toEqual({
      positions: ['1:0:0', '3:0:0'],
      damage: ['bkey_size_nonzero'],
      leftOut: ['2:0:0'],
    });
  });

  test('a bset with a wrong checksum is taken as far as its keys make sense', () => {
    const found = keysOf([{ keys: [set(1), set(2), set(3)] }], bytes => bytes.fill(0, 200, 201));
    const damage = ['bset_bad_csum', 'btree_node_bkey_bad_u64s'];
    // The key's length is 0, and zeros at its end are not worth keeping.
    expect(found).toEqual({ positions: ['1:0:0', '3:0:0'], damage, leftOut: [33] });
  });

  test('a node that is another one is not taken at all', () => {
    expect(errorOf(() => read({ ptr: { seq: TEST_SEQ + 1n }, salvage: true }))).toBe('btree_node_bad_seq');
  });

  test('values that their types do not allow', () => {
    const keys: Key[] = [set(1), testKey('dirent', [2, 5, 1], new Uint8Array(8)), testKey('hash_whiteout', [3, 0, 1])];
    const dirents = btrees.idOf('dirents');
    const node = read({
      node: { btree: dirents, bsets: [{ keys: keys.slice(1) }] },
      btree: dirents,
      source: { values: {} },
      salvage: true,
    });
    expect(node.count).toBe(1);
    expect(node.type(0)).toBe(keyTypes.idOf('hash_whiteout'));
    expect(node.facts.damage).toHaveLength(1);
  });

  test('keys outside of a range that was made smaller are not the node’s any more', () => {
    const max = makeBpos(1n, 0n, 0);
    const node = read({ ptr: { max, min: POS_MIN, rangeUpdated: true } });
    expect(positions(node)).toEqual(['1:0:0']);
  });
});
