// Superblocks in which one section is broken in every copy: fsck -y puts in its place what the rest of the filesystem knows.

import { beforeAll, describe, expect, test } from 'vitest';
import { openOn, stateOf } from '../../../../test/support/cut-states.ts';
import { type MemoryImage, testImage } from '../../../../test/support/memory-images.ts';
import { repair } from '../../../../test/support/random-damage.ts';
import { smallTree } from '../../../../test/support/recovered.ts';
import { editCopies } from '../../../../test/support/superblock-copies.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { loadCompression } from '../compress/decompress.ts';
import { editSuperblocks } from '../damage/superblock-damage.ts';
import { DamageTarget } from '../damage/target.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { JsetEntry } from '../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import type { SbFieldName } from '../ondisk/sb-field-ids.ts';
import { decodeClean, encodeClean } from '../ondisk/sb-fields/clean.ts';
import { BchMember } from '../ondisk/sb-fields/members.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import { openMember } from '../superblock/member-set.ts';
import { seededRandom } from '../util/random.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const small = (): MemoryImage => ({ devices: smallTree(), key: undefined });
const ENTRY = 8;
const BTREE_ROOT = jsetEntryTypes.idOf('btree_root');
/** In a key as the journal has it. */
const BVERSION_AT = 4;

/** Another byte at a place of a section. */
const byte =
  (name: SbFieldName, at: number, value: number) =>
  (sb: Superblock): Superblock => {
    const payload = sectionPayload(sb, name);
    assert(payload !== undefined && at < payload.length, `the superblock has a byte ${at} of ${name}`);
    return withSection(sb, name, payload.with(at, value));
  };

interface Broken {
  readonly what: string;
  readonly edit: (sb: Superblock) => Superblock;
  readonly finds: FaultName;
  readonly image?: () => MemoryImage;
}

const broken: readonly Broken[] = [
  { what: 'an entry of replicas is too long', edit: byte('replicas_v0', 1, 254), finds: 'invalid_sb_replicas' },
  {
    what: 'a version of downgrade is above that of the filesystem',
    edit: byte('downgrade', 1, 0xfc),
    finds: 'invalid_sb_downgrade',
  },
  { what: 'an entry of clean is too long', edit: byte('clean', 16, 0xff), finds: 'sb_clean_entry_overrun' },
  { what: 'the journal is past the end of the device', edit: byte('journal_v2', 4, 0xff), finds: 'invalid_sb_journal' },
  {
    what: 'the journal has a count that no number holds',
    edit: byte('journal_v2', 7, 0xff),
    finds: 'count_out_of_range',
  },
  {
    what: 'the journal is past the end of each device',
    edit: byte('journal_v2', 2, 0xff),
    finds: 'invalid_sb_journal',
    image: () => testImage('multi'),
  },
  {
    what: 'the journal that is to be replayed is past the end of the device',
    edit: byte('journal_v2', 2, 0xff),
    finds: 'invalid_sb_journal',
    image: () => testImage('unclean'),
  },
  {
    what: 'the journal that is to be replayed is somewhere else',
    edit: byte('journal_v2', 0, 0xee),
    finds: 'invalid_sb_journal',
    image: () => testImage('unclean'),
  },
  {
    what: 'a member has more buckets than its device',
    edit: byte('members_v2', ENTRY + BchMember.offset.nbuckets + 2, 1),
    finds: 'invalid_sb_members',
  },
  {
    what: 'a member has more buckets than any',
    edit: byte('members_v2', ENTRY + BchMember.offset.nbuckets + 5, 1),
    finds: 'invalid_sb_members',
  },
  {
    what: 'a member begins after its end',
    edit: byte('members_v2', ENTRY + BchMember.offset.first_bucket + 1, 0xff),
    finds: 'invalid_sb_members',
  },
  {
    what: 'a member counts more errors than a number holds',
    edit: byte('members_v2', ENTRY + BchMember.offset.errors + 7, 0xff),
    finds: 'count_out_of_range',
  },
  {
    what: 'a member has no sensible list of places with nodes',
    edit: byte('members_v2', ENTRY + BchMember.offset.btree_bitmap_shift, 0xff),
    finds: 'invalid_sb_members',
  },
  {
    what: 'a member has a state that no kernel knows',
    edit: byte('members_v2', ENTRY + BchMember.offset.flags, 0x0c),
    finds: 'invalid_sb_members',
  },
  {
    what: 'a member has a state that no kernel knows, in the list for older versions too',
    edit: sb =>
      byte('members_v1', BchMember.offset.flags, 0x0c)(byte('members_v2', ENTRY + BchMember.offset.flags, 0x0c)(sb)),
    finds: 'invalid_sb_members',
  },
  { what: 'members are as long as none is', edit: byte('members_v2', 0, 111), finds: 'invalid_sb_members' },
  {
    what: 'the list of members for older versions is wrong',
    edit: byte('members_v1', BchMember.offset.nbuckets + 5, 1),
    finds: 'invalid_sb_members',
  },
];

describe('sections of superblocks that are broken in every copy', () => {
  test.for(broken.map(one => [one.what, one] as const))('%s', ([, { edit, finds, image = small }]) => {
    const { devices, key } = image();
    const before = stateOf(openOn(devices, key));
    editSuperblocks(new DamageTarget(devices, { key, random: seededRandom('sections'), now: () => 0n }), edit);
    const { found, left } = repair(devices, key);
    expect(found.join()).toContain(finds);
    expect(left).toEqual([]);
    expect(repair(devices, key)).toMatchObject({ found: [], left: [], hasCommitted: false });
    expect(stateOf(openOn(devices, key))).toBe(before);
  });
});

test('a root whose pointer has a version, which no pointer has', () => {
  const devices = smallTree();
  const before = stateOf(openOn(devices));
  editSuperblocks(new DamageTarget(devices, { random: seededRandom('version'), now: () => 0n }), sb => {
    const clean = decodeClean(sectionPayload(sb, 'clean')!);
    const isRoot = ({ type, btree_id }: JsetEntry) => type === BTREE_ROOT && btree_id === btrees.idOf('dirents');
    const entries = clean.entries.map(entry =>
      isRoot(entry) ? { ...entry, payload: entry.payload.with(BVERSION_AT, 255) } : entry,
    );
    return withSection(sb, 'clean', encodeClean({ ...clean, entries }));
  });
  const { found, left } = repair(devices);
  expect({ found: found.join(), left }).toEqual({
    found: expect.stringContaining('bkey_version_in_future'),
    left: [],
  });
  expect(repair(devices)).toMatchObject({ found: [], left: [], hasCommitted: false });
  expect(openOn(devices).replay.roots.get(btrees.idOf('dirents'))?.key?.k.bversion_lo).toBe(0n);
  expect(stateOf(openOn(devices))).toBe(before);
});

describe('sections of superblocks that are broken in the first copy', () => {
  test.for(broken.map(one => [one.what, one] as const))('%s', ([, { edit, finds, image = small }]) => {
    const { devices, key } = image();
    const [device] = devices;
    const before = openMember(device!).sb;
    editCopies(device!, 'first', edit);
    const { found, left } = repair(devices, key);
    expect({ found: found.join(), left }).toEqual({ found: expect.stringContaining(finds), left: [] });
    expect(repair(devices, key)).toMatchObject({ found: [], left: [], hasCommitted: false });
    // What another copy says is not made up.
    for (const name of ['members_v1', 'journal_v2'] as const)
      expect(sectionPayload(openMember(device!).sb, name)).toEqual(sectionPayload(before, name));
  });
});
