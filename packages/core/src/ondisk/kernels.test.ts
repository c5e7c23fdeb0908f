import { expect, test } from 'vitest';
import { withBits } from './bits.ts';
import { incompatFeatures } from './features.ts';
import { accessOf, kernels, mountability, parseKernel, versionFor } from './kernels.ts';
import { sbBits } from './sb-bits.ts';
import { blankMember, withMembers } from './sb-fields/members.ts';
import { BchSb, type Superblock } from './superblock.ts';
import { versionOf } from './versions.ts';

const bit = (name: Parameters<typeof incompatFeatures.idOf>[0]) => 1n << BigInt(incompatFeatures.idOf(name));

function superblock(version: number, { buckets = 1024, features = 0n, used = 0, members = 1 } = {}): Superblock {
  const blank = BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0);
  const sb: Superblock = {
    ...blank,
    version,
    version_min: version,
    nr_devices: members,
    flags: withBits(blank.flags, sbBits.VERSION_INCOMPAT, used),
    features: [features, 0n],
    sections: [],
  };
  const member = { ...blankMember(), uuid: '11111111-2222-3333-4444-555555555555', nbuckets: buckets };
  return withMembers(sb, [member]);
}

const accesses = (sb: Superblock) => mountability(sb).map(({ access }) => access);
const of113 = versionOf('inode_has_child_snapshots');
const of128 = versionOf('inode_has_case_insensitive');

test('each kernel by what the filesystem is and uses', () => {
  const all = ['read-write', 'read-write', 'read-write'];
  expect(accesses(superblock(of113))).toEqual(all);
  expect(accesses(superblock(of128))).toEqual(all);
  expect(accesses(superblock(of128, { features: bit('casefolding') }))).toEqual(['none', ...all.slice(1)]);
  expect(accesses(superblock(of128, { features: bit('small_image') }))).toEqual(['none', 'read-only', 'read-only']);
  expect(accesses(superblock(of128, { features: 1n << 40n }))).toEqual(['none', 'none', 'none']);
  const later = { used: versionOf('reconcile'), features: bit('incompat_version_field') };
  expect(accesses(superblock(versionOf('bucket_stripe_index'), later))).toEqual(['none', 'none', 'read-write']);
  expect(accesses(superblock(of113, { buckets: 128 }))).toEqual(['read-write', 'read-write', 'none']);
  expect(accesses(superblock(versionOf('per_dev_fragmentation_lru'), { members: 100 }))).toEqual([
    'none',
    'none',
    'read-write',
  ]);
  expect(accesses(superblock(2 << 10))).toEqual(['none', 'none', 'none']);
  expect(mountability(superblock(of113), true).map(({ access }) => access)).toEqual(['none', 'none', 'none']);
});

test('says what a mount makes of the version', () => {
  expect(accessOf(superblock(of128), of113).why).toBe('checks it, and makes it 1.13');
  expect(accessOf(superblock(of113), of128).why).toBe('makes it 1.28, unless version_upgrade=none is given');
  expect(accessOf(superblock(of128), of128).why).toBeUndefined();
});

test('kernels by their names', () => {
  expect(kernels.map(({ name }) => parseKernel(name))).toEqual(kernels);
  expect(() => parseKernel('5.4')).toThrow('expected one of 6.12, 6.16, latest');
  expect(versionFor(parseKernel('6.16'))).toBe(of128);
});
