// The checker of invariants, proved in both directions: filesystems that a real kernel made and found clean break no rule, those with a
// known damage break the rules that name it, and for every rule there is an altered key that breaks it.

import {
  accountingBpos,
  accountingPos,
  type Bpos,
  BtreeView,
  bposInode,
  bposOffset,
  btrees,
  checkInvariants,
  compareBpos,
  type FaultName,
  type Filesystem,
  type FilesystemState,
  findingText,
  type Inode,
  invariantRules,
  type Key,
  keyTypes,
  loadChecksums,
  makeBpos,
  members,
  modeType,
  type OverlayKey,
  openFilesystem,
  packInodeV3,
  type Superblock,
  unpackInodeV3,
  viewOf,
  withMember,
  withSection,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, fixtureNames, whyNoFixtures } from '../support/fixtures.ts';
import { testImages, withTestImage } from '../support/images.ts';

if (whyNoFixtures !== undefined) console.warn(`invariants of fixtures skipped: ${whyNoFixtures}`);
beforeAll(() => loadChecksums());

function openFixture(name: string): Filesystem {
  const { images, json } = fixture(name);
  const passphrase = json.passphrase === null ? {} : { passphrase: new TextEncoder().encode(json.passphrase) };
  return openFilesystem(images, passphrase);
}

/** What the checker has to say of an open filesystem, a line for each rule that is broken. */
function counted(source: FilesystemState): Record<string, number> {
  return Object.fromEntries(checkInvariants(source).counts);
}

/** By the reference's own fsck, these are damaged: in what way is in the fixtures' README. */
const DAMAGED: Readonly<Record<string, Partial<Record<FaultName, number>>>> = {
  'dmg-alloc': {
    stale_dirty_ptr: 3,
    alloc_key_dirty_sectors_wrong: 3,
    alloc_key_data_type_wrong: 2,
    need_discard_key_wrong: 1,
    bucket_gens_key_wrong: 1,
    alloc_key_to_missing_lru_entry: 1,
    accounting_mismatch: 2,
  },
  'dmg-alloc-root': { bset_bad_csum: 1, count_out_of_range: 1 },
  'dmg-backpointer': { backpointer_to_missing_ptr: 1, ptr_to_missing_backpointer: 3 },
  'dmg-dirent-type': { dirent_d_type_wrong: 1, inode_dir_wrong_nlink: 1 },
  'dmg-dirents-root': {
    btree_node_bad_magic: 1,
    inode_dir_wrong_nlink: 7,
    inode_points_to_missing_dirent: 64,
    inode_wrong_nlink: 2,
  },
  'dmg-dirloop': { inode_dir_wrong_nlink: 2, dir_loop: 1 },
  'dmg-dup-dirent': {
    hash_table_key_duplicate: 1,
    inode_wrong_backpointer: 1,
    inode_multiple_links_but_nlink_0: 1,
  },
  'dmg-hash': { hash_table_key_wrong_offset: 1, inode_wrong_backpointer: 1, inode_points_to_missing_dirent: 1 },
  'dmg-leaf-csum': { bset_bad_csum: 1, dirent_val_too_big: 1, inode_points_to_missing_dirent: 1 },
  'dmg-missing-target': { key_in_missing_inode: 1, dirent_to_missing_inode: 1 },
  'dmg-nlink': { inode_wrong_backpointer: 2, inode_multiple_links_but_nlink_0: 1, inode_wrong_nlink: 1 },
  'dmg-orphan': { inode_dir_wrong_nlink: 1, inode_points_to_missing_dirent: 2 },
  'dmg-reflink': { reflink_v_refcount_wrong: 1 },
  'dmg-root': {
    btree_node_bad_magic: 1,
    btree_node_topology_bad_max_key: 1,
    key_in_missing_inode: 5353,
    dirent_to_missing_inode: 2921,
    subvol_to_missing_root: 1,
    alloc_key_dirty_sectors_wrong: 9,
    alloc_key_data_type_wrong: 5,
    accounting_mismatch: 3,
    backpointer_to_missing_ptr: 12,
  },
  'dmg-size': { extent_past_end_of_inode: 2, inode_i_sectors_wrong: 1 },
  'dmg-subvol': {
    dirent_to_missing_subvol: 1,
    inode_bi_subvol_missing: 1,
    subvol_missing: 1,
    snapshot_tree_to_missing_subvol: 1,
  },
  'snapshots-orphan': {
    inode_points_to_missing_dirent: 1,
    inode_bi_subvol_missing: 1,
    snapshot_tree_to_missing_subvol: 1,
  },
};

describe.skipIf(whyNoFixtures !== undefined)('reference images', () => {
  test.each(fixtureNames())('%s', name => {
    const filesystem = openFixture(name);
    try {
      const result = checkInvariants(filesystem);
      const expected = DAMAGED[name];
      if (expected === undefined) expect(result.findings.map(findingText)).toEqual([]);
      else expect(Object.fromEntries(result.counts)).toEqual(expected);
    } finally {
      filesystem.close();
    }
  });

  test('what is not asked of other versions is named', () => {
    const skippedOf = (name: string) => {
      const filesystem = openFixture(name);
      try {
        return checkInvariants(filesystem).skipped.map(({ rule }) => rule);
      } finally {
        filesystem.close();
      }
    };
    expect(skippedOf('basic')).toEqual([]);
    expect(skippedOf('u103-plain')).toContain('accounting_mismatch');
    expect(skippedOf('u136-plain')).toContain('ptr_to_missing_backpointer');
    expect(skippedOf('u136-plain')).not.toContain('alloc_key_dirty_sectors_wrong');
  });
});

describe('own images', () => {
  test.each(testImages.map(image => image.name))('%s', async name => {
    const passphrase = testImages.find(image => image.name === name)?.passphrase;
    await withTestImage(name, async paths => {
      const options = passphrase === undefined ? {} : { passphrase: new TextEncoder().encode(passphrase) };
      const filesystem = openFilesystem(paths, options);
      try {
        expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
      } finally {
        filesystem.close();
      }
    });
  });
});

test('keys of random bytes are findings, whatever they say', async () => {
  await withTestImage('basic', async paths => {
    // Unvalidated: nothing is sorted out before the checker sees it.
    const filesystem = openFilesystem(paths, { unvalidated: true });
    try {
      const keys = btrees.rows.flatMap(({ name }) => [...filesystem.btree(name).keys()].map(key => ({ name, key })));
      const random = seededRandom(20_26);
      for (let round = 0; round < 60; round++) {
        const altered = new Altered(filesystem);
        for (let i = 0; i < 8; i++) {
          const { name, key } = keys[random(keys.length)]!;
          const pos = key.k.p.slice();
          if (random(4) === 0) pos[random(5)] = random(2 ** 32);
          const edit = (_view: DataView, value: Uint8Array) => {
            for (let n = random(4); n >= 0 && value.length > 0; n--) value[random(value.length)] = random(256);
          };
          altered.change(name, key, edit, { pos, size: random(8) === 0 ? random(2 ** 32) : key.k.size });
        }
        expect(() => checkInvariants(altered)).not.toThrow();
      }
    } finally {
      filesystem.close();
    }
  });
});

/** Whole numbers below a limit: a linear congruential generator, the same for every run. */
function seededRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return limit => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const type = (name: Parameters<typeof keyTypes.idOf>[0]) => keyTypes.idOf(name);
const DELETED = type('deleted');

interface Change {
  readonly btree: number;
  readonly level: number;
  readonly key: Key;
}

/** A filesystem as it would be with some keys changed: they lie over it as the journal's keys do. */
class Altered implements FilesystemState {
  readonly replay;
  readonly set;
  sb: Superblock;
  readonly #filesystem: Filesystem;
  readonly #changes: Change[] = [];

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
    this.replay = filesystem.replay;
    this.set = { ...filesystem.set, members: [...filesystem.set.members] };
    this.sb = filesystem.sb;
  }

  get key() {
    return this.#filesystem.key;
  }

  device(index: number) {
    return this.#filesystem.device(index);
  }

  btree(which: Parameters<Filesystem['btree']>[0]): BtreeView {
    const id = typeof which === 'number' ? which : btrees.idOf(which);
    const { overlay, roots } = this.replay;
    const keysOf = (btree: number, level: number): readonly OverlayKey[] => {
      const changed = this.#changes.filter(change => change.btree === btree && change.level === level);
      const isChanged = (key: Key) => changed.some(change => compareBpos(change.key.k.p, key.k.p) === 0);
      return [
        ...overlay.keysOf(btree, level).filter(({ key }) => !isChanged(key)),
        ...changed.map(({ key }) => ({ key, seq: 0, deltas: undefined })),
      ].sort((a, b) => compareBpos(a.key.k.p, b.key.k.p));
    };
    return new BtreeView(id, roots.get(id), this.#filesystem.reader, { ...overlay, keysOf });
  }

  find(btree: Parameters<Filesystem['btree']>[0], is: (key: Key) => boolean = () => true, level = 0): Key {
    for (const key of this.btree(btree).keys({ level })) if (is(key)) return key;
    throw new Error(`no such key in ${btree}`);
  }

  put(btree: Parameters<typeof btrees.idOf>[0], key: Key, level = 0): void {
    this.#changes.push({ btree: btrees.idOf(btree), level, key });
  }

  /** A copy of a key with another value, or at another place. */
  change(
    btree: Parameters<typeof btrees.idOf>[0],
    key: Key,
    edit: (view: DataView, value: Uint8Array) => void,
    { pos = key.k.p, size = key.k.size, level = 0 }: { pos?: Bpos; size?: number; level?: number } = {},
  ): void {
    const value = key.value.slice();
    edit(viewOf(value), value);
    this.put(btree, { k: { ...key.k, p: pos.slice(), size }, value }, level);
  }

  delete(btree: Parameters<typeof btrees.idOf>[0], key: Key, level = 0): void {
    this.put(btree, { k: { ...key.k, p: key.k.p.slice(), type: DELETED }, value: new Uint8Array(0) }, level);
  }

  changeMemberSuperblock(index: number, change: (sb: Superblock) => Superblock): void {
    this.set.members[index] = { ...this.set.members[index]!, sb: change(this.set.members[index]!.sb) };
  }
}

const same = () => {};
const newKey = (name: Parameters<typeof keyTypes.idOf>[0], p: Bpos, value = new Uint8Array(0), size = 0): Key => ({
  k: { u64s: 5 + value.length / 8, format: 1, type: type(name), pad: 0, bversion_lo: 0n, bversion_hi: 0, size, p },
  value,
});
const dataTypeIs = (nr: number) => (key: Key) => key.value[14] === nr;
const USER = 4;
const CACHED = 5;
const bytesOf = (...words: bigint[]) => new Uint8Array(BigUint64Array.from(words).buffer);
const isExtent = ({ k }: Key) => k.type === type('extent');
const isInode = ({ k }: Key) => k.type === type('inode_v3');
const ptrWord = (dev: number, sector: number, gen: number) =>
  1n | (BigInt(sector) << 4n) | (BigInt(dev) << 48n) | (BigInt(gen) << 56n);
/** The last pointer of a key is its last word. */
const setPtr = (dev: number, sector: number, gen: number) => (view: DataView) =>
  view.setBigUint64(view.byteLength - 8, ptrWord(dev, sector, gen), true);
const setGen = (gen: number) => (_view: DataView, value: Uint8Array) => {
  value[value.length - 1] = gen;
};
const at = (inode: bigint | number, offset: bigint | number, snapshot = 0) =>
  makeBpos(BigInt(inode), BigInt(offset), snapshot);
/** The name of a file type in a dirent's value. */
const isDirentOf = (nr: number) => (key: Key) => key.k.type === type('dirent') && (key.value[8]! & 31) === nr;

/** bi_flags of inode_v3 are its third word; of the fields after the header only these tests' own are changed. */
const flipInodeFlag = (bit: number) => (view: DataView) =>
  view.setUint32(16, view.getUint32(16, true) ^ (1 << bit), true);

type Mutation = readonly [rule: FaultName, image: string, mutate: (source: Altered) => void];

const snap = (source: Altered, is: (view: DataView) => boolean) =>
  source.find('snapshots', ({ value }) => is(viewOf(value)));
const isChildless = (view: DataView) => view.getUint32(8, true) === 0;
const hasParent = (view: DataView) => view.getUint32(4, true) !== 0;
const hasSubvolume = (view: DataView) => view.getUint32(16, true) !== 0;
const subvolumeFlags = (view: DataView) => view.getUint32(0, true);

function editAlloc(edit: (view: DataView, value: Uint8Array) => void, is = dataTypeIs(USER)) {
  return (source: Altered) => source.change('alloc', source.find('alloc', is), edit);
}

function editInode(edit: (view: DataView, value: Uint8Array) => void, is: (key: Key) => boolean = isInode) {
  return (source: Altered) => source.change('inodes', source.find('inodes', is), edit);
}

const stripeAt = (nr: number, counts: bigint): Key =>
  newKey(
    'stripe',
    at(0, nr),
    // 8 sectors, xor parity, three blocks of which one is parity, without checksums.
    bytesOf(8n | (3n << 24n) | (1n << 32n), ptrWord(0, 1000, 0), ptrWord(1, 1000, 0), ptrWord(2, 1000, 0), counts),
  );
const stripePtr = (nr: number, block: number) => 16n | (BigInt(block) << 5n) | (1n << 13n) | (BigInt(nr) << 17n);
const putStripedExtent = (source: Altered) => {
  const { k } = source.find('extents', isExtent);
  source.put('extents', newKey('extent', k.p.slice(), bytesOf(stripePtr(7, 0), ptrWord(0, 2000, 0)), k.size));
};

const FILE = 8;
const DIRECTORY = 4;
const inodeOf = (source: Altered, key: Key) =>
  source.find('inodes', ({ k }) => bposOffset(k.p) === viewOf(key.value).getBigUint64(0, true));

const memberOf = (source: Altered) => members(source.sb)[0]!;

function counterOf(source: Altered, kind: string): Key {
  return source.find('accounting', ({ k }) => accountingPos(k.p, { version: source.sb.version }).type === kind);
}

/** The last bucket of a run of free ones: nothing was ever in it. */
const bucketWithoutKey = (source: Altered): number => Number(bposOffset(source.find('freespace').k.p)) - 1;

function repackInode(source: Altered, key: Key, fields: Partial<Inode>): void {
  source.put('inodes', {
    k: { ...key.k, p: key.k.p.slice() },
    value: packInodeV3({ ...unpackInodeV3(key.value), ...fields }),
  });
}

const isRegular = (key: Key) => isInode(key) && modeType(unpackInodeV3(key.value).bi_mode) === FILE;
const fileInode = (source: Altered) => source.find('inodes', isRegular);

/** An inode that has a key in another snapshot too: not the first one. */
function severalInSnapshots(source: Altered): Key {
  let last: Key | undefined;
  return source.find('inodes', key => {
    const isSecond = isInode(key) && last !== undefined && bposOffset(last.k.p) === bposOffset(key.k.p);
    if (isInode(key)) last = key;
    return isSecond;
  });
}

/** Two names of files that have no other. */
function singleFiles(source: Altered): readonly [Key, Key] {
  const single = new Set<bigint>();
  for (const key of source.btree('inodes').keys()) {
    if (isRegular(key) && unpackInodeV3(key.value).bi_nlink === 0) single.add(bposOffset(key.k.p));
  }
  const isSingle = (key: Key) => isDirentOf(FILE)(key) && single.has(viewOf(key.value).getBigUint64(0, true));
  const first = source.find('dirents', isSingle);
  return [first, source.find('dirents', key => isSingle(key) && compareBpos(key.k.p, first.k.p) !== 0)];
}

/** One of several names of a file, but not the one that the inode knows. */
function hardLink(source: Altered): Key {
  const inode = source.find('inodes', key => isRegular(key) && unpackInodeV3(key.value).bi_nlink > 0);
  const { bi_dir, bi_dir_offset } = unpackInodeV3(inode.value);
  return source.find(
    'dirents',
    key =>
      isDirentOf(FILE)(key) &&
      viewOf(key.value).getBigUint64(0, true) === bposOffset(inode.k.p) &&
      !(bposInode(key.k.p) === bi_dir && bposOffset(key.k.p) === bi_dir_offset),
  );
}

/** The inode of the first file with extents. */
function extentInode(source: Altered): Key {
  const extent = source.find('extents', isExtent);
  return source.find('inodes', key => isInode(key) && bposOffset(key.k.p) === bposInode(extent.k.p));
}

const mutations: readonly Mutation[] = [
  [
    'btree_node_topology_bad_min_key',
    'many',
    s =>
      s.change(
        'extents',
        s.find('extents', ({ k }) => k.p[4] !== 0 || k.p[3]! > 5000, 1),
        view => view.setUint32(24, 77, true),
        { level: 1 },
      ),
  ],
  [
    'btree_node_topology_bad_max_key',
    'many',
    s =>
      s.delete(
        'extents',
        s.find('extents', ({ k }) => k.p[0] === 0xffff_ffff && k.p[4] === 0xffff_ffff, 1),
        1,
      ),
  ],
  [
    'btree_node_overlap',
    'many',
    s => {
      const [first, second] = [...s.btree('extents').keys({ level: 1 })];
      const ptr = first!.value.slice(-8);
      s.change('extents', second!, (_view, value) => value.set(ptr, value.length - 8), { level: 1 });
    },
  ],
  [
    'btree_node_seq_shared',
    'many',
    s => {
      const [first, second] = [...s.btree('extents').keys({ level: 1 })];
      const seq = first!.value.slice(8, 16);
      s.change('extents', second!, (_view, value) => value.set(seq, 8), { level: 1 });
    },
  ],
  [
    'btree_ptr_v2_written_0',
    'many',
    s =>
      s.change(
        'extents',
        s.find('extents', () => true, 1),
        view => view.setUint16(16, 0, true),
        { level: 1 },
      ),
  ],
  [
    'btree_bitmap_not_marked',
    'basic',
    s => {
      s.sb = withMember(s.sb, 0, member => ({ ...member, btree_allocated_bitmap: 0n }));
    },
  ],
  [
    'btree_node_bad_seq',
    'many',
    s =>
      s.change(
        'extents',
        s.find('extents', () => true, 1),
        view => view.setBigUint64(8, 1n, true),
        { level: 1 },
      ),
  ],

  ['alloc_key_to_missing_dev_bucket', 'basic', s => s.change('alloc', s.find('alloc'), same, { pos: at(9, 1) })],
  [
    'alloc_key_data_type_wrong',
    'basic',
    editAlloc((_view, value) => {
      value[14] = 3;
    }),
  ],
  ['alloc_key_dirty_sectors_wrong', 'basic', editAlloc(view => view.setUint32(16, 3, true))],
  ['alloc_key_cached_sectors_wrong', 'multi4-tiers', editAlloc(view => view.setUint32(20, 3, true))],
  ['alloc_key_stripe_sectors_wrong', 'basic', editAlloc(view => view.setUint32(56, 3, true))],
  ['alloc_key_stripe_wrong', 'basic', editAlloc(view => view.setUint32(40, 3, true))],
  [
    'alloc_key_stripe_redundancy_wrong',
    'basic',
    editAlloc((_view, value) => {
      value[15] = 1;
    }),
  ],
  ['alloc_key_external_backpointers_nonzero', 'basic', editAlloc(view => view.setUint32(44, 3, true))],
  [
    'alloc_key_oldest_gen_wrong',
    'basic',
    editAlloc((_view, value) => {
      value[13] = (value[12]! + 1) & 255;
    }),
  ],
  ['alloc_key_journal_seq_in_future', 'basic', editAlloc(view => view.setBigUint64(0, 1n << 40n, true))],
  [
    'alloc_key_cached_but_read_time_zero',
    'multi4-tiers',
    editAlloc(view => view.setBigUint64(24, 0n, true), dataTypeIs(CACHED)),
  ],
  [
    'bucket_metadata_type_mismatch',
    'basic',
    s => s.changeMemberSuperblock(0, sb => withSection(sb, 'journal_v2', bytesOf(0n, 1n))),
  ],
  ['ptr_to_invalid_device', 'basic', s => s.change('extents', s.find('extents', isExtent), setPtr(9, 1000, 0))],
  ['ptr_to_missing_alloc_key', 'basic', s => s.delete('alloc', s.find('alloc', dataTypeIs(USER)))],
  ['ptr_gen_newer_than_bucket_gen', 'csum-none', s => s.change('extents', s.find('extents', isExtent), setGen(50))],
  ['ptr_too_stale', 'csum-none', s => s.change('extents', s.find('extents', isExtent), setGen(150))],
  [
    'stale_dirty_ptr',
    'csum-none',
    s =>
      s.change('alloc', s.find('alloc', dataTypeIs(USER)), (_view, value) => {
        value[12]!++;
      }),
  ],
  [
    'ptr_bucket_data_type_mismatch',
    'csum-none',
    s => {
      const { k, value } = s.find('alloc', dataTypeIs(3));
      s.change('extents', s.find('extents', isExtent), setPtr(0, k.p[1]! * memberOf(s).bucket_size, value[12]!));
    },
  ],
  [
    'bucket_sector_count_overflow',
    'csum-none',
    s => {
      const key = s.find('extents', isExtent);
      s.change('extents', key, same, { pos: at(bposInode(key.k.p), 1_000_000, key.k.p[0]!), size: 60_000 });
    },
  ],
  ['need_discard_key_wrong', 'basic', s => s.delete('need_discard', s.find('need_discard'))],
  ['need_discard_freespace_key_bad', 'basic', s => s.put('need_discard', newKey('set', at(0, 1)))],
  ['need_discard_freespace_key_to_invalid_dev_bucket', 'basic', s => s.put('need_discard', newKey('set', at(9, 1)))],
  ['freespace_hole_missing', 'basic', s => s.delete('freespace', s.find('freespace'))],
  [
    'freespace_key_wrong',
    'basic',
    s => {
      s.put('alloc', newKey('alloc_v4', at(0, bucketWithoutKey(s)), new Uint8Array(64)));
      s.delete('freespace', s.find('freespace'));
    },
  ],
  [
    'bucket_gens_hole_wrong',
    'basic',
    s => {
      const bucket = bucketWithoutKey(s);
      const gens = new Uint8Array(256);
      gens[bucket % 256] = 1;
      s.put('bucket_gens', newKey('bucket_gens', at(0, Math.floor(bucket / 256)), gens));
    },
  ],
  [
    'bucket_gens_key_wrong',
    'basic',
    s =>
      s.change('bucket_gens', s.find('bucket_gens'), (_view, value) => {
        value[3]!++;
      }),
  ],
  ['bucket_gens_to_invalid_dev', 'basic', s => s.change('bucket_gens', s.find('bucket_gens'), same, { pos: at(9, 0) })],
  [
    'bucket_gens_to_invalid_buckets',
    'basic',
    s => s.change('bucket_gens', s.find('bucket_gens'), same, { pos: at(0, 1 << 20) }),
  ],
  [
    'bucket_gens_nonzero_for_invalid_buckets',
    'basic',
    s => {
      const key = s.find('bucket_gens');
      const nbuckets = key.k.p[1]! * 256 + 100;
      s.sb = withMember(s.sb, 0, member => ({ ...member, nbuckets }));
      s.change('bucket_gens', key, (_view, value) => {
        value[101] = 1;
      });
    },
  ],

  ['alloc_key_to_missing_lru_entry', 'basic', s => s.delete('lru', s.find('lru'))],
  ['lru_entry_bad', 'basic', s => s.put('lru', newKey('set', at((0xffffn << 48n) | 5n, 1)))],
  ['lru_entry_to_invalid_bucket', 'basic', s => s.put('lru', newKey('set', at(5, 9n << 48n)))],

  ['ptr_to_missing_backpointer', 'basic', s => s.delete('backpointers', s.find('backpointers'))],
  [
    'backpointer_to_missing_ptr',
    'basic',
    s => {
      const key = s.find('backpointers');
      s.change('backpointers', key, same, { pos: at(0, bposOffset(key.k.p) + 1n) });
    },
  ],
  [
    'backpointer_to_missing_device',
    'basic',
    s => s.change('backpointers', s.find('backpointers'), same, { pos: at(9, 1 << 20) }),
  ],
  [
    'backpointer_to_missing_alloc',
    'basic',
    s => {
      const sector = bucketWithoutKey(s) * memberOf(s).bucket_size;
      s.change('backpointers', s.find('backpointers'), same, { pos: at(0, BigInt(sector) << 10n) });
    },
  ],

  [
    'accounting_mismatch',
    'basic',
    s => s.change('accounting', counterOf(s, 'nr_inodes'), view => view.setBigInt64(0, 1n, true)),
  ],
  [
    'accounting_inum_mismatch',
    'basic',
    s => s.change('accounting', counterOf(s, 'inum'), view => view.setBigInt64(8, 1n, true)),
  ],
  ['rebalance_work_missing', 'compress-background', s => s.delete('reconcile_work', s.find('reconcile_work'))],
  [
    'rebalance_work_bad',
    'compress-background',
    s => s.put('reconcile_work', newKey('set', at(4097, 12_345, 0xffff_ffff))),
  ],
  [
    'accounting_to_invalid_device',
    'basic',
    s => {
      const pos = accountingBpos({ type: 'dev_data_type', dev: 9, data_type: USER }, { version: s.sb.version });
      s.change('accounting', counterOf(s, 'dev_data_type'), same, { pos });
    },
  ],
  [
    'accounting_replicas_not_marked',
    'basic',
    s => {
      s.sb = withSection(s.sb, 'replicas_v0', new Uint8Array(8));
    },
  ],
  [
    'ptr_to_missing_replicas_entry',
    'basic',
    s => {
      s.delete('accounting', counterOf(s, 'replicas'));
      s.sb = withSection(s.sb, 'replicas_v0', new Uint8Array(8));
    },
  ],

  ['ptr_to_missing_stripe', 'multi3-r2', putStripedExtent],
  [
    'ptr_to_incorrect_stripe',
    'multi3-r2',
    s => {
      s.put('stripes', stripeAt(7, 0n));
      putStripedExtent(s);
    },
  ],
  ['stripe_sector_count_wrong', 'multi3-r2', s => s.put('stripes', stripeAt(7, 3n))],
  [
    'stripe_bucket_shared',
    'multi3-r2',
    s => {
      s.put('stripes', stripeAt(7, 0n));
      s.put('stripes', stripeAt(8, 0n));
    },
  ],

  [
    'reflink_v_refcount_wrong',
    'reflink',
    s => s.change('reflink', s.find('reflink'), view => view.setBigUint64(0, 77n, true)),
  ],
  ['reflink_p_to_missing_reflink_v', 'reflink', s => s.delete('reflink', s.find('reflink'))],

  [
    'bkey_in_missing_snapshot',
    'snapshots',
    s => {
      const key = s.find('extents', isExtent);
      s.change('extents', key, same, { pos: at(bposInode(key.k.p), bposOffset(key.k.p), 12) });
    },
  ],
  ['snapshot_node_missing', 'snapshots', s => s.delete('snapshots', snap(s, hasParent))],
  [
    'snapshot_parent_bad',
    'snapshots',
    s => s.change('snapshots', snap(s, hasParent), view => view.setUint32(4, 0xffff_ffff, true)),
  ],
  [
    'snapshot_child_bad',
    'snapshots',
    s => s.change('snapshots', snap(s, hasParent), view => view.setUint32(4, 0xffff_ffff, true)),
  ],
  [
    'snapshot_bad_depth',
    'snapshots',
    s => s.change('snapshots', snap(s, hasParent), view => view.setUint32(24, 9, true)),
  ],
  [
    'snapshot_bad_skiplist',
    'snapshots',
    s => s.change('snapshots', snap(s, hasParent), view => view.setUint32(36, 0xffff_fff0, true)),
  ],
  [
    'snapshot_should_not_have_subvol',
    'snapshots',
    s =>
      s.change(
        'snapshots',
        snap(s, view => !isChildless(view)),
        view => view.setUint32(16, 1, true),
      ),
  ],
  [
    'snapshot_subvol_backref_wrong',
    'snapshots',
    s =>
      s.change(
        'snapshots',
        snap(s, view => hasSubvolume(view) && view.getUint32(16, true) !== 1),
        view => view.setUint32(16, 1, true),
      ),
  ],
  [
    'snapshot_to_bad_snapshot_tree',
    'snapshots',
    s => s.change('snapshots', snap(s, hasParent), view => view.setUint32(20, 77, true)),
  ],
  [
    'snapshot_tree_to_missing_snapshot',
    'snapshots',
    s => s.change('snapshot_trees', s.find('snapshot_trees'), view => view.setUint32(4, 77, true)),
  ],
  [
    'snapshot_tree_to_missing_subvol',
    'snapshots',
    s => s.change('snapshot_trees', s.find('snapshot_trees'), view => view.setUint32(0, 77, true)),
  ],
  [
    'snapshot_tree_to_wrong_subvol',
    'snapshots',
    s =>
      s.change(
        'snapshot_trees',
        s.find('snapshot_trees', ({ k }) => k.p[1] !== 1),
        view => view.setUint32(0, 1, true),
      ),
  ],
  [
    'snapshot_tree_to_snapshot_subvol',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setUint32(0, subvolumeFlags(view) | 2, true)),
  ],
  ['subvol_missing', 'snapshots', s => s.delete('subvolumes', s.find('subvolumes'))],
  [
    'subvol_to_missing_root',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setBigUint64(8, 999_999n, true)),
  ],
  [
    'subvol_root_wrong_bi_subvol',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setBigUint64(8, bposOffset(fileInode(s).k.p), true)),
  ],
  [
    'subvol_not_master_and_not_snapshot',
    'snapshots',
    s =>
      s.change(
        'subvolumes',
        s.find('subvolumes', ({ value }) => (value[0]! & 2) !== 0),
        view => view.setUint32(0, subvolumeFlags(view) & ~2, true),
      ),
  ],
  [
    'subvol_root_fs_path_parent_nonzero',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setUint32(20, 1, true)),
  ],
  [
    'subvol_unreachable',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setUint32(0, subvolumeFlags(view) | 4, true)),
  ],
  ['subvol_children_not_set', 'snapshots', s => s.delete('subvolume_children', s.find('subvolume_children'))],
  ['subvol_children_bad', 'snapshots', s => s.put('subvolume_children', newKey('set', at(1, 77)))],
  [
    'subvol_fs_path_parent_wrong',
    'snapshots',
    s =>
      s.change(
        'subvolumes',
        s.find('subvolumes', ({ k }) => k.p[1] !== 1),
        view => view.setUint32(20, 77, true),
      ),
  ],

  [
    'inode_snapshot_mismatch',
    'snapshots',
    s => s.change('inodes', severalInSnapshots(s), view => view.setBigUint64(8, 5n, true)),
  ],
  ['inode_i_sectors_wrong', 'basic', editInode(view => view.setBigUint64(24, 77n, true))],
  ['inode_wrong_nlink', 'basic', s => s.delete('dirents', hardLink(s))],
  ['inode_dir_wrong_nlink', 'basic', s => s.delete('dirents', s.find('dirents', isDirentOf(DIRECTORY)))],
  [
    'inode_multiple_links_but_nlink_0',
    'basic',
    s => {
      const [one, other] = singleFiles(s);
      s.change('dirents', one, view => view.setBigUint64(0, viewOf(other.value).getBigUint64(0, true), true));
    },
  ],
  [
    'inode_wrong_backpointer',
    'basic',
    s => {
      const [one, other] = singleFiles(s);
      s.change('dirents', one, view => view.setBigUint64(0, viewOf(other.value).getBigUint64(0, true), true));
    },
  ],
  ['inode_points_to_missing_dirent', 'basic', s => s.delete('dirents', singleFiles(s)[0])],
  [
    'inode_points_to_wrong_dirent',
    'basic',
    s => {
      const [one, other] = singleFiles(s);
      s.change('dirents', one, view => view.setBigUint64(0, viewOf(other.value).getBigUint64(0, true), true));
    },
  ],
  [
    'inode_unreachable',
    'basic',
    s => {
      const [name] = singleFiles(s);
      s.delete('dirents', name);
      repackInode(s, inodeOf(s, name), { bi_dir: 0n, bi_dir_offset: 0n });
    },
  ],
  ['inode_bi_parent_nonzero', 'basic', s => repackInode(s, s.find('inodes', isInode), { bi_parent_subvol: 3 })],
  ['inode_unlinked_but_has_dirent', 'basic', s => s.change('inodes', inodeOf(s, singleFiles(s)[0]), flipInodeFlag(7))],
  [
    'inode_bi_subvol_missing',
    'snapshots',
    s =>
      s.delete(
        'subvolumes',
        s.find('subvolumes', ({ k }) => k.p[1] !== 1),
      ),
  ],
  [
    'inode_bi_subvol_wrong',
    'snapshots',
    s => s.change('subvolumes', s.find('subvolumes'), view => view.setBigUint64(8, bposOffset(fileInode(s).k.p), true)),
  ],
  [
    'inode_bi_parent_wrong',
    'snapshots',
    s =>
      s.change('dirents', s.find('dirents', isDirentOf(16)), view =>
        view.setUint32(4, 1 + (view.getUint32(4, true) % 2), true),
      ),
  ],
  ['key_in_missing_inode', 'basic', s => s.delete('inodes', inodeOf(s, singleFiles(s)[0]))],
  [
    'key_in_wrong_inode_type',
    'basic',
    s => {
      const key = s.find('extents', isExtent);
      s.change('extents', key, same, { pos: at(4096, 800_000, 0xffff_ffff) });
    },
  ],
  [
    'extent_past_end_of_inode',
    'basic',
    s => s.change('inodes', extentInode(s), view => view.setBigUint64(32, 0n, true)),
  ],
  [
    'extent_overlapping',
    'basic',
    s => {
      const key = s.find('extents', one => isExtent(one) && one.k.size > 8);
      s.change('extents', key, same, { pos: at(bposInode(key.k.p), bposOffset(key.k.p) - 1n, key.k.p[0]!), size: 4 });
    },
  ],
  ['dirent_to_missing_inode', 'basic', s => s.delete('inodes', inodeOf(s, singleFiles(s)[0]))],
  [
    'dirent_to_missing_subvol',
    'snapshots',
    s => s.change('dirents', s.find('dirents', isDirentOf(16)), view => view.setUint32(0, 77, true)),
  ],
  [
    'dirent_to_missing_parent_subvol',
    'snapshots',
    s => s.change('dirents', s.find('dirents', isDirentOf(16)), view => view.setUint32(4, 77, true)),
  ],
  [
    'dirent_not_visible_in_parent_subvol',
    'snapshots',
    s => {
      const key = s.find('dirents', isDirentOf(16));
      const other = s.find('subvolumes', ({ k }) => k.p[1] === viewOf(key.value).getUint32(0, true));
      s.change('dirents', key, view => view.setUint32(4, other.k.p[1]!, true));
    },
  ],
  [
    'dirent_d_type_wrong',
    'basic',
    s =>
      s.change('dirents', singleFiles(s)[0], (_view, value) => {
        value[8] = 10;
      }),
  ],
  [
    'dir_loop',
    'basic',
    s => {
      const child = s.find('dirents', key => isDirentOf(DIRECTORY)(key) && bposInode(key.k.p) !== 4096n);
      const parent = s.find('inodes', ({ k }) => bposOffset(k.p) === bposInode(child.k.p));
      repackInode(s, parent, { bi_dir: bposOffset(inodeOf(s, child).k.p) });
    },
  ],
  [
    'hash_table_key_wrong_offset',
    'basic',
    s => {
      const [name] = singleFiles(s);
      s.delete('dirents', name);
      s.change('dirents', name, same, { pos: at(bposInode(name.k.p), bposOffset(name.k.p) + 1000n, name.k.p[0]!) });
    },
  ],
  [
    'hash_table_key_duplicate',
    'basic',
    s => {
      const [name] = singleFiles(s);
      s.change('dirents', name, same, { pos: at(bposInode(name.k.p), bposOffset(name.k.p) + 1n, name.k.p[0]!) });
    },
  ],
  [
    'logged_op_but_clean',
    'basic',
    s => s.put('logged_ops', newKey('logged_op_truncate', at(0, 1), new Uint8Array(24))),
  ],
  ['inode_has_child_snapshots_wrong', 'basic', editInode(flipInodeFlag(9))],
  [
    'unlinked_inode_not_on_deleted_list',
    'basic',
    s => s.change('inodes', inodeOf(s, singleFiles(s)[0]), flipInodeFlag(7)),
  ],
  ['deleted_inode_not_unlinked', 'basic', s => s.put('deleted_inodes', newKey('set', at(0, 4096, 0xffff_ffff)))],
];

describe.skipIf(whyNoFixtures !== undefined)('an altered key breaks the rule', () => {
  const open = new Map<string, Filesystem>();
  afterAll(() => {
    for (const filesystem of open.values()) filesystem.close();
  });

  test.each(mutations)('%s in %s', (rule, name, mutate) => {
    const filesystem = open.get(name) ?? openFixture(name);
    open.set(name, filesystem);
    const altered = new Altered(filesystem);
    mutate(altered);
    expect(Object.keys(counted(altered))).toContain(rule);
  });

  test('its facts are values, and the pass whose business it is is known', () => {
    const filesystem = open.get('basic') ?? openFixture('basic');
    open.set('basic', filesystem);
    const altered = new Altered(filesystem);
    const key = altered.find('alloc', dataTypeIs(USER));
    const expected = viewOf(key.value).getUint32(16, true);
    altered.change('alloc', key, view => view.setUint32(16, expected + 3, true));
    const found = checkInvariants(altered).findings.find(({ error }) => error === 'alloc_key_dirty_sectors_wrong');
    expect(found?.facts).toEqual({ found: expected + 3, expected });
    expect(found?.detail).toBe(`found ${expected + 3}, expected ${expected}`);
    expect(invariantRules.byName('alloc_key_dirty_sectors_wrong')?.pass).toBe('check_allocations');
  });

  test('of every rule', () => {
    const tried = new Set<string>(mutations.map(([rule]) => rule));
    expect(invariantRules.rows.map(rule => rule.name).filter(name => !tried.has(name))).toEqual([]);
  });

  // Each kind of counter comes about in its own way.
  test.each([
    ['multi4-tiers', ['nr_inodes', 'replicas', 'dev_data_type', 'snapshot', 'btree', 'inum']],
    ['compress-background', ['compression', 'rebalance_work']],
    ['basic', ['persistent_reserved']],
  ])('of every kind of counter in %s', (name, kinds) => {
    const filesystem = open.get(name) ?? openFixture(name);
    open.set(name, filesystem);
    for (const kind of kinds) {
      const format = { version: filesystem.sb.version };
      const isOfKind = ({ k }: Key) => accountingPos(k.p, format).type === kind;
      const counters = [...filesystem.btree('accounting').keys()].filter(isOfKind);
      expect(counters, kind).not.toEqual([]);
      const altered = new Altered(filesystem);
      for (const key of counters) altered.change('accounting', key, addOne);
      const rule = kind === 'inum' ? 'accounting_inum_mismatch' : 'accounting_mismatch';
      expect(counted(altered), kind).toEqual({ [rule]: counters.length });
      const without = new Altered(filesystem);
      const used = counters.filter(({ value }) => value.some(byte => byte !== 0));
      for (const key of used) without.delete('accounting', key);
      expect(counted(without), kind).toEqual({ [rule]: used.length });
    }
  });
});

const addOne = (view: DataView) => view.setBigInt64(0, view.getBigInt64(0, true) + 1n, true);
